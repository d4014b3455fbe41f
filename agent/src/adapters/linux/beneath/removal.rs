//! Removal of trees that somebody else has filled: any bytes as names, any depth, any number. No
//! link is followed and no other mount entered; a mount in the way is an error.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, RenameFlags, ResolveFlag, openat2, renameat2};
use nix::unistd::{UnlinkatFlags, unlinkat};

/// How many directories are entered below each other. What lies deeper is moved up first, so that
/// neither the stack nor the open files grow with the depth of the tree.
const DEEPEST: u32 = 32;
/// Names that are read before the first of them is removed.
const BATCH: usize = 1024;

pub(super) enum Unlinked {
    Gone,
    /// It is one, and still there.
    Directory,
}

/// Removes what is not a directory. Errors when something is mounted on it.
pub(super) fn unlink(dir: impl AsFd, name: &CStr) -> nix::Result<Unlinked> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(Unlinked::Gone),
        Err(Errno::EISDIR) => Ok(Unlinked::Directory),
        Err(error) => Err(error),
    }
}

/// Removes an empty directory.
pub(super) fn remove_empty(dir: impl AsFd, name: &CStr) -> nix::Result<()> {
    match unlinkat(dir, name, UnlinkatFlags::RemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Opens the directory of that name. Errors when it is a link or something is mounted on it, also
/// a part of the same file system.
pub(super) fn enter(dir: impl AsFd, name: &CStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let resolve = ResolveFlag::RESOLVE_BENEATH
        | ResolveFlag::RESOLVE_NO_SYMLINKS
        | ResolveFlag::RESOLVE_NO_XDEV;
    openat2(dir, name, OpenHow::new().flags(flags).resolve(resolve))
}

/// Removes everything in the directory.
pub(super) fn empty(top: &OwnedFd) -> nix::Result<()> {
    let mut lifted = 0;
    empty_below(top, top, 0, &mut lifted)
}

fn empty_below(top: &OwnedFd, dir: &OwnedFd, depth: u32, lifted: &mut u64) -> nix::Result<()> {
    loop {
        let names = some_names(dir)?;
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            match unlink(dir, &name)? {
                Unlinked::Gone => {}
                Unlinked::Directory if depth == DEEPEST => lift(top, dir, &name, lifted)?,
                Unlinked::Directory => {
                    empty_below(top, &enter(dir, &name)?, depth + 1, lifted)?;
                    remove_empty(dir, &name)?;
                }
            }
        }
    }
}

/// Moves a directory to the top, where it is found again.
fn lift(top: &OwnedFd, dir: &OwnedFd, name: &CStr, lifted: &mut u64) -> nix::Result<()> {
    loop {
        *lifted += 1;
        let place = format!(".noded-removal-{lifted}");
        match renameat2(dir, name, top, place.as_str(), RenameFlags::RENAME_NOREPLACE) {
            Err(Errno::EEXIST) => {}
            Err(Errno::ENOENT) => return Ok(()),
            moved => return moved,
        }
    }
}

/// The first names in the directory, empty when there is none.
fn some_names(dir: &OwnedFd) -> nix::Result<Vec<CString>> {
    let again = dir.try_clone().map_err(|_| Errno::EMFILE)?;
    // Reading starts at the beginning each time, for the iterator rewinds when it is dropped.
    let mut entries = Dir::from_fd(again)?;
    let mut names = Vec::new();
    for entry in entries.iter() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
        if names.len() == BATCH {
            break;
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
