//! Looks at what the volumes of all pods take; as slow as their directories are large.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::types::{VolumeSample, VolumeSamples};
use crate::boundary::{DiskUsage, Usage};
use crate::model::Pod;
use crate::volumes::{MeasuredVolume, MountedClaims, VolumeMeasure, measured_volumes};

#[cfg(test)]
mod tests;

/// The volumes of the pods. One that is not made yet, or cannot be read, is left out.
pub fn look_at_volumes(
    usage: &dyn Usage,
    root: &Path,
    (pods, claims): (&[Pod], &MountedClaims),
    clock: &dyn Fn() -> Timestamp,
) -> VolumeSamples {
    let of_pod = |pod: &Pod| {
        let claims = claims.get(pod.uid()).map(Vec::as_slice).unwrap_or_default();
        let volumes = measured_volumes(root, pod, claims);
        let samples = volumes.into_iter().filter_map(|volume| look_at(usage, volume, clock()));
        (pod.uid().clone(), Arc::new(samples.collect::<Vec<_>>()))
    };
    pods.iter().map(of_pod).filter(|(_, samples)| !samples.is_empty()).collect()
}

fn look_at(usage: &dyn Usage, volume: MeasuredVolume, at: Timestamp) -> Option<VolumeSample> {
    let fs = usage.file_system(&volume.path).ok()?;
    let used = match volume.measure {
        VolumeMeasure::Files => usage.disk_usage(&volume.path).ok()?,
        VolumeMeasure::FileSystem => {
            DiskUsage { bytes: fs.used, inodes: fs.inodes.saturating_sub(fs.inodes_free) }
        }
    };
    let MeasuredVolume { name, ephemeral, claim, .. } = volume;
    Some(VolumeSample { name, at: Some(at), used, fs, ephemeral, claim })
}
