//! TLS towards the API server: whom to trust and which certificate to show.

use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, SignatureScheme};
use tokio::sync::watch;

use super::ConnectError;
use crate::adapters::kube::kubeconfig::Kubeconfig;

/// Where common distributions keep the system's certificate authorities, in one file.
const SYSTEM_AUTHORITIES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
];

/// TLS towards the server of a kubeconfig, trusting its authorities only.
pub(super) fn tls_config(
    kubeconfig: &Kubeconfig,
    identity: Identity,
) -> Result<ClientConfig, ConnectError> {
    let mut roots = RootCertStore::empty();
    if kubeconfig.authorities.is_empty() {
        roots.add_parsable_certificates(system_authorities());
    } else {
        for authority in &kubeconfig.authorities {
            roots.add(authority.clone()).map_err(ConnectError::Tls)?;
        }
    }
    if roots.is_empty() {
        return Err(ConnectError::NoAuthorities);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(ConnectError::Tls)?
        .with_root_certificates(roots)
        .with_client_cert_resolver(Arc::new(ShownIdentity(identity)));
    // A resumed session goes on under the certificate it began with, which may be an older one.
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// The certificate to show, with its key; `None` while there is none. May change at any time.
pub type Identity = watch::Receiver<Option<Arc<CertifiedKey>>>;

/// Shows the server the certificate of the moment.
#[derive(Debug)]
struct ShownIdentity(Identity);

impl ResolvesClientCert for ShownIdentity {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }

    fn has_certs(&self) -> bool {
        self.0.borrow().is_some()
    }
}

pub(in crate::adapters) fn system_authorities() -> Vec<CertificateDer<'static>> {
    SYSTEM_AUTHORITIES
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .map(|pem| CertificateDer::pem_slice_iter(&pem).filter_map(Result::ok).collect())
        .unwrap_or_default()
}
