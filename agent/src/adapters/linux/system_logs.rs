//! The files below `/var/log`, for those who may read the node's logs. A link is followed as far as
//! what it names lies below too, as those of `/var/log/containers` do, and nowhere else.

#![allow(clippy::disallowed_methods, reason = "an adapter: it reads the files of this machine")]

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::beneath::Beneath;

#[cfg(test)]
mod tests;

/// A directory whose files are shown.
#[derive(Clone, Debug)]
pub struct SystemLogs {
    root: PathBuf,
}

/// What was found at a path.
#[derive(Debug)]
pub enum Found {
    File(FoundFile),
    /// Names in order, with whether they are directories.
    Directory(Vec<(String, bool)>),
}

/// An open file with its size in bytes when it was opened.
#[derive(Debug)]
pub struct FoundFile {
    pub file: File,
    pub size: u64,
    /// `None` when the file system does not tell.
    pub modified: Option<SystemTime>,
}

impl Default for SystemLogs {
    /// Those of this machine.
    fn default() -> Self {
        Self::new("/var/log")
    }
}

impl SystemLogs {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Opens what is at `path`, which is relative to the root; empty is the root itself. Errors
    /// with `NotFound` also for what lies outside, and with `PermissionDenied` for what is neither
    /// file nor directory. Short reads of the file system.
    pub fn open(&self, path: &Path) -> io::Result<Found> {
        let root = self.root.canonicalize()?;
        let target = root.join(path).canonicalize()?;
        let outside = || io::Error::from(io::ErrorKind::NotFound);
        let relative = target.strip_prefix(&root).map_err(|_| outside())?.to_owned();
        // What was looked at may be another thing by now; so the open itself follows nothing.
        let beneath = Beneath::open(&root)?;
        let is_root = relative.as_os_str().is_empty();
        let here = if is_root { Path::new(".") } else { relative.as_path() };
        match beneath.directory(here) {
            Ok(directory) => return Ok(Found::Directory(listed(&directory)?)),
            Err(error) if error.raw_os_error() == Some(libc::ENOTDIR) => {}
            Err(error) => return Err(error),
        }
        let file = beneath.open_file(here)?;
        let known = file.metadata()?;
        if !known.is_file() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Ok(Found::File(FoundFile { file, size: known.len(), modified: known.modified().ok() }))
    }

    /// Whether there is something at `path`; errors as [`Self::open`].
    pub fn exists(&self, path: &Path) -> io::Result<()> {
        self.open(path).map(|_| ())
    }
}

/// The names in a directory, with whether what they name is a directory itself.
fn listed(directory: &Beneath) -> io::Result<Vec<(String, bool)>> {
    let mut names = directory.names()?;
    names.sort();
    let is_directory = |name: &str| directory.directory(Path::new(name)).is_ok();
    Ok(names.into_iter().map(|name| (name.clone(), is_directory(&name))).collect())
}
