//! Which cgroup version this machine runs.

use std::path::Path;
use std::sync::Arc;

use cgroups_rs::fs::hierarchies::{UNIFIED_MOUNTPOINT, is_cgroup2_unified_mode};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, TMPFS_MAGIC, statfs};

use super::{CgroupV1, CgroupV2};
use crate::boundary::{CgroupError, Cgroups};

/// What is mounted at `/sys/fs/cgroup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// Version 2 alone.
    Unified,
    /// Version 1 controllers, with an empty version 2 tree beside them.
    Hybrid,
    /// Version 1 alone.
    Legacy,
}

/// The mode of this machine; errors when no cgroup file system is mounted.
pub fn detect_cgroups() -> Result<CgroupMode, CgroupError> {
    if is_cgroup2_unified_mode() {
        return Ok(CgroupMode::Unified);
    }
    let mount = Path::new(UNIFIED_MOUNTPOINT);
    let is_v1 = statfs(mount).is_ok_and(|fs| fs.filesystem_type() == TMPFS_MAGIC);
    if !is_v1 {
        return Err(CgroupError::NotMounted(UNIFIED_MOUNTPOINT.to_owned()));
    }
    let beside = statfs(&mount.join("unified"));
    let hybrid = beside.is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
    Ok(if hybrid { CgroupMode::Hybrid } else { CgroupMode::Legacy })
}

/// The cgroups of this machine; errors when a controller that pods need is missing.
pub fn open_cgroups() -> Result<Arc<dyn Cgroups>, CgroupError> {
    Ok(match detect_cgroups()? {
        CgroupMode::Unified => Arc::new(CgroupV2::open(UNIFIED_MOUNTPOINT)?),
        CgroupMode::Hybrid | CgroupMode::Legacy => Arc::new(CgroupV1::open()?),
    })
}
