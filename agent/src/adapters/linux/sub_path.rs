//! A part of a volume, opened so that nothing in the volume can lead out of it.
//!
//! The kernel resolves the whole path beneath the volume's directory (`openat2` with
//! `RESOLVE_BENEATH`): a link that stays inside is followed, as the files of a ConfigMap need it,
//! and whatever would leave fails, also while a container swaps names. What is mounted afterwards
//! is the opened file itself, not its name.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};

/// Looks at a path that the kernel could not settle because something was renamed meanwhile.
const TRIES: u32 = 64;

/// Links are followed beneath the volume, those of /proc never.
const LINKS_INSIDE: ResolveFlag = ResolveFlag::RESOLVE_NO_MAGICLINKS;

/// A part of a volume, held open.
#[derive(Debug)]
pub struct SubPath {
    file: OwnedFd,
    /// It is one; else it is a file of any kind.
    pub directory: bool,
}

impl AsFd for SubPath {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SubPathError {
    /// It is missing, and no directory could be made in its place.
    #[error("cannot create it")]
    Create(#[source] io::Error),
    #[error("cannot open it")]
    Open(#[source] io::Error),
}

/// Opens `path` in the directory `volume`. What is missing of it is made as directories with the
/// mode of `volume`.
///
/// Errors when the path, or a link on its way, leaves the volume. An absolute link is read as the
/// host reads it.
pub fn open_or_make(volume: &Path, path: &Path) -> Result<SubPath, SubPathError> {
    let open = |errno: Errno| SubPathError::Open(errno.into());
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let top = openat(AT_FDCWD, volume, flags, Mode::empty()).map_err(open)?;
    match open_existing(&top, path, LINKS_INSIDE) {
        Err(Errno::ENOENT) => {
            let file = make(&top, path).map_err(|errno| SubPathError::Create(errno.into()))?;
            Ok(SubPath { file, directory: true })
        }
        Err(Errno::EXDEV) => {
            let place = place_inside(volume, path).ok_or_else(|| open(Errno::EXDEV))?;
            open_existing(&top, &place, ResolveFlag::RESOLVE_NO_SYMLINKS).map_err(open)
        }
        opened => opened.map_err(open),
    }
}

/// Where `path` leads to in `volume` when all links are read as the host reads them; `None` when
/// that is elsewhere. Only a hint, for it may change at any moment.
fn place_inside(volume: &Path, path: &Path) -> Option<PathBuf> {
    let place = fs::canonicalize(volume.join(path)).ok()?;
    let inside = place.strip_prefix(fs::canonicalize(volume).ok()?).ok()?;
    Some(if inside.as_os_str().is_empty() { PathBuf::from(".") } else { inside.to_owned() })
}

fn open_existing(dir: &OwnedFd, path: &Path, links: ResolveFlag) -> nix::Result<SubPath> {
    // A directory is asked for first, because only that makes an automounter mount it.
    match resolve(dir, path, OFlag::O_DIRECTORY, links) {
        Err(Errno::ENOTDIR) => {
            let file = resolve(dir, path, OFlag::empty(), links)?;
            Ok(SubPath { file, directory: false })
        }
        opened => Ok(SubPath { file: opened?, directory: true }),
    }
}

fn resolve(dir: &OwnedFd, path: &Path, flags: OFlag, links: ResolveFlag) -> nix::Result<OwnedFd> {
    let resolve = links | ResolveFlag::RESOLVE_BENEATH;
    for _ in 0..TRIES {
        let how = OpenHow::new().flags(flags | OFlag::O_PATH | OFlag::O_CLOEXEC).resolve(resolve);
        match openat2(dir, path, how) {
            Err(Errno::EAGAIN) => {}
            settled => return settled,
        }
    }
    Err(Errno::EAGAIN)
}

/// Makes the directories of `path` that are missing. A directory that somebody else makes at the
/// same time is taken; a link in the place of a missing one is not followed.
fn make(volume: &OwnedFd, path: &Path) -> nix::Result<OwnedFd> {
    let mode = Mode::from_bits_truncate(fstat(volume)?.st_mode & 0o7777);
    let mut here: Option<OwnedFd> = None;
    let (mut walked, mut missing) = (PathBuf::new(), false);
    for component in path.components() {
        walked.push(component);
        if !missing {
            match resolve(volume, &walked, OFlag::O_DIRECTORY, LINKS_INSIDE) {
                Err(Errno::ENOENT) => missing = true,
                found => {
                    here = Some(found?);
                    continue;
                }
            }
        }
        here = Some(make_one(here.as_ref().unwrap_or(volume), component.as_ref(), mode)?);
    }
    here.ok_or(Errno::ENOENT)
}

fn make_one(dir: &OwnedFd, name: &Path, mode: Mode) -> nix::Result<OwnedFd> {
    let new = match mkdirat(dir, name, Mode::S_IRWXU) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(errno),
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS;
    let made = openat2(dir, name, OpenHow::new().flags(flags).resolve(resolve))?;
    if new {
        // After the fact, because of the umask.
        fchmod(&made, mode)?;
    }
    Ok(made)
}

#[cfg(test)]
mod tests;
