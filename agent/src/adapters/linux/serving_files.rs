//! The self-signed serving certificate of a node: made once, then found again.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::credential_files::{CredentialFileError, write_private};
use crate::adapters::kube::kubeconfig::Secret;
use crate::config::CertificatePaths;

#[cfg(test)]
mod tests;

/// Names as the kubelet's (v1.36), so that both can follow each other on one machine.
const CERTIFICATE: &str = "kubelet.crt";
const KEY: &str = "kubelet.key";

/// Where the self-signed certificate of the node is kept in its certificate directory.
pub fn paths(dir: &Path) -> CertificatePaths {
    CertificatePaths { certificate: dir.join(CERTIFICATE), key: dir.join(KEY) }
}

/// Whether both files are there. One without the other is an error, since whoever put it there
/// may want it.
pub fn exist(paths: &CertificatePaths) -> io::Result<bool> {
    let [certificate, key] = [&paths.certificate, &paths.key].map(|path| path.try_exists());
    match (certificate?, key?) {
        (true, true) => Ok(true),
        (false, false) => Ok(false),
        (true, false) => Err(missing(&paths.key, &paths.certificate)),
        (false, true) => Err(missing(&paths.certificate, &paths.key)),
    }
}

fn missing(path: &Path, beside: &Path) -> io::Error {
    let words = format!("{} is missing beside {}", path.display(), beside.display());
    io::Error::new(io::ErrorKind::NotFound, words)
}

/// Writes both files, given in PEM. The certificate is readable for everybody.
pub fn store(
    paths: &CertificatePaths,
    certificate: &str,
    key: &Secret,
) -> Result<(), CredentialFileError> {
    write_private(&paths.key, &[key.expose().as_bytes()])?;
    let path = &paths.certificate;
    write_private(path, &[certificate.as_bytes()])?;
    fs::set_permissions(path, Permissions::from_mode(0o644)).map_err(|source| CredentialFileError {
        action: "give everybody the reading of",
        path: path.clone(),
        source,
    })
}
