//! Parts of volumes, mounted apart so that a container gets exactly the part that was looked at.
//!
//! ```text
//! volumes/<plugin>/<volume>/a/b   opened beneath the volume   -> held open
//! volume-subpaths/<volume>/<container>/<index>                <- the held file, bound
//! ```
//!
//! A name inside a volume may change at any moment, also into a link that leads out. The runtime
//! is therefore given the second path, which only noded can change. A part is looked at anew for
//! each start of its container, and stays as it was found until then.
//! Source: kubelet v1.36 `volume/util/subpath/subpath_linux.go`.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::layout::PodLayout;
use super::types::VolumeError;
use crate::adapters::linux::pod_files::make_mount_target;
use crate::adapters::linux::sub_path::{self, SubPathError};
use crate::boundary::Mounter;
use crate::telemetry::Causes;

/// A part of a volume that a container mounts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedSubPath {
    /// Of the mount in the container's list.
    pub index: usize,
    pub volume: String,
    /// Relative and without `..`.
    pub path: String,
}

/// Where the parts of a container are, by index of the mount.
pub type BoundSubPaths = BTreeMap<usize, PathBuf>;

/// Why a part is not there. Says nothing of what was found, which may be the node's secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BindError {
    #[error(
        "failed to create subPath directory for volumeMount \"{volume}\" of container \"{container}\""
    )]
    Create { volume: String, container: String },
    #[error("failed to prepare subPath for volumeMount \"{volume}\" of container \"{container}\"")]
    Prepare { volume: String, container: String },
}

/// Binds parts of the volumes of one container.
pub(super) struct Binder<'a> {
    pub layout: &'a PodLayout,
    pub mounter: &'a dyn Mounter,
    pub container: &'a str,
}

impl Binder<'_> {
    /// Makes the part of `volume`, a directory of the host, present and returns where. What is
    /// mounted there already is used when it is the same, else replaced.
    pub fn bind(&self, volume: &Path, wanted: &WantedSubPath) -> Result<PathBuf, VolumeError> {
        let (volume_name, container) = (wanted.volume.clone(), self.container.to_owned());
        let part = match sub_path::open_or_make(volume, Path::new(&wanted.path)) {
            Ok(part) => part,
            Err(error) => {
                self.log(wanted, &error);
                return Err(VolumeError::SubPath(match error {
                    SubPathError::Create(_) => BindError::Create { volume: volume_name, container },
                    SubPathError::Open(_) => BindError::Prepare { volume: volume_name, container },
                }));
            }
        };
        self.mount(&part, wanted).map_err(|error| {
            self.log(wanted, &error);
            VolumeError::SubPath(BindError::Prepare { volume: volume_name, container })
        })
    }

    fn mount(
        &self,
        part: &sub_path::SubPath,
        wanted: &WantedSubPath,
    ) -> Result<PathBuf, VolumeError> {
        let target = self.layout.sub_path(&wanted.volume, self.container, wanted.index)?;
        let mounts = self.mounter.list(&target).map_err(VolumeError::MountTable)?;
        let mounted = mounts.iter().filter(|mount| mount.target == target).count();
        if mounted > 0 && self.mounter.shows(&target, part.as_fd()) {
            return Ok(target);
        }
        for _ in 0..mounted {
            self.mounter
                .unmount(&target)
                .map_err(|source| VolumeError::Unmount { path: target.clone(), source })?;
        }
        make_mount_target(&target, part.directory).map_err(|source| VolumeError::Io {
            action: "create",
            path: target.clone(),
            source,
        })?;
        self.mounter.bind_open(part.as_fd(), &target).map_err(VolumeError::Bind)?;
        Ok(target)
    }

    /// The cause is for the node's owner only.
    fn log(&self, wanted: &WantedSubPath, error: &(dyn std::error::Error + 'static)) {
        let (dir, container, cause) = (self.layout.dir(), self.container, Causes(error));
        tracing::warn!(dir = %dir.display(), container, volume = wanted.volume, path = wanted.path,
            %cause, "cannot mount sub path");
    }
}

#[cfg(test)]
mod tests;
