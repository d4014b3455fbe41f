//! Pure. Where the cgroups of pods are, for both cgroup drivers.
//!
//! Source: kubelet v1.36 `pkg/kubelet/cm/cgroup_manager_linux.go`.

use std::path::{Component, Path, PathBuf};

use crate::boundary::CgroupDriver;
use crate::model::PodUid;
use crate::model::qos::QosClass;

const KUBEPODS: &str = "kubepods";
const POD_PREFIX: &str = "pod";
const SLICE: &str = ".slice";

/// Names the cgroups of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupNames {
    driver: CgroupDriver,
    /// Names from the cgroup mount down to `kubepods`, that included.
    kubepods: Vec<String>,
}

impl CgroupNames {
    /// `root` is `cgroupRoot`: a path below the mount, `/` for the mount itself.
    pub fn new(driver: CgroupDriver, root: &Path) -> Self {
        let above = root.components().filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        });
        Self { driver, kubepods: above.chain([KUBEPODS.to_owned()]).collect() }
    }

    /// Path of the cgroup that holds all pods.
    pub fn kubepods(&self) -> PathBuf {
        self.path(&self.kubepods)
    }

    /// Path of the cgroup that holds the pods of a class; Guaranteed pods have none of their own.
    pub fn qos(&self, class: QosClass) -> PathBuf {
        self.path(&self.qos_names(class))
    }

    /// Path of a pod's cgroup below the cgroup mount.
    pub fn pod(&self, uid: &PodUid, class: QosClass) -> PathBuf {
        self.path(&self.pod_names(uid, class))
    }

    /// The pod's cgroup as `cgroup_parent` of CRI wants it: a path for cgroupfs, the slice's own
    /// name for systemd.
    pub fn cri_parent(&self, uid: &PodUid, class: QosClass) -> PathBuf {
        match self.driver {
            CgroupDriver::Cgroupfs => self.pod(uid, class),
            CgroupDriver::Systemd => PathBuf::from(slice_name(&self.pod_names(uid, class))),
        }
    }

    /// The UID of the pod whose cgroup has this last path component; `None` when it is no pod's.
    pub fn pod_of(&self, name: &str) -> Option<PodUid> {
        let uid = match self.driver {
            CgroupDriver::Cgroupfs => name.strip_prefix(POD_PREFIX)?.to_owned(),
            CgroupDriver::Systemd => {
                let (_, last) = name.strip_suffix(SLICE)?.rsplit_once('-')?;
                unescape_systemd(last.strip_prefix(POD_PREFIX)?)
            }
        };
        (!uid.is_empty()).then(|| PodUid::from(uid))
    }

    fn qos_names(&self, class: QosClass) -> Vec<String> {
        let mut names = self.kubepods.clone();
        match class {
            QosClass::Guaranteed => {}
            QosClass::Burstable => names.push("burstable".to_owned()),
            QosClass::BestEffort => names.push("besteffort".to_owned()),
        }
        names
    }

    fn pod_names(&self, uid: &PodUid, class: QosClass) -> Vec<String> {
        let mut names = self.qos_names(class);
        names.push(format!("{POD_PREFIX}{uid}"));
        names
    }

    fn path(&self, names: &[String]) -> PathBuf {
        let root = PathBuf::from("/");
        match self.driver {
            CgroupDriver::Cgroupfs => names.iter().fold(root, |path, name| path.join(name)),
            // Each slice stands in the one its name extends.
            CgroupDriver::Systemd => {
                (1..=names.len()).fold(root, |path, depth| path.join(slice_name(&names[..depth])))
            }
        }
    }
}

/// `a`, `b-c` to `a-b_c.slice`: a dash separates levels, so those in a name are replaced.
fn slice_name(names: &[String]) -> String {
    let escaped: Vec<String> = names.iter().map(|name| name.replace('-', "_")).collect();
    format!("{}{SLICE}", escaped.join("-"))
}

fn unescape_systemd(name: &str) -> String {
    name.replace('_', "-")
}

#[cfg(test)]
mod tests;
