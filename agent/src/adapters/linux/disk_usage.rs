//! What directory trees take on their disk.
//!
//! A tree may be a container's own, so it is walked beneath its top with every step resolved by the
//! kernel (`openat2`): no link is followed and no other mount entered. What vanishes or cannot be
//! opened meanwhile is not counted. Files with several names count once. What lies deeper than the
//! kernel's longest path (4096 bytes) is not counted.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat, fstatat, lstat};

use crate::boundary::DiskUsage;

/// `st_blocks` counts these, whatever the file system's own block size (stat(2)).
const BLOCK: u64 = 512;

const DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// A walk under way: what was counted, and the directories that are still to be read.
struct Walk {
    top: OwnedFd,
    device: u64,
    counted: DiskUsage,
    /// Files with more than one name that were met.
    linked: HashSet<u64>,
    pending: Vec<PathBuf>,
}

/// The usage of a file, or of a directory with all below it on the same mount.
pub fn tree(path: &Path) -> io::Result<DiskUsage> {
    let stat = lstat(path)?;
    if file_type(&stat) != SFlag::S_IFDIR {
        return Ok(usage(&stat));
    }
    let top = openat(AT_FDCWD, path, DIRECTORY, Mode::empty())?;
    let stat = fstat(&top)?;
    let mut walk = Walk {
        top,
        device: stat.st_dev,
        counted: usage(&stat),
        linked: HashSet::new(),
        pending: vec![PathBuf::new()],
    };
    while let Some(directory) = walk.pending.pop() {
        match walk.read(&directory) {
            // Gone, closed to us, another mount, or too deep.
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP) => {}
            Err(Errno::EACCES | Errno::EXDEV | Errno::ENAMETOOLONG) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {}
        }
    }
    Ok(walk.counted)
}

/// The usage of the files in a directory, not of what lies in directories below it.
pub fn files(directory: &Path) -> io::Result<DiskUsage> {
    let opened = openat(AT_FDCWD, directory, DIRECTORY, Mode::empty())?;
    let mut counted = DiskUsage::default();
    for_each(opened, |directory, name| {
        if let Some(stat) = look(directory, name)?
            && file_type(&stat) != SFlag::S_IFDIR
        {
            counted = counted + usage(&stat);
        }
        Ok(())
    })?;
    Ok(counted)
}

impl Walk {
    fn read(&mut self, path: &Path) -> nix::Result<()> {
        let resolve = ResolveFlag::RESOLVE_BENEATH
            | ResolveFlag::RESOLVE_NO_SYMLINKS
            | ResolveFlag::RESOLVE_NO_XDEV;
        let how = OpenHow::new().flags(DIRECTORY).resolve(resolve);
        let here = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let opened = openat2(&self.top, here, how)?;
        let (device, counted, linked, pending) =
            (self.device, &mut self.counted, &mut self.linked, &mut self.pending);
        for_each(opened, |directory, name| {
            let Some(stat) = look(directory, name)? else { return Ok(()) };
            let is_directory = file_type(&stat) == SFlag::S_IFDIR;
            if stat.st_dev != device {
                return Ok(());
            }
            if !is_directory && stat.st_nlink > 1 && !linked.insert(stat.st_ino) {
                return Ok(());
            }
            *counted = *counted + usage(&stat);
            if is_directory {
                pending.push(path.join(name));
            }
            Ok(())
        })
    }
}

/// Calls `each` with the directory and the name of everything in it.
fn for_each(
    opened: OwnedFd,
    mut each: impl FnMut(&OwnedFd, &Path) -> nix::Result<()>,
) -> nix::Result<()> {
    let again = opened.try_clone().map_err(|_| Errno::EMFILE)?;
    let mut entries = Dir::from_fd(opened)?;
    for entry in entries.iter() {
        let entry = entry?;
        let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
        if name != Path::new(".") && name != Path::new("..") {
            each(&again, name)?;
        }
    }
    Ok(())
}

/// `None` when it is gone.
fn look(directory: impl AsFd, name: &Path) -> nix::Result<Option<FileStat>> {
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

fn file_type(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn usage(stat: &FileStat) -> DiskUsage {
    let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
    DiskUsage { bytes: blocks.saturating_mul(BLOCK), inodes: 1 }
}

#[cfg(test)]
mod tests;
