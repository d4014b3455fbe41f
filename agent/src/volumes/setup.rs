//! Makes the volumes of one pod on disk. Blocking: runs on a thread for that.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::atomic_writer;
use super::empty_dir::{Backing, PARENT_MODE, ensure_volume_dir};
use super::host_path;
use super::layout::{self, PodLayout};
use super::payload::Payload;
use super::types::{MountedVolume, SetUpCause, SetUpFailure, VolumeError};
use super::wanted::{FilesVolume, VolumeKind, WantedVolume};
use crate::adapters::linux::pod_files::{create_dir_all, directories_in};
use crate::boundary::Mounter;
use crate::model::PodUid;

/// A wanted volume and, when noded writes its files, what they are.
pub(super) struct PreparedVolume {
    pub wanted: WantedVolume,
    pub payload: Option<Payload>,
}

/// Where and as whose the volumes are made.
pub(super) struct SetUp {
    pub layout: PodLayout,
    pub mounter: Arc<dyn Mounter>,
    /// `fsGroup` of the pod.
    pub group: Option<u32>,
    pub now: Timestamp,
}

impl SetUp {
    /// Makes the pod's directories.
    pub fn pod_dirs(&self) -> Result<(), VolumeError> {
        let volumes = self.layout.volumes();
        create_dir_all(&volumes, PARENT_MODE).map_err(|source| VolumeError::Io {
            action: "create",
            path: volumes,
            source,
        })
    }

    /// Makes one volume; done twice is done once.
    pub fn volume(&self, volume: &PreparedVolume) -> Result<MountedVolume, SetUpFailure> {
        self.try_volume(volume)
            .map_err(|cause| SetUpFailure { volume: volume.wanted.name.clone(), cause })
    }

    fn try_volume(&self, volume: &PreparedVolume) -> Result<MountedVolume, SetUpCause> {
        let name = &volume.wanted.name;
        match &volume.wanted.kind {
            VolumeKind::Disk => self.empty_dir(name, Backing::Disk),
            VolumeKind::Memory { size_bytes } => {
                self.empty_dir(name, Backing::Tmpfs { size_bytes: *size_bytes })
            }
            VolumeKind::HostPath { path, check } => {
                host_path::prepare(path, *check)?;
                let host_path = PathBuf::from(path);
                Ok(MountedVolume { host_path, read_only: false, selinux_relabel: false })
            }
            VolumeKind::Files(files) => {
                let payload = volume.payload.as_ref().ok_or(SetUpCause::Unsupported)?;
                self.files(name, files, payload)
            }
            VolumeKind::Unsupported => Err(SetUpCause::Unsupported),
        }
    }

    fn empty_dir(&self, name: &str, backing: Backing) -> Result<MountedVolume, SetUpCause> {
        let host_path = self.volume_path(layout::EMPTY_DIR, name)?;
        ensure_volume_dir(self.mounter.as_ref(), &host_path, backing, self.group)?;
        Ok(MountedVolume { host_path, read_only: false, selinux_relabel: true })
    }

    fn files(
        &self,
        name: &str,
        files: &FilesVolume,
        payload: &Payload,
    ) -> Result<MountedVolume, SetUpCause> {
        let host_path = self.volume_path(files.plugin, name)?;
        let backing = match files.tmpfs {
            Some(size) => Backing::Tmpfs { size_bytes: size.0 },
            None => Backing::Disk,
        };
        // The group gets the files, not the directory, where it may write nothing.
        ensure_volume_dir(self.mounter.as_ref(), &host_path, backing, None)?;
        atomic_writer::publish(&host_path, payload, self.group, self.now)?;
        Ok(MountedVolume { host_path, read_only: true, selinux_relabel: true })
    }

    fn volume_path(&self, plugin: &str, name: &str) -> Result<PathBuf, SetUpCause> {
        self.layout.volume(plugin, name).map_err(|_| SetUpCause::BadName)
    }
}

/// Pods that have a directory, in no order. Files are nobody's and stay.
pub(super) fn pod_dirs(root: &Path) -> Result<Vec<PodUid>, VolumeError> {
    let path = layout::pods_dir(root);
    match directories_in(&path) {
        Ok(names) => Ok(names.iter().map(PodUid::from).collect()),
        Err(source) => Err(VolumeError::Io { action: "list", path, source }),
    }
}
