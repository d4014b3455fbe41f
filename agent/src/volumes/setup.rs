//! Makes the volumes of one pod on disk. Blocking: runs on a thread for that.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use super::atomic_writer;
use super::claims::{BoundSource, BoundVolume};
use super::empty_dir::{Backing, PARENT_MODE, ensure_volume_dir};
use super::host_path;
use super::huge_pages::HugePagesError;
use super::layout::{self, PodLayout};
use super::payload::Payload;
use super::types::{MountedVolume, SetUpCause, SetUpFailure, VolumeError};
use super::wanted::{FilesVolume, HostPathCheck, VolumeKind, WantedVolume};
use crate::adapters::linux::pod_files::{create_dir_all, directories_in};
use crate::boundary::Mounter;
use crate::model::PodUid;

/// A wanted volume and, when noded writes its files, what they are.
pub(super) struct PreparedVolume {
    pub wanted: WantedVolume,
    pub payload: Option<Payload>,
    /// What is behind a claim.
    pub bound: Option<BoundVolume>,
    /// Where other volumes are mounted into those files.
    pub mount_points: BTreeSet<String>,
}

/// Where and as whose the volumes are made.
pub(super) struct SetUp {
    pub layout: PodLayout,
    pub mounter: Arc<dyn Mounter>,
    /// `fsGroup` of the pod.
    pub group: Option<u32>,
    /// Sizes in bytes of the huge pages this kernel offers.
    pub huge_page_sizes: Vec<u64>,
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
            VolumeKind::HugePages { medium, page_bytes, size_bytes } => {
                let (page_bytes, size_bytes) = (page_bytes.clone()?, *size_bytes);
                if !self.huge_page_sizes.contains(&page_bytes) {
                    return Err(HugePagesError::NoSuchPages(medium.clone()).into());
                }
                self.empty_dir(name, Backing::HugePages { page_bytes, size_bytes })
            }
            VolumeKind::HostPath { path, check } => host_path_volume(path, *check, false),
            VolumeKind::Claim(_) => match &volume.bound {
                Some(BoundVolume {
                    source: BoundSource::HostPath { path, check },
                    read_only,
                    name,
                    claim,
                    ..
                }) => host_path_volume(path, *check, *read_only)
                    .map_err(|cause| cause.of_claim(name, claim)),
                _ => Err(SetUpCause::Unsupported),
            },
            VolumeKind::Files(files) => {
                let payload = volume.payload.as_ref().ok_or(SetUpCause::Unsupported)?;
                self.files(name, files, (payload, &volume.mount_points))
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
        (payload, mount_points): (&Payload, &BTreeSet<String>),
    ) -> Result<MountedVolume, SetUpCause> {
        let host_path = self.volume_path(files.plugin, name)?;
        let backing = match files.tmpfs {
            Some(size) => Backing::Tmpfs { size_bytes: size.0 },
            None => Backing::Disk,
        };
        ensure_volume_dir(self.mounter.as_ref(), &host_path, backing, self.group)?;
        atomic_writer::publish(&host_path, payload, mount_points, self.group, self.now)?;
        Ok(MountedVolume { host_path, read_only: true, selinux_relabel: true })
    }

    fn volume_path(&self, plugin: &str, name: &str) -> Result<PathBuf, SetUpCause> {
        self.layout.volume(plugin, name).map_err(|_| SetUpCause::BadName)
    }
}

/// A path of the host, as it is.
fn host_path_volume(
    path: &str,
    check: HostPathCheck,
    read_only: bool,
) -> Result<MountedVolume, SetUpCause> {
    host_path::prepare(path, check)?;
    Ok(MountedVolume { host_path: PathBuf::from(path), read_only, selinux_relabel: false })
}

/// Pods that have a directory, in no order. Files are nobody's and stay.
pub(super) fn pod_dirs(root: &Path) -> Result<Vec<PodUid>, VolumeError> {
    let path = layout::pods_dir(root);
    match directories_in(&path) {
        Ok(names) => Ok(names.iter().map(PodUid::from).collect()),
        Err(source) => Err(VolumeError::Io { action: "list", path, source }),
    }
}
