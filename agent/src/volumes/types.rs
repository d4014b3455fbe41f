//! What others see of a pod's volumes.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use crate::boundary::MountError;
use crate::objects::ObjectError;
use crate::podexec::ContainerConfigError;
use crate::telemetry::Causes;

use super::atomic_writer::WriteError;
use super::host_path::HostPathError;
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
}

/// One volume that could not be set up.
#[derive(Debug)]
pub struct SetUpFailure {
    pub volume: String,
    pub cause: SetUpCause,
}

impl SetUpFailure {
    /// Message of the event `FailedMount`, as the kubelet words it.
    pub fn event_message(&self) -> String {
        let cause = Causes(&self.cause).to_string();
        format!("MountVolume.SetUp failed for volume \"{}\" : {cause}", self.volume)
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
    /// Messages of `FailedMount` events, one for each volume that failed.
    pub fn event_messages(&self) -> Vec<String> {
        match self {
            Self::SetUp(failures) => failures.iter().map(SetUpFailure::event_message).collect(),
            other => vec![Causes(other).to_string()],
        }
    }
}

fn names(failures: &[SetUpFailure]) -> String {
    let quoted: Vec<String> = failures.iter().map(|f| format!("{:?}", f.volume)).collect();
    quoted.join(", ")
}
