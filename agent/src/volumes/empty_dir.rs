//! Directories of a pod's own: on disk, a tmpfs, or a hugetlbfs.
//! Source: kubelet v1.36 `volume/emptydir/empty_dir.go`.

use std::io;
use std::path::Path;

use super::types::SetUpCause;
use crate::adapters::linux::pod_files::{
    create_dir, create_dir_all, create_dir_whole, names_in, share_dir_with_group,
};
use crate::boundary::Mounter;

/// Everyone in the pod may write (kubelet v1.36).
const VOLUME_MODE: u32 = 0o777;
/// Directories above volumes: not for users of the host.
pub(super) const PARENT_MODE: u32 = 0o750;

/// What a volume directory is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Backing {
    Disk,
    Tmpfs { size_bytes: Option<u64> },
    HugePages { page_bytes: u64, size_bytes: Option<u64> },
}

/// Makes the directory of a volume, or finds it as an earlier noded left it: what is mounted there
/// is used, never laid over. `group` owns a new one when given.
pub(super) fn ensure_volume_dir(
    mounter: &dyn Mounter,
    path: &Path,
    backing: Backing,
    group: Option<u32>,
) -> Result<(), SetUpCause> {
    if let Some(parent) = path.parent() {
        create_dir_all(parent, PARENT_MODE).map_err(failed("create", parent))?;
    }
    if backing == Backing::Disk {
        let made = create_dir_whole(path, VOLUME_MODE, group);
        return made.map(|_| ()).map_err(failed("create", path));
    }
    let new = create_dir(path, VOLUME_MODE).map_err(failed("create", path))?;
    // Only a directory that was there before can have something mounted on it.
    if new || !is_mount(mounter, path)? {
        match backing {
            Backing::Tmpfs { size_bytes } => mounter.mount_tmpfs(path, size_bytes)?,
            Backing::HugePages { page_bytes, size_bytes } => {
                mounter.mount_huge_pages(path, page_bytes, size_bytes)?;
            }
            Backing::Disk => {}
        }
    } else if !names_in(path).map_err(failed("list", path))?.is_empty() {
        return Ok(());
    }
    // An empty one may be left from a crash just after the mount.
    match group {
        Some(group) => share_dir_with_group(path, group).map_err(failed("set group of", path)),
        None => Ok(()),
    }
}

fn is_mount(mounter: &dyn Mounter, path: &Path) -> Result<bool, SetUpCause> {
    Ok(mounter.list(path)?.iter().any(|entry| entry.target == path))
}

pub(super) fn failed<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> SetUpCause + 'a {
    move |source| SetUpCause::Io { action, path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
