//! Pure. From a claim to the volume behind it, and whether the pod may use it here.
//! Source: kubelet v1.36 `volumemanager/populator`, `volume/util/operationexecutor`,
//! component-helpers `storage/ephemeral`.

use std::fmt;

use k8s_openapi::api::core::v1 as api;

use super::wanted::{ClaimVolume, HostPathCheck, host_path_check};
use crate::admission::node_selector_matches;
use crate::boundary::{ApiError, MountOption};
use crate::model::Pod;

/// While the claim has it, a claim that is being deleted stays until its pods are gone.
const PROTECTION: &str = "kubernetes.io/pvc-protection";
const BLOCK: &str = "Block";
const EXCLUSIVE: &str = "ReadWriteOncePod";

/// Namespace and name of a claim.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimName {
    pub namespace: String,
    pub name: String,
}

impl fmt::Display for ClaimName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The volume behind a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BoundVolume {
    pub claim: ClaimName,
    /// Name of the PersistentVolume.
    pub name: String,
    pub source: BoundSource,
    pub read_only: bool,
    /// Of two pods only one may use it.
    pub exclusive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BoundSource {
    /// A directory that is mounted for each pod.
    Local { path: String, options: Vec<MountOption> },
    /// A path that containers get as it is.
    HostPath { path: String, check: HostPathCheck },
}

/// Why a claim does not lead to a volume yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimError {
    #[error("error processing PVC {0}: {1}")]
    Processing(ClaimName, ClaimProblem),
    #[error("PVC {claim} was not created for pod {pod} (pod is not owner)")]
    NotOwned { claim: ClaimName, pod: String },
    #[error("volume {volume} has volumeMode {mode}, but is specified in volumeMounts")]
    Mode { volume: String, mode: String },
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimProblem {
    #[error("failed to fetch PVC from API server: {0}")]
    NoClaim(ApiError),
    #[error("PVC is being deleted")]
    BeingDeleted,
    #[error("PVC is not bound")]
    NotBound,
    #[error("PVC has empty pvc.Spec.VolumeName")]
    NoVolumeName,
    #[error("failed to fetch PV {0} from API server: {1}")]
    NoVolume(String, ApiError),
    #[error(
        "found PV object {0} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to \
         the claim"
    )]
    NotYetBound(String),
    #[error(
        "found PV object {volume} but its pv.Spec.ClaimRef.UID {found} does not point to claim.UID \
         {claim}"
    )]
    OtherClaim { volume: String, found: String, claim: String },
    #[error(
        "PV {0} is neither a local nor a hostPath volume; others are not supported by this node"
    )]
    Kind(String),
}

/// Why a bound volume cannot be mounted. The steps are the kubelet's, and so are their names.
#[derive(Debug, thiserror::Error)]
pub enum BoundError {
    #[error("no matching NodeSelectorTerms")]
    Affinity,
    #[error("the labels of the Node are not known yet")]
    NodeUnknown,
    #[error("path \"{0}\" does not exist")]
    Missing(String),
    #[error("only directory and block device are supported")]
    WrongKind,
    #[error("{0} is a block device, and to mount one is not supported by this node")]
    BlockDevice(String),
    #[error("mount options are not supported for this volume type")]
    NoOptions,
    #[error("mount option {0} is not supported for a local volume by this node")]
    Option(String),
    #[error("volume uses the ReadWriteOncePod access mode and is already in use by another pod")]
    InUse,
    #[error("invalid path: {0} must not contain '..'")]
    Backsteps(String),
}

impl BoundError {
    /// What the event begins with.
    pub fn step(&self) -> &'static str {
        match self {
            Self::Affinity | Self::NodeUnknown => "MountVolume.NodeAffinity check failed",
            Self::Missing(_) | Self::WrongKind | Self::BlockDevice(_) => {
                "MountVolume.NewMounter initialization failed"
            }
            Self::NoOptions | Self::Option(_) => "MountVolume.MountOptionSupport check failed",
            Self::InUse | Self::Backsteps(_) => "MountVolume.SetUp failed",
        }
    }
}

/// The name of the volume that the claim is bound to, when the pod may use the claim.
pub fn bound_volume_name(
    pod: &Pod,
    wanted: &ClaimVolume,
    claim: &api::PersistentVolumeClaim,
) -> Result<String, ClaimError> {
    let name = claim_name(pod, wanted);
    let problem = |problem| Err(ClaimError::Processing(name.clone(), problem));
    let metadata = &claim.metadata;
    let protected = metadata.finalizers.iter().flatten().any(|entry| entry == PROTECTION);
    if metadata.deletion_timestamp.is_some() && !protected {
        return problem(ClaimProblem::BeingDeleted);
    }
    let phase = claim.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase != Some("Bound") {
        return problem(ClaimProblem::NotBound);
    }
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone());
    let Some(volume) = volume.filter(|volume| !volume.is_empty()) else {
        return problem(ClaimProblem::NoVolumeName);
    };
    if wanted.owned && !is_controlled_by(claim, pod) {
        let pod = format!("{}/{}", pod.namespace(), pod.name());
        return Err(ClaimError::NotOwned { claim: name, pod });
    }
    Ok(volume)
}

/// The claim that a volume of the pod means.
pub fn claim_name(pod: &Pod, wanted: &ClaimVolume) -> ClaimName {
    ClaimName { namespace: pod.namespace().to_owned(), name: wanted.claim.clone() }
}

fn is_controlled_by(claim: &api::PersistentVolumeClaim, pod: &Pod) -> bool {
    let mut owners = claim.metadata.owner_references.iter().flatten();
    let controller = owners.find(|owner| owner.controller == Some(true));
    controller.is_some_and(|owner| owner.uid == pod.uid().as_str())
}

/// The volume, when it is bound to this claim and of a kind that noded mounts. `volume` is the name
/// of the pod's volume.
pub fn bound_volume(
    pod: &Pod,
    (volume, wanted): (&str, &ClaimVolume),
    claim: &api::PersistentVolumeClaim,
    found: &api::PersistentVolume,
) -> Result<BoundVolume, ClaimFailure> {
    let claim_name = claim_name(pod, wanted);
    let name = found.metadata.name.clone().unwrap_or_default();
    let problem = |problem| Err(ClaimError::Processing(claim_name.clone(), problem).into());
    let empty = api::PersistentVolumeSpec::default();
    let spec = found.spec.as_ref().unwrap_or(&empty);
    let Some(back) = &spec.claim_ref else {
        return problem(ClaimProblem::NotYetBound(name));
    };
    let (back, own) = (back.uid.clone(), claim.metadata.uid.clone());
    if back != own {
        let (found, claim) = (back.unwrap_or_default(), own.unwrap_or_default());
        return problem(ClaimProblem::OtherClaim { volume: name, found, claim });
    }
    if let Some(mode) = spec.volume_mode.as_deref().filter(|mode| *mode == BLOCK) {
        let (volume, mode) = (volume.to_owned(), mode.to_owned());
        return Err(ClaimError::Mode { volume, mode }.into());
    }
    let options = spec.mount_options.as_deref().unwrap_or_default();
    let source = match (&spec.local, &spec.host_path) {
        (Some(local), _) => {
            BoundSource::Local { path: local.path.clone(), options: local_options(options)? }
        }
        (None, Some(host)) => match host_path_check(host) {
            Some(_) if !options.is_empty() => return Err(BoundError::NoOptions.into()),
            Some(check) => BoundSource::HostPath { path: host.path.clone(), check },
            None => return problem(ClaimProblem::Kind(name)),
        },
        (None, None) => return problem(ClaimProblem::Kind(name)),
    };
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    let exclusive = matches!(modes, [only] if only == EXCLUSIVE);
    let read_only = wanted.read_only;
    Ok(BoundVolume { claim: claim_name, name, source, read_only, exclusive })
}

/// Either side of mounting a claim.
#[derive(Debug, thiserror::Error)]
pub enum ClaimFailure {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Bound(#[from] BoundError),
}

fn local_options(options: &[String]) -> Result<Vec<MountOption>, BoundError> {
    let each = |option: &str| match option {
        "defaults" | "bind" | "rw" => Ok(None),
        "ro" => Ok(Some(MountOption::ReadOnly)),
        "nosuid" => Ok(Some(MountOption::NoSuid)),
        "nodev" => Ok(Some(MountOption::NoDev)),
        "noexec" => Ok(Some(MountOption::NoExec)),
        "noatime" => Ok(Some(MountOption::NoAtime)),
        "nodiratime" => Ok(Some(MountOption::NoDirAtime)),
        "relatime" => Ok(Some(MountOption::RelAtime)),
        other => Err(BoundError::Option(other.to_owned())),
    };
    let all = options.iter().flat_map(|option| option.split(',')).map(each);
    let found: Result<Vec<_>, _> = all.collect();
    Ok(found?.into_iter().flatten().collect())
}

/// Whether the volume can be reached from this node. `node` is `None` while it is not known.
pub fn check_node(
    volume: &api::PersistentVolume,
    node: Option<&api::Node>,
) -> Result<(), BoundError> {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let Some(required) = affinity.and_then(|affinity| affinity.required.as_ref()) else {
        return Ok(());
    };
    let node = node.ok_or(BoundError::NodeUnknown)?;
    match node_selector_matches(required, node) {
        true => Ok(()),
        false => Err(BoundError::Affinity),
    }
}

#[cfg(test)]
mod tests;
