//! Pure. Where the volumes of a pod are, to see what they take.
//!
//! Source: kubelet v1.36, the volume plugins' `GetMetrics` and `volume/util.IsLocalEphemeralVolume`.

use std::path::{Path, PathBuf};

use super::layout::{self, PodLayout};
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
}

/// The volumes of a pod that are noded's own, in the order of the spec; paths of the host belong to
/// the host and are not measured. Empty for a pod whose UID is no directory name.
pub fn measured_volumes(root: &Path, pod: &Pod) -> Vec<MeasuredVolume> {
    let Ok(layout) = PodLayout::new(root, pod.uid()) else { return Vec::new() };
    let volume = |wanted: super::wanted::WantedVolume| {
        let (plugin, measure, ephemeral) = match &wanted.kind {
            VolumeKind::Disk => (layout::EMPTY_DIR, VolumeMeasure::Files, true),
            VolumeKind::Memory { .. } => (layout::EMPTY_DIR, VolumeMeasure::FileSystem, false),
            VolumeKind::Files(files) => {
                (files.plugin, VolumeMeasure::Files, files.plugin == layout::CONFIG_MAP)
            }
            VolumeKind::HostPath { .. } | VolumeKind::Unsupported => return None,
        };
        let path = layout.volume(plugin, &wanted.name).ok()?;
        Some(MeasuredVolume { name: wanted.name, path, measure, ephemeral })
    };
    wanted_volumes(pod, 0).into_iter().filter_map(volume).collect()
}
