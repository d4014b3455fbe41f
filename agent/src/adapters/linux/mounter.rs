//! Mounts through the kernel's own calls; no `mount` program is run.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::{Mode, fstat, lstat};
use nix::sys::statvfs::{FsFlags, statvfs};

use super::mountinfo::parse_mountinfo;
use crate::boundary::{MountEntry, MountError, MountOption, Mounter};

/// The calling thread's view: the same for all of noded, but a thread may have a namespace of its own.
const MOUNTINFO: &str = "/proc/thread-self/mountinfo";

/// No argument, for the mount calls that take none.
const NONE: Option<&str> = None;

/// The mounts of noded's mount namespace.
#[derive(Clone, Copy, Debug, Default)]
pub struct LinuxMounter;

/// The kernel has refused to keep a tmpfs out of swap.
static NO_SWAP_REFUSED: AtomicBool = AtomicBool::new(false);

impl Mounter for LinuxMounter {
    fn mount_tmpfs(&self, target: &Path, size_bytes: Option<u64>) -> Result<(), MountError> {
        let size = size_bytes.map(|size| format!("size={size}"));
        let attempt = |no_swap: Option<&str>| {
            let options: Vec<&str> = size.as_deref().into_iter().chain(no_swap).collect();
            let options = options.join(",");
            let options = Some(options.as_str()).filter(|options| !options.is_empty());
            mount(Some("tmpfs"), target, Some("tmpfs"), MsFlags::empty(), options)
        };
        let mounted = match NO_SWAP_REFUSED.load(Ordering::Relaxed) {
            false => attempt(Some("noswap")),
            true => Err(Errno::EINVAL),
        };
        let mounted = match mounted {
            // Also the answer for a size that it does not take, so this one speaks for itself.
            Err(Errno::EINVAL) => {
                attempt(None).inspect(|()| NO_SWAP_REFUSED.store(true, Ordering::Relaxed))
            }
            other => other,
        };
        mounted.map_err(|errno| failed("mount tmpfs at", target, errno.into()))
    }

    fn mount_huge_pages(
        &self,
        target: &Path,
        page_bytes: u64,
        size_bytes: Option<u64>,
    ) -> Result<(), MountError> {
        let size = size_bytes.map_or_else(String::new, |size| format!(",size={size}"));
        let options = format!("pagesize={page_bytes}{size}");
        let flags = MsFlags::empty();
        mount(Some("nodev"), target, Some("hugetlbfs"), flags, Some(options.as_str()))
            .map_err(|errno| failed("mount hugetlbfs at", target, errno.into()))
    }

    fn bind_directory(&self, source: &Path, target: &Path) -> Result<(), MountError> {
        // What was looked at is what gets mounted, whatever happens to the path in between.
        let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        let opened = open(source, flags, Mode::empty())
            .map_err(|errno| failed("open", source, errno.into()))?;
        let held = format!("/proc/self/fd/{}", opened.as_raw_fd());
        mount(Some(held.as_str()), target, NONE, MsFlags::MS_BIND, NONE)
            .map_err(|errno| failed("bind", source, errno.into()))
    }

    fn restrict(&self, target: &Path, options: &[MountOption]) -> Result<(), MountError> {
        let has = statvfs(target).map_err(|errno| failed("look at", target, errno.into()))?.flags();
        let flags = options.iter().fold(kept_flags(has), |flags, option| flags | flag(*option));
        // A remount sets all options anew, so it has to name those that are there already.
        let remount = MsFlags::MS_BIND | MsFlags::MS_REMOUNT;
        mount(NONE, target, NONE, remount | flags, NONE)
            .map_err(|errno| failed("remount", target, errno.into()))
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

fn flag(option: MountOption) -> MsFlags {
    match option {
        MountOption::ReadOnly => MsFlags::MS_RDONLY,
        MountOption::NoSuid => MsFlags::MS_NOSUID,
        MountOption::NoDev => MsFlags::MS_NODEV,
        MountOption::NoExec => MsFlags::MS_NOEXEC,
        MountOption::NoAtime => MsFlags::MS_NOATIME,
        MountOption::NoDirAtime => MsFlags::MS_NODIRATIME,
        MountOption::RelAtime => MsFlags::MS_RELATIME,
    }
}

/// The options a mount has, as mount(2) takes them.
fn kept_flags(has: FsFlags) -> MsFlags {
    let pairs = [
        (FsFlags::ST_RDONLY, MsFlags::MS_RDONLY),
        (FsFlags::ST_NOSUID, MsFlags::MS_NOSUID),
        (FsFlags::ST_NODEV, MsFlags::MS_NODEV),
        (FsFlags::ST_NOEXEC, MsFlags::MS_NOEXEC),
        (FsFlags::ST_NOATIME, MsFlags::MS_NOATIME),
        (FsFlags::ST_NODIRATIME, MsFlags::MS_NODIRATIME),
        (FsFlags::ST_RELATIME, MsFlags::MS_RELATIME),
    ];
    let set = pairs.into_iter().filter(|(there, _)| has.contains(*there));
    set.fold(MsFlags::empty(), |flags, (_, flag)| flags | flag)
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
