//! Asks for the certificate and waits until it is issued or refused.

use std::time::Duration;

use k8s_openapi::api::certificates::v1::CertificateSigningRequest;

use super::csr::{Verdict, judge};
use crate::boundary::{ApiError, CsrApi};

#[cfg(test)]
mod tests;

/// The first pause between two looks. The controller manager approves and signs a node's request
/// within about as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: what a person who approves by hand waits at most, and small enough a load
/// when a whole cluster's nodes wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// What a request came to when it came to no certificate.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    #[error("the API server cannot be asked: {0}")]
    Unreachable(String),
    #[error("the API server refuses: {0}")]
    Refused(String),
    #[error("the API server does not accept certificate signing request {name}: {words}")]
    Unacceptable { name: String, words: String },
    #[error("certificate signing request {name} was denied: {words}")]
    Denied { name: String, words: String },
    #[error("certificate signing request {name} could not be signed: {words}")]
    Failed { name: String, words: String },
}

/// What a server that cannot be reached is to an attempt that has no request there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// Something to wait for.
    Endless,
    /// The attempt's end: whoever made it tries again.
    Once,
    /// As before, and what is waited for was said at an earlier attempt.
    OnceMore,
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
/// Returns the chain in PEM. Goes on for ever while nobody decides or the server, once it has the
/// request, cannot be reached; a request that the server forgets is created anew. `request` must
/// have a name. Cancel safe: the request then stays where it is.
pub(super) async fn obtain(
    api: &dyn CsrApi,
    request: &CertificateSigningRequest,
    persistence: Persistence,
) -> Result<Vec<u8>, AskError> {
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
                    Verdict::Denied(words) => return Err(AskError::Denied { name, words }),
                    Verdict::Failed(words) => return Err(AskError::Failed { name, words }),
                    // Most clusters approve at once; a new request deserves no line yet.
                    Verdict::Pending if first => Told::Nothing,
                    _ if persistence == Persistence::OnceMore => Told::Nothing,
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
            Err(ApiError::Forbidden(words)) => return Err(AskError::Refused(words)),
            Err(ApiError::Invalid(words)) => {
                return Err(AskError::Unacceptable { name, words });
            }
            Err(ApiError::Unavailable(words))
                if !created && persistence != Persistence::Endless =>
            {
                return Err(AskError::Unreachable(words));
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
            "cannot ask for the node's certificate and keep trying: {words}; check the server address and the authority in the kubeconfig"
        ),
    }
}
