//! Removes what a pod has on disk. Blocking: runs on a thread for that.

use std::path::Path;

use super::layout::{self, PodLayout};
use super::types::VolumeError;
use crate::adapters::linux::pod_files::remove_tree;
use crate::boundary::Mounter;
use crate::model::PodUid;

/// Unmounts the pod's volumes and their parts, and removes its directory. What is gone already is
/// success; a mount that noded did not make stops the removal before anything is deleted.
pub(super) fn tear_down(
    root: &Path,
    uid: &PodUid,
    mounter: &dyn Mounter,
) -> Result<(), VolumeError> {
    let layout = PodLayout::new(root, uid)?;
    let mut mounts = mounter.list(layout.dir()).map_err(VolumeError::MountTable)?;
    if let Some(foreign) = mounts.iter().find(|mount| !layout.is_own_mount(&mount.target)) {
        return Err(VolumeError::StillMounted(foreign.target.clone()));
    }
    // The last mounted first, for a volume may be mounted over twice.
    mounts.reverse();
    for mount in mounts {
        mounter
            .unmount(&mount.target)
            .map_err(|source| VolumeError::Unmount { path: mount.target.clone(), source })?;
    }
    remove_tree(&layout::pods_dir(root), uid.as_str()).map_err(|source| VolumeError::Io {
        action: "remove",
        path: layout.dir().to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests;
