//! What others see of a pod's volumes.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::boundary::MountError;
use crate::objects::ObjectError;
use crate::podexec::ContainerConfigError;
use crate::telemetry::Causes;

use super::atomic_writer::WriteError;
use super::claims::{BoundError, ClaimError, ClaimFailure, ClaimName};
use super::host_path::HostPathError;
use super::huge_pages::HugePagesError;
use super::payload::PayloadError;
use super::sub_path::BindError;
use super::token::TokenError;

/// A volume that is ready to be mounted into containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedVolume {
    pub host_path: PathBuf,
    /// No container may write to it, whatever its mount says.
    pub read_only: bool,
    /// The runtime may change the SELinux label; never true for a path of the host.
    pub selinux_relabel: bool,
}

/// The volumes of one pod, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountedVolumes(BTreeMap<String, MountedVolume>);

impl MountedVolumes {
    pub fn get(&self, name: &str) -> Option<&MountedVolume> {
        self.0.get(name)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &MountedVolume)> {
        self.0.iter().map(|(name, volume)| (name.as_str(), volume))
    }
}

impl FromIterator<(String, MountedVolume)> for MountedVolumes {
    fn from_iter<T: IntoIterator<Item = (String, MountedVolume)>>(volumes: T) -> Self {
        Self(volumes.into_iter().collect())
    }
}

/// Why one volume is not ready.
#[derive(Debug, thiserror::Error)]
pub enum SetUpCause {
    #[error(transparent)]
    Object(#[from] ObjectError),
    #[error(transparent)]
    Payload(#[from] PayloadError),
    #[error(transparent)]
    Field(#[from] ContainerConfigError),
    #[error(transparent)]
    Token(#[from] TokenError),
    #[error(transparent)]
    HostPath(#[from] HostPathError),
    #[error(transparent)]
    HugePages(#[from] HugePagesError),
    #[error(transparent)]
    Claim(Box<ClaimError>),
    #[error(transparent)]
    Bound(#[from] BoundError),
    /// What keeps the volume of a claim from being mounted.
    #[error("{cause}")]
    OfClaim { volume: String, claim: ClaimName, cause: Box<SetUpCause> },
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Mount(#[from] MountError),
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("volume kind is not supported")]
    Unsupported,
    #[error("volume name is not a plain file name")]
    BadName,
    #[error("a file operation was cut off")]
    Cancelled,
    /// At least two; each with its own causes.
    #[error("[{}]", .0.join(", "))]
    Several(Vec<String>),
}

impl From<ClaimError> for SetUpCause {
    fn from(error: ClaimError) -> Self {
        Self::Claim(Box::new(error))
    }
}

impl From<ClaimFailure> for SetUpCause {
    fn from(failure: ClaimFailure) -> Self {
        match failure {
            ClaimFailure::Claim(error) => error.into(),
            ClaimFailure::Bound(error) => Self::Bound(error),
        }
    }
}

impl SetUpCause {
    /// The cause with the volume that the claim is bound to. What is wrong with the claim itself
    /// names it already.
    pub(super) fn of_claim(self, volume: &str, claim: &ClaimName) -> Self {
        match self {
            Self::Claim(_) | Self::OfClaim { .. } => self,
            cause => Self::OfClaim {
                volume: volume.to_owned(),
                claim: claim.clone(),
                cause: Box::new(cause),
            },
        }
    }

    /// What the event begins with; the kubelet's step.
    fn step(&self) -> &'static str {
        match self {
            Self::Bound(error) => error.step(),
            _ => "MountVolume.SetUp failed",
        }
    }

    /// All of `causes` as one, each text once, as the kubelet aggregates errors; `None` when there
    /// are none.
    pub(super) fn of_all(mut causes: Vec<Self>) -> Option<Self> {
        if causes.len() <= 1 {
            return causes.pop();
        }
        let mut texts: Vec<String> = Vec::new();
        for cause in &causes {
            let text = Causes(cause).to_string();
            if !texts.contains(&text) {
                texts.push(text);
            }
        }
        match texts.len() {
            1 => causes.pop(),
            _ => Some(Self::Several(texts)),
        }
    }
}

/// One volume that could not be set up.
#[derive(Debug)]
pub struct SetUpFailure {
    pub volume: String,
    pub cause: SetUpCause,
}

impl SetUpFailure {
    /// Message of the event `FailedMount`, as the kubelet words it. It names the volume behind a
    /// claim where there is one, and then says which volume of the pod that is.
    pub fn event_message(&self) -> String {
        let own = &self.volume;
        match &self.cause {
            SetUpCause::OfClaim { volume, claim, cause } => {
                let (step, cause) = (cause.step(), Causes(cause.as_ref()));
                format!(
                    "{step} for volume \"{volume}\" : {cause} (volume \"{own}\", claim {claim})"
                )
            }
            cause => format!("{} for volume \"{own}\" : {}", cause.step(), Causes(cause)),
        }
    }

    /// Why the claim does not lead to a volume.
    fn claim_error(&self) -> Option<&ClaimError> {
        match &self.cause {
            SetUpCause::Claim(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a pod's volumes are not as they should be. All of them are worth another try.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    /// At least one failure; the volumes not named are ready.
    #[error("cannot set up volumes {}", names(.0))]
    SetUp(Vec<SetUpFailure>),
    #[error("cannot unmount {path}")]
    Unmount {
        path: PathBuf,
        #[source]
        source: MountError,
    },
    /// Something that noded did not mount is mounted there; removing would reach through it.
    #[error("{0} is still mounted")]
    StillMounted(PathBuf),
    #[error("cannot read the mount table")]
    MountTable(#[source] MountError),
    #[error(transparent)]
    Bind(MountError),
    #[error(transparent)]
    SubPath(BindError),
    /// Earlier work for the same pod; what it does is not known, so nothing else is begun.
    #[error("{0} takes too long and still goes on")]
    Hangs(&'static str),
    #[error("cannot {action} {path}")]
    Io {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The name cannot be a directory of its own.
    #[error("{0:?} is not a plain file name")]
    BadName(String),
    #[error("a file operation was cut off")]
    Cancelled,
}

impl VolumeError {
    /// Messages of `FailedMount` events: one for all claims that lead to no volume yet, one for each
    /// other volume that failed.
    pub fn event_messages(&self) -> Vec<String> {
        let Self::SetUp(failures) = self else { return vec![Causes(self).to_string()] };
        let others = failures.iter().filter(|failure| failure.claim_error().is_none());
        unprocessed(failures).into_iter().chain(others.map(SetUpFailure::event_message)).collect()
    }
}

/// What the kubelet says while it waits for claims; `None` when no claim is in the way.
fn unprocessed(failures: &[SetUpFailure]) -> Option<String> {
    let list = |of: &dyn Fn(&&SetUpFailure) -> bool| {
        let mut names: Vec<&str> = failures.iter().filter(of).map(|f| f.volume.as_str()).collect();
        names.sort_unstable();
        names.join(" ")
    };
    let causes = failures.iter().filter_map(SetUpFailure::claim_error);
    let causes: Vec<String> = causes.map(ToString::to_string).collect();
    let (all, unread) = (list(&|_| true), list(&|failure| failure.claim_error().is_some()));
    (!causes.is_empty()).then(|| {
        format!(
            "Unable to attach or mount volumes: unmounted volumes=[{all}], unattached volumes=[], \
             failed to process volumes=[{unread}]: {}",
            causes.join("; ")
        )
    })
}

fn names(failures: &[SetUpFailure]) -> String {
    let quoted: Vec<String> = failures.iter().map(|f| format!("{:?}", f.volume)).collect();
    quoted.join(", ")
}

#[cfg(test)]
mod tests;
