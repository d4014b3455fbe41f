//! Carries a bootstrap out: key, request, certificate, files.

use std::path::PathBuf;

use jiff::Timestamp;

use super::csr::{build_request, request_name};
use super::key::NodeKey;
use super::task::{BootstrapError, obtain};
use crate::adapters::linux::credential_files::{CredentialFiles, write_private};
use crate::boundary::CsrApi;

#[cfg(test)]
mod tests;

/// What is to be obtained and where it goes.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    pub node_name: String,
    /// Directory of keys and certificates.
    pub cert_dir: PathBuf,
    /// The kubeconfig to write.
    pub kubeconfig: PathBuf,
}

/// Obtains a client certificate for the node and writes it, and then the kubeconfig, whose text
/// `kubeconfig_text` makes from the path of key and certificate. Waits for approval as long as it
/// takes. `now` is asked once the certificate is there and names its file.
pub async fn execute(
    bootstrap: &Bootstrap,
    api: &dyn CsrApi,
    kubeconfig_text: impl Fn(&std::path::Path) -> String,
    now: impl Fn() -> Timestamp,
) -> Result<(), BootstrapError> {
    let files = CredentialFiles::new(&bootstrap.cert_dir);
    let key = pending_key(&files)?;
    let name = request_name(&bootstrap.node_name, key.public_key());
    let pkcs10 = key.sign_request(&bootstrap.node_name).map_err(BootstrapError::Key)?;
    let certificate = obtain(api, &build_request(name.clone(), pkcs10)).await?;
    if !key.belongs_to(&certificate) {
        return Err(BootstrapError::Foreign { name });
    }
    let current = files.store(&certificate, &key.pem(), now())?;
    write_private(&bootstrap.kubeconfig, &[kubeconfig_text(&current).as_bytes()])?;
    files.forget_pending_key()?;
    tracing::info!(
        certificate = %current.display(),
        kubeconfig = %bootstrap.kubeconfig.display(),
        "obtained the node's credential"
    );
    Ok(())
}

/// The key of an interrupted attempt, else a new one, which is kept before it is used.
fn pending_key(files: &CredentialFiles) -> Result<NodeKey, BootstrapError> {
    if let Some(key) = files.pending_key()?.as_ref().and_then(NodeKey::parse) {
        return Ok(key);
    }
    let key = NodeKey::generate().map_err(BootstrapError::Key)?;
    files.keep_pending_key(&key.pem())?;
    Ok(key)
}
