//! The node's first credential (TLS bootstrap): key, request, certificate, files.

use std::path::PathBuf;

use jiff::Timestamp;

use super::ask::{AskError, Persistence, obtain};
use super::csr::{Purpose, Wanted, build_request, first_request_name};
use super::key::NodeKey;
use crate::adapters::linux::credential_files::{
    CredentialFileError, CredentialFiles, write_private,
};
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

/// Why the node has no credential. Each text says in one line what is wrong and what mends it.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error("{0}; {fix}", fix = fix(.0))]
    Ask(AskError),
    #[error(
        "the certificate of certificate signing request {name} is not for this node's key; run \
         `kubectl delete csr {name}`, see who signs, and restart this daemon"
    )]
    Foreign { name: String },
    #[error("cannot make a key and a request for it")]
    Key(#[source] rcgen::Error),
    #[error("the node's credential cannot be kept; make the directory writable or give --cert-dir")]
    Files(#[from] CredentialFileError),
}

/// What mends a request that came to nothing.
fn fix(error: &AskError) -> String {
    match error {
        AskError::Unreachable(_) => {
            "check the server address and the authority in the bootstrap kubeconfig".to_owned()
        }
        AskError::Refused(_) => "the bootstrap token may have ended, which it does after 24 h by \
             default, and `kubeadm token create` makes a new one; it needs the ClusterRole \
             system:node-bootstrapper"
            .to_owned(),
        AskError::Unacceptable { .. } => "see whether an admission webhook or policy is at work \
             and restart this daemon"
            .to_owned(),
        AskError::Denied { name, .. } => {
            format!("to ask again, run `kubectl delete csr {name}` and restart this daemon")
        }
        AskError::Failed { name, .. } => {
            format!("mend the signer, then run `kubectl delete csr {name}` and restart this daemon")
        }
    }
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
    let files = CredentialFiles::new(&bootstrap.cert_dir, Purpose::Client.file_prefix());
    let wanted = Wanted::client(&bootstrap.node_name);
    let key = pending_key(&files)?;
    let name = first_request_name(&wanted, key.public_key());
    let pkcs10 = key.sign_request(&wanted).map_err(BootstrapError::Key)?;
    let request = build_request(Purpose::Client, name.clone(), pkcs10);
    let certificate = obtain(api, &request, Persistence::Endless).await;
    let certificate = certificate.map_err(BootstrapError::Ask)?;
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
