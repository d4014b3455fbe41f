//! Mounts through the kernel's own calls; no `mount` program is run.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{fstat, lstat};

use super::mountinfo::parse_mountinfo;
use crate::boundary::{MountEntry, MountError, Mounter};

/// The calling thread's view: the same for all of noded, but a thread may have a namespace of its own.
const MOUNTINFO: &str = "/proc/thread-self/mountinfo";

/// No argument, for the mount calls that take none.
const NONE: Option<&str> = None;

/// The mounts of noded's mount namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxMounter;

impl Mounter for LinuxMounter {
    fn mount_tmpfs(&self, target: &Path, size_bytes: Option<u64>) -> Result<(), MountError> {
        let options = size_bytes.map(|size| format!("size={size}"));
        mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), options.as_deref())
            .map_err(|errno| failed("mount tmpfs at", target, errno.into()))
    }

    fn bind_open(&self, source: BorrowedFd<'_>, target: &Path) -> Result<(), MountError> {
        // Leads to the opened file itself, wherever its name has gone.
        let source = format!("/proc/self/fd/{}", source.as_raw_fd());
        mount(Some(source.as_str()), target, NONE, MsFlags::MS_BIND, NONE)
            .map_err(|errno| failed("bind something to", target, errno.into()))
    }

    fn shows(&self, target: &Path, source: BorrowedFd<'_>) -> bool {
        match (lstat(target), fstat(source)) {
            (Ok(shown), Ok(wanted)) => {
                (shown.st_dev, shown.st_ino) == (wanted.st_dev, wanted.st_ino)
            }
            _ => false,
        }
    }

    fn unmount(&self, target: &Path) -> Result<(), MountError> {
        match umount2(target, MntFlags::UMOUNT_NOFOLLOW) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            // Also the answer for a mount that may not be taken away, so the table decides.
            Err(Errno::EINVAL) if !self.is_mount_point(target)? => Ok(()),
            Err(errno) => Err(failed("unmount", target, errno.into())),
        }
    }

    fn list(&self, root: &Path) -> Result<Vec<MountEntry>, MountError> {
        let text = std::fs::read(MOUNTINFO)
            .map_err(|error| failed("read", Path::new(MOUNTINFO), error))?;
        let mut mounts = parse_mountinfo(&String::from_utf8_lossy(&text));
        mounts.retain(|mount| mount.target.starts_with(root));
        Ok(mounts)
    }

    fn make_shared(&self, dir: &Path) -> Result<(), MountError> {
        let canonical = dir.canonicalize().map_err(|error| failed("resolve", dir, error))?;
        let over = self.list(Path::new("/"))?;
        if innermost(&over, &canonical).is_some_and(|mount| mount.shared) {
            return Ok(());
        }
        if !self.is_mount_point(&canonical)? {
            let flags = MsFlags::MS_BIND | MsFlags::MS_REC;
            mount(Some(&canonical), &canonical, NONE, flags, NONE)
                .map_err(|errno| failed("bind to itself", &canonical, errno.into()))?;
        }
        mount(NONE, &canonical, NONE, MsFlags::MS_SHARED | MsFlags::MS_REC, NONE)
            .map_err(|errno| failed("share", &canonical, errno.into()))
    }
}

impl LinuxMounter {
    fn is_mount_point(&self, target: &Path) -> Result<bool, MountError> {
        Ok(self.list(target)?.iter().any(|mount| mount.target == target))
    }
}

/// The mount that `dir` lies in; the later one where two share a target.
pub(super) fn innermost<'a>(mounts: &'a [MountEntry], dir: &Path) -> Option<&'a MountEntry> {
    mounts
        .iter()
        .filter(|mount| dir.starts_with(&mount.target))
        .max_by_key(|mount| mount.target.as_os_str().len())
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> MountError {
    MountError { action, path: PathBuf::from(path), source }
}

#[cfg(test)]
mod tests;
