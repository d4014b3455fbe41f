//! Pure. How the node gets its certificates.

use std::path::{Path, PathBuf};

use super::wire::KubeletConfiguration;

/// Which certificates are asked for, and where they are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateConfig {
    /// `rotateCertificates`: the client certificate is renewed before it ends. Off by default;
    /// kubeadm sets it.
    pub rotate_client: bool,
    /// `serverTLSBootstrap`: the serving certificate is one that the cluster signs. Off by
    /// default.
    pub server_bootstrap: bool,
    /// `--cert-dir`, by default `pki` below the root directory.
    pub dir: PathBuf,
}

impl CertificateConfig {
    /// From the file and `--cert-dir`.
    pub fn resolve(wire: &KubeletConfiguration, dir: Option<PathBuf>, root: &Path) -> Self {
        Self {
            rotate_client: wire.rotate_certificates.unwrap_or(false),
            server_bootstrap: wire.server_tls_bootstrap.unwrap_or(false),
            dir: dir.unwrap_or_else(|| root.join("pki")),
        }
    }
}

#[cfg(test)]
mod tests;
