//! One attempt to get a certificate for a new key.

use std::sync::Arc;
use std::time::Duration;

use super::ask::{AskError, Persistence, obtain};
use super::csr::{Purpose, Wanted, build_request, request_name};
use super::key::NodeKey;
use super::sources::SourceError;
use crate::adapters::kube::kubeconfig::Secret;
use crate::adapters::linux::credential_files::CredentialFileError;
use crate::boundary::CsrApi;

/// How long a decision is waited for before another request is made, with another key
/// (client-go v1.36). The controller manager removes requests that are pending for a day.
const DECISION_WAIT: Duration = Duration::from_secs(15 * 60);

/// Certificate chain and key, in PEM.
pub(super) struct Signed {
    pub certificate: Vec<u8>,
    pub key: Secret,
}

/// Why an attempt came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum RenewError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("nobody decided on certificate signing request {name} within 15 min")]
    Undecided { name: String },
    #[error("the certificate of certificate signing request {name} is not for this node's key")]
    Foreign { name: String },
    #[error("the certificate that was signed does not name all that was asked for")]
    Incomplete,
    #[error("cannot make a key and a request for it")]
    Key(#[source] rcgen::Error),
    #[error("cannot ask with the bootstrap credential: {0}")]
    Bootstrap(String),
    #[error("nobody to ask")]
    NobodyToAsk,
    #[error(transparent)]
    Files(#[from] CredentialFileError),
    #[error(transparent)]
    Unusable(#[from] SourceError),
}

impl RenewError {
    /// Kind of an error by which a server says that it knows the node no more.
    pub(super) const REFUSED: &'static str = "refused";
    const UNDECIDED: &'static str = "undecided";
    const UNREACHABLE: &'static str = "unreachable";

    /// What decides whether the log has said it already.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Ask(AskError::Refused(_)) => Self::REFUSED,
            Self::Ask(AskError::Unreachable(_)) => Self::UNREACHABLE,
            Self::Ask(AskError::Unacceptable { .. }) => "unacceptable",
            Self::Ask(AskError::Denied { .. }) => "denied",
            Self::Ask(AskError::Failed { .. }) => "failed",
            Self::Undecided { .. } => Self::UNDECIDED,
            Self::Foreign { .. } => "foreign",
            Self::Incomplete => "incomplete",
            Self::Key(_) => "key",
            Self::Bootstrap(_) => "bootstrap",
            Self::NobodyToAsk => "nobody",
            Self::Files(_) | Self::Unusable(_) => "files",
        }
    }

    /// Whether, after a failure of that kind, what the next attempt waits for needs no new line: a
    /// request that somebody refuses as soon as it is there waits for nobody.
    pub(super) fn needs_no_more_words(kind: &'static str) -> bool {
        ![Self::UNDECIDED, Self::UNREACHABLE].contains(&kind)
    }

    /// What mends it, for the log.
    pub(super) fn fix(&self) -> String {
        match self {
            Self::Ask(AskError::Unreachable(_)) => "see whether the API server is up".to_owned(),
            Self::Ask(AskError::Refused(_)) => {
                "the node's credential may have ended, or its right \
                 to create certificate signing requests was taken from the group system:nodes"
                    .to_owned()
            }
            Self::Ask(AskError::Unacceptable { name, .. } | AskError::Denied { name, .. }) => {
                format!("see who refuses it and why: kubectl describe csr {name}")
            }
            Self::Ask(AskError::Failed { name, .. }) | Self::Foreign { name } => {
                format!("see who signs: kubectl describe csr {name}, and the signer's log")
            }
            Self::Undecided { name } => format!(
                "let kube-controller-manager or another approve it, or run kubectl certificate \
                 approve on the request that follows {name}"
            ),
            Self::Incomplete => "see who signs, and why it leaves names out".to_owned(),
            Self::Bootstrap(_) | Self::NobodyToAsk => "renew the bootstrap kubeconfig".to_owned(),
            Self::Key(_) => "see whether the Node's addresses are fit for a certificate".to_owned(),
            Self::Files(_) | Self::Unusable(_) => {
                "make the directory of --cert-dir writable, with room left".to_owned()
            }
        }
    }
}

/// Makes a key, asks for a certificate that names what is wanted, and waits for it. `told_before`:
/// what is waited for is not told again. Cancel safe: the request then stays where it is.
pub(super) async fn renew(
    api: Arc<dyn CsrApi>,
    purpose: Purpose,
    wanted: Wanted,
    told_before: bool,
) -> Result<Signed, RenewError> {
    let key = NodeKey::generate().map_err(RenewError::Key)?;
    let name = request_name(purpose, &wanted, key.public_key());
    let pkcs10 = key.sign_request(&wanted).map_err(RenewError::Key)?;
    let request = build_request(purpose, name.clone(), pkcs10);
    let persistence = if told_before { Persistence::OnceMore } else { Persistence::Once };
    let asked = obtain(&*api, &request, persistence);
    let certificate = match tokio::time::timeout(DECISION_WAIT, asked).await {
        Ok(outcome) => outcome?,
        Err(_) => return Err(RenewError::Undecided { name }),
    };
    if !key.belongs_to(&certificate) {
        return Err(RenewError::Foreign { name });
    }
    Ok(Signed { certificate, key: key.pem() })
}
