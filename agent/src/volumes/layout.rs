//! Pure. Where the files of a pod lie below the root directory.
//! Source: kubelet v1.36 `kubelet_getters.go`, `volume/util`.

use std::path::{Component, Path, PathBuf};

use super::types::VolumeError;
use crate::model::PodUid;

/// Directory names of the volume plugins.
pub(super) const EMPTY_DIR: &str = "kubernetes.io~empty-dir";
pub(super) const LOCAL: &str = "kubernetes.io~local-volume";
pub(super) const CONFIG_MAP: &str = "kubernetes.io~configmap";
pub(super) const SECRET: &str = "kubernetes.io~secret";
pub(super) const DOWNWARD_API: &str = "kubernetes.io~downward-api";
pub(super) const PROJECTED: &str = "kubernetes.io~projected";

/// `<root>/pods`.
pub fn pods_dir(root: &Path) -> PathBuf {
    root.join("pods")
}

/// The paths of one pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodLayout {
    dir: PathBuf,
}

impl PodLayout {
    /// Errors when the UID could lead out of `<root>/pods`.
    pub fn new(root: &Path, uid: &PodUid) -> Result<Self, VolumeError> {
        Ok(Self { dir: pods_dir(root).join(plain(uid.as_str())?) })
    }

    /// `<root>/pods/<uid>`.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn volumes(&self) -> PathBuf {
        self.dir.join("volumes")
    }

    /// `volumes/<plugin>/<name>`.
    pub fn volume(&self, plugin: &str, name: &str) -> Result<PathBuf, VolumeError> {
        Ok(self.volumes().join(plugin).join(plain(name)?))
    }

    /// What a sub path of a volume is mounted on:
    /// `volume-subpaths/<volume>/<container>/<index of the mount>`.
    pub fn sub_path(
        &self,
        volume: &str,
        container: &str,
        index: usize,
    ) -> Result<PathBuf, VolumeError> {
        let container = self.sub_paths().join(plain(volume)?).join(plain(container)?);
        Ok(container.join(index.to_string()))
    }

    fn sub_paths(&self) -> PathBuf {
        self.dir.join("volume-subpaths")
    }

    /// `plugins/<plugin>/<name>`, what noded notes of a volume; nothing is ever mounted there.
    pub fn note(&self, plugin: &str, name: &str) -> Result<PathBuf, VolumeError> {
        Ok(self.dir.join("plugins").join(plugin).join(plain(name)?))
    }

    /// The managed hosts file of all containers of the pod.
    pub fn hosts_file(&self) -> PathBuf {
        self.dir.join("etc-hosts")
    }

    /// Directory of the termination logs of one container's instances.
    pub fn container(&self, name: &str) -> Result<PathBuf, VolumeError> {
        Ok(self.dir.join("containers").join(plain(name)?))
    }

    /// True for a path that a volume of the pod, or a part of one, may be mounted at.
    pub fn is_own_mount(&self, path: &Path) -> bool {
        let depth_below = |dir: PathBuf| Some(path.strip_prefix(dir).ok()?.components().count());
        depth_below(self.volumes()) == Some(2) || depth_below(self.sub_paths()) == Some(3)
    }
}

/// The name, when it is one component of a path.
fn plain(name: &str) -> Result<&str, VolumeError> {
    let mut components = Path::new(name).components();
    match (components.next(), components.next()) {
        (Some(Component::Normal(part)), None) if part == name => Ok(name),
        _ => Err(VolumeError::BadName(name.to_owned())),
    }
}

#[cfg(test)]
mod tests;
