//! Pure. A kubeconfig as a credential: certificate and key, and its text for another one of the
//! same cluster.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use data_encoding::BASE64;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;

use super::kubeconfig::Kubeconfig;

#[cfg(test)]
mod tests;

/// Columns of a line of PEM (RFC 7468).
const PEM_COLUMNS: usize = 64;

impl Kubeconfig {
    /// The client certificate, when the credential is one.
    pub fn certificate(&self) -> Option<&CertificateDer<'static>> {
        self.identity.as_ref().and_then(|identity| identity.chain.first())
    }

    /// Client certificate and key, ready to be shown; `None` when the credential is another one.
    /// Fails when they do not belong together.
    pub fn certified_key(&self) -> Result<Option<Arc<CertifiedKey>>, rustls::Error> {
        let Some(identity) = &self.identity else { return Ok(None) };
        let (chain, key) = (identity.chain.clone(), identity.key.clone_key());
        CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map(Arc::new).map(Some)
    }

    /// The files beside the kubeconfig that hold client certificate and key; empty when they stand
    /// in the kubeconfig.
    pub fn identity_files(&self) -> &[PathBuf] {
        &self.identity_files
    }

    /// Text of a kubeconfig for the same server, trusting the same authorities, whose client
    /// certificate and key both stand in the file `pem`.
    pub fn text_with_certificate(&self, pem: &Path) -> String {
        let pem = quoted(&pem.to_string_lossy());
        let mut cluster = String::new();
        if !self.authorities.is_empty() {
            let authorities: String = self.authorities.iter().map(pem_text).collect();
            let encoded = BASE64.encode(authorities.as_bytes());
            cluster.push_str(&format!("    certificate-authority-data: {encoded}\n"));
        }
        cluster.push_str(&format!("    server: {}\n", quoted(&self.server)));
        for (field, value) in
            [("tls-server-name", &self.tls_server_name), ("proxy-url", &self.proxy_url)]
        {
            if let Some(value) = value {
                cluster.push_str(&format!("    {field}: {}\n", quoted(value)));
            }
        }
        format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: default-context\n\
             clusters:\n- name: default-cluster\n  cluster:\n{cluster}\
             contexts:\n- name: default-context\n  context:\n    cluster: default-cluster\n    \
             namespace: default\n    user: default-auth\n\
             users:\n- name: default-auth\n  user:\n    client-certificate: {pem}\n    \
             client-key: {pem}\n"
        )
    }
}

/// JSON's strings are YAML's double-quoted ones.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn pem_text(certificate: &CertificateDer<'_>) -> String {
    let encoded = BASE64.encode(certificate);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        // Base64 is ASCII, so that every index is a boundary.
        let (line, next) = rest.split_at(rest.len().min(PEM_COLUMNS));
        text.push_str(line);
        text.push('\n');
        rest = next;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}
