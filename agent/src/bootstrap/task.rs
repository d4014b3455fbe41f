//! Asks for the certificate and waits until it is issued or refused.

use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::csr::{Verdict, judge};
use crate::adapters::linux::credential_files::CredentialFileError;
use crate::boundary::{ApiError, CsrApi};

#[cfg(test)]
mod tests;

/// The first pause between two looks. The controller manager approves and signs a node's request
/// within about as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: what a person who approves by hand waits at most, and small enough a load
/// when a whole cluster's nodes wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why the node has no credential. Each text says in one line what is wrong and what mends it.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    #[error(
        "the API server refuses the bootstrap credential: {0}; a token ends after 24 h by default, \
         `kubeadm token create` makes a new one; it needs the ClusterRole system:node-bootstrapper"
    )]
    Refused(String),
    #[error("the API server does not accept certificate signing request {name}: {words}")]
    Unacceptable { name: String, words: String },
    #[error(
        "certificate signing request {name} was denied: {words}; to ask again, run \
         `kubectl delete csr {name}` and restart this daemon"
    )]
    Denied { name: String, words: String },
    #[error(
        "certificate signing request {name} could not be signed: {words}; mend the signer, then \
         run `kubectl delete csr {name}` and restart this daemon"
    )]
    Failed { name: String, words: String },
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

/// What was logged last, so that it is said once for each change.
#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Pending,
    Approved,
    Unreachable(String),
}

/// Creates the request, or finds the one of an earlier attempt, and waits for its certificate.
/// Returns the chain in PEM. Goes on for ever while nobody decides or the server cannot be
/// reached; a request that the server forgets is created anew. `request` must have a name.
pub(super) async fn obtain(
    api: &dyn CsrApi,
    request: &CertificateSigningRequest,
) -> Result<Vec<u8>, BootstrapError> {
    let name = request.metadata.name.clone().unwrap_or_default();
    let mut pause = FIRST_PAUSE;
    let mut told = Told::Nothing;
    let mut created = false;
    loop {
        let answer = match created {
            true => api.get_csr(&name).await,
            false => api.create_csr(request).await,
        };
        let news = match answer {
            Ok(csr) => {
                let first = !std::mem::replace(&mut created, true);
                match judge(&csr) {
                    Verdict::Issued(certificate) => return Ok(certificate),
                    Verdict::Denied(words) => return Err(BootstrapError::Denied { name, words }),
                    Verdict::Failed(words) => return Err(BootstrapError::Failed { name, words }),
                    // Most clusters approve at once; a new request deserves no line yet.
                    Verdict::Pending if first => Told::Nothing,
                    Verdict::Pending => Told::Pending,
                    Verdict::Approved => Told::Approved,
                }
            }
            Err(ApiError::AlreadyExists(_)) => {
                created = true;
                continue;
            }
            Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => {
                created = false;
                Told::Nothing
            }
            Err(ApiError::Forbidden(words)) => return Err(BootstrapError::Refused(words)),
            Err(ApiError::Invalid(words)) => {
                return Err(BootstrapError::Unacceptable { name, words });
            }
            Err(ApiError::Unavailable(words)) => Told::Unreachable(words),
        };
        if news != told {
            tell(&name, &news);
            told = news;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn tell(name: &str, news: &Told) {
    match news {
        Told::Nothing => {}
        Told::Pending => tracing::info!(
            "waiting for approval of certificate signing request {name}; unless the cluster approves it by itself, run: kubectl certificate approve {name}"
        ),
        Told::Approved => tracing::info!(
            "certificate signing request {name} is approved; waiting for kube-controller-manager to sign it"
        ),
        Told::Unreachable(words) => tracing::warn!(
            "cannot ask for the node's certificate and keep trying: {words}; check the server address and the authority in the bootstrap kubeconfig"
        ),
    }
}
