//! Pure. Where the volumes of a pod are, to see what they take.
//!
//! Source: kubelet v1.36, the volume plugins' `GetMetrics` and `volume/util.IsLocalEphemeralVolume`.

use std::path::{Path, PathBuf};

use super::claims::ClaimName;
use super::layout::{self, PodLayout};
use super::ledger::MountedClaim;
use super::wanted::{VolumeKind, wanted_volumes};
use crate::model::Pod;

#[cfg(test)]
mod tests;

/// How a volume is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VolumeMeasure {
    /// By its files.
    Files,
    /// By its file system, which is its own.
    FileSystem,
}

/// One volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeasuredVolume {
    pub name: String,
    pub path: PathBuf,
    pub measure: VolumeMeasure,
    /// Whether it lies on the node's disk and counts as the pod's ephemeral storage.
    pub ephemeral: bool,
    /// The claim that it is mounted through.
    pub claim: Option<ClaimName>,
}

/// The volumes of a pod that are noded's own or mounted for it alone, in the order of the spec;
/// paths of the host belong to the host and are not measured. `claims` are those of the pod that
/// are mounted. Empty for a pod whose UID is no directory name.
pub fn measured_volumes(root: &Path, pod: &Pod, claims: &[MountedClaim]) -> Vec<MeasuredVolume> {
    let Ok(layout) = PodLayout::new(root, pod.uid()) else { return Vec::new() };
    let claimed = |name: &str| {
        let mounted = claims.iter().find(|claim| claim.volume == name)?;
        Some(MeasuredVolume {
            name: name.to_owned(),
            path: mounted.path.clone(),
            measure: VolumeMeasure::FileSystem,
            ephemeral: false,
            claim: Some(mounted.claim.clone()),
        })
    };
    let volume = |wanted: super::wanted::WantedVolume| {
        let (plugin, measure, ephemeral) = match &wanted.kind {
            VolumeKind::Disk => (layout::EMPTY_DIR, VolumeMeasure::Files, true),
            VolumeKind::Memory { .. } | VolumeKind::HugePages { .. } => {
                (layout::EMPTY_DIR, VolumeMeasure::FileSystem, false)
            }
            VolumeKind::Files(files) => {
                (files.plugin, VolumeMeasure::Files, files.plugin == layout::CONFIG_MAP)
            }
            VolumeKind::Claim(_) => return claimed(&wanted.name),
            VolumeKind::HostPath { .. } | VolumeKind::Unsupported => return None,
        };
        let path = layout.volume(plugin, &wanted.name).ok()?;
        Some(MeasuredVolume { name: wanted.name, path, measure, ephemeral, claim: None })
    };
    wanted_volumes(pod, 0).into_iter().filter_map(volume).collect()
}
