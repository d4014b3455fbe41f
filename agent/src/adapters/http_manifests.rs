//! Static pod manifests over HTTP.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use rustls::{ClientConfig, RootCertStore};

use super::kube::system_authorities;
use crate::boundary::{ManifestUrl, ManifestUrlError};
use crate::config::StaticPodUrl;
use crate::telemetry::Causes;

#[cfg(test)]
mod tests;

/// Deadline of one question (kubelet v1.36).
const DEADLINE: Duration = Duration::from_secs(10);
/// Longest answer that is read, in bytes (kubelet v1.36: 10 MiB).
const LONGEST: usize = 10 << 20;

/// The client for the URL could not be made.
#[derive(Debug, thiserror::Error)]
pub enum UrlClientError {
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    #[error("cannot set up the HTTP client")]
    Http(#[source] reqwest::Error),
}

/// The real [`ManifestUrl`]. HTTPS is checked with the system's authorities.
pub struct HttpManifestUrl {
    http: reqwest::Client,
    url: reqwest::Url,
    headers: HeaderMap,
}

impl HttpManifestUrl {
    /// Prepares the client; nothing is sent yet.
    pub fn new(wanted: &StaticPodUrl) -> Result<Self, UrlClientError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(system_authorities());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(UrlClientError::Tls)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .user_agent(concat!("noded/", env!("CARGO_PKG_VERSION")))
            .timeout(DEADLINE)
            .build()
            .map_err(UrlClientError::Http)?;
        Ok(Self { http, url: wanted.url.clone(), headers: wanted.headers.clone() })
    }
}

#[async_trait]
impl ManifestUrl for HttpManifestUrl {
    fn name(&self) -> String {
        let mut url = self.url.clone();
        // Neither fails for an address with a host.
        let _ = url.set_password(None);
        let _ = url.set_username("");
        url.to_string()
    }

    async fn fetch(&self) -> Result<Vec<u8>, ManifestUrlError> {
        let unreachable = |error: reqwest::Error| {
            ManifestUrlError::Unreachable(Causes(&error.without_url()).to_string())
        };
        let request = self.http.get(self.url.clone()).headers(self.headers.clone());
        let mut answer = request.send().await.map_err(unreachable)?;
        if answer.status() != http::StatusCode::OK {
            return Err(ManifestUrlError::Status(answer.status().to_string()));
        }
        let mut body = Vec::new();
        while let Some(part) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + part.len() > LONGEST {
                return Err(ManifestUrlError::TooLong(LONGEST));
            }
            body.extend_from_slice(&part);
        }
        Ok(body)
    }
}
