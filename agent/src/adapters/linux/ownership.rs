//! Hands a directory tree to a group (`fsGroup`).
//!
//! The tree is a user's, and a container may be changing it meanwhile. So every step is resolved by
//! the kernel beneath an open directory (`openat2`), and owner and mode are changed through a
//! descriptor of the very thing that was looked at: no link is followed, no other mount is entered.

use std::ffi::OsStr;
use std::fs::{Permissions, set_permissions};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{FileStat, Mode, SFlag, fstat};
use nix::unistd::{Gid, fchownat};

/// What the group may do with what it is handed (kubelet v1.36, `volume/volume_linux.go`).
const READ_WRITE: u32 = 0o660;
/// Directories are entered as well, and what is made in them is the group's again.
const DIRECTORY: u32 = READ_WRITE | 0o110 | 0o2000;

/// Paths that grow longer than this go on from a directory of their own: the kernel takes 4096
/// bytes, and a name has up to 255.
const LONG_PATH: usize = 2048;

const OPEN_DIRECTORY: OFlag =
    OFlag::O_RDONLY.union(OFlag::O_DIRECTORY).union(OFlag::O_NOFOLLOW).union(OFlag::O_CLOEXEC);

/// How far a walk is, and whether it is to go on; shared with those who wait for it.
#[derive(Debug, Default)]
pub struct Progress {
    /// What was handed over so far.
    pub files: AtomicU64,
    /// The walk is to end soon.
    pub stop: AtomicBool,
}

/// What came of a walk that went to its end.
#[derive(Debug, Default)]
pub struct Handed {
    /// The first thing that could not be handed over, and how many there were.
    pub refused: Option<(PathBuf, io::Error, u64)>,
}

impl Handed {
    fn refuse(&mut self, path: PathBuf, errno: Errno) {
        match &mut self.refused {
            Some((_, _, count)) => *count += 1,
            None => self.refused = Some((path, errno.into(), 1)),
        }
    }
}

/// Whether the top of the tree is as [`hand_to_group`] leaves it. False when it cannot be read.
pub fn belongs_to_group(top: &Path, group: u32) -> bool {
    let Ok(stat) = nix::sys::stat::stat(top) else { return false };
    let (mode, wanted) = (stat.st_mode & 0o7777, DIRECTORY);
    stat.st_gid == group && is_directory(&stat) && mode & wanted == wanted
}

/// The group that owns the directory.
pub fn group_of(path: &Path) -> io::Result<u32> {
    Ok(nix::sys::stat::stat(path)?.st_gid)
}

/// Gives the tree below `top` to the group, and `top` itself last, so that a walk that was cut off
/// does not look like one that is done. What vanishes meanwhile is left out, and what refuses is
/// told in the answer, as upstream goes on too. Errors when a directory cannot be read, and with
/// `Interrupted` after `progress.stop`.
pub fn hand_to_group(top: &Path, group: u32, progress: &Progress) -> io::Result<Handed> {
    let root = Arc::new(openat(AT_FDCWD, top, OPEN_DIRECTORY, Mode::empty())?);
    let mut walk = Walk { group, progress, handed: Handed::default(), pending: Vec::new() };
    walk.read(&root, &root, Path::new(""))?;
    while let Some((base, path)) = walk.pending.pop() {
        let opened = match openat2(&*base, &path, how(OPEN_DIRECTORY)) {
            Ok(opened) => Arc::new(opened),
            Err(errno) if is_gone(errno) => continue,
            Err(errno) => return Err(errno.into()),
        };
        walk.hand_directory(&opened, &path)?;
        walk.read(&base, &opened, &path)?;
    }
    walk.hand_directory(&root, Path::new(""))?;
    Ok(walk.handed)
}

fn how(flags: OFlag) -> OpenHow {
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    OpenHow::new().flags(flags).resolve(resolve)
}

/// Gone, replaced by something else, or another mount.
fn is_gone(errno: Errno) -> bool {
    matches!(errno, Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::EXDEV)
}

struct Walk<'a> {
    group: u32,
    progress: &'a Progress,
    handed: Handed,
    /// Directories that are still to be handed over and read, each from an open one above it.
    pending: Vec<(Arc<OwnedFd>, PathBuf)>,
}

impl Walk<'_> {
    /// Hands over what lies in `opened`, which is at `path` below `base`; its directories later.
    fn read(&mut self, base: &Arc<OwnedFd>, opened: &Arc<OwnedFd>, path: &Path) -> io::Result<()> {
        let (base, path) = match path.as_os_str().len() > LONG_PATH {
            true => (opened, Path::new("")),
            false => (base, path),
        };
        let mut entries = Dir::from_fd(opened.try_clone()?)?;
        for entry in entries.iter() {
            if self.progress.stop.load(Ordering::Relaxed) {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let entry = entry?;
            let name = Path::new(OsStr::from_bytes(entry.file_name().to_bytes()));
            if name == Path::new(".") || name == Path::new("..") {
                continue;
            }
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            // Of a link it is the link itself that is opened so.
            let found = match openat2(&**opened, name, how(flags)) {
                Ok(found) => found,
                Err(errno) if is_gone(errno) => continue,
                Err(errno) => return Err(errno.into()),
            };
            let stat = fstat(&found)?;
            if is_directory(&stat) {
                self.pending.push((Arc::clone(base), path.join(name)));
            } else {
                self.hand(&found, &stat, &path.join(name));
            }
        }
        Ok(())
    }

    fn hand_directory(&mut self, opened: &OwnedFd, path: &Path) -> io::Result<()> {
        let stat = fstat(opened)?;
        self.hand(opened, &stat, path);
        Ok(())
    }

    fn hand(&mut self, found: &OwnedFd, stat: &FileStat, path: &Path) {
        self.progress.files.fetch_add(1, Ordering::Relaxed);
        if let Err(errno) = hand_over(found, stat, self.group) {
            self.handed.refuse(path.to_owned(), errno);
        }
    }
}

fn hand_over(found: &OwnedFd, stat: &FileStat, group: u32) -> nix::Result<()> {
    let chown = stat.st_gid != group;
    if chown {
        fchownat(found, "", None, Some(Gid::from_raw(group)), AtFlags::AT_EMPTY_PATH)?;
    }
    let Some(mode) = mode_for_group(stat.st_mode) else { return Ok(()) };
    // A change of owner takes set-user-id and set-group-id bits away.
    if chown || mode != stat.st_mode & 0o7777 {
        let held = format!("/proc/self/fd/{}", found.as_raw_fd());
        set_permissions(held, Permissions::from_mode(mode))
            .map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    }
    Ok(())
}

/// The permission bits of something with this type and mode once the group may use it; `None` for
/// a link, whose own bits mean nothing.
fn mode_for_group(type_and_mode: u32) -> Option<u32> {
    let mode = type_and_mode & 0o7777;
    match SFlag::from_bits_truncate(type_and_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFLNK => None,
        SFlag::S_IFDIR => Some(mode | DIRECTORY),
        _ => Some(mode | READ_WRITE),
    }
}

fn is_directory(stat: &FileStat) -> bool {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) == SFlag::S_IFDIR
}

#[cfg(test)]
mod tests;
