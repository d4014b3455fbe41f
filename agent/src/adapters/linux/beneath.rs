//! File operations that cannot leave a directory: every path is resolved by the kernel beneath an
//! open directory, without following a link (`openat2` with `RESOLVE_BENEATH` and
//! `RESOLVE_NO_SYMLINKS`), so a container that plants a link in its volume cannot lead noded out.

mod removal;

use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{
    AT_FDCWD, OFlag, OpenHow, RenameFlags, ResolveFlag, openat, openat2, readlinkat, renameat,
    renameat2,
};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, fchown, symlinkat};

use removal::Unlinked;

/// Mode and ownership of what is written. `None` leaves the owner as it is made, root.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Permission, set-group-id and sticky bits.
    pub mode: u32,
    pub user: Option<u32>,
    pub group: Option<u32>,
}

impl Access {
    fn apply(self, fd: impl AsFd) -> nix::Result<()> {
        if self.user.is_some() || self.group.is_some() {
            fchown(&fd, self.user.map(Uid::from_raw), self.group.map(Gid::from_raw))?;
        }
        // After the change of owner, which clears bits; and whatever the umask is.
        fchmod(&fd, Mode::from_bits_truncate(self.mode))
    }
}

/// An open directory. Paths handed to its methods are relative to it.
#[derive(Debug)]
pub struct Beneath(OwnedFd);

impl AsRawFd for Beneath {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl Beneath {
    /// Opens `path`, whose last component must be a directory and no link.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        Ok(Self(openat(AT_FDCWD, path, flags, Mode::empty())?))
    }

    fn resolve(&self, path: &Path, flags: OFlag, resolve: ResolveFlag) -> nix::Result<OwnedFd> {
        let how = OpenHow::new()
            .flags(flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
            .mode(if flags.contains(OFlag::O_CREAT) {
                Mode::S_IRUSR | Mode::S_IWUSR
            } else {
                Mode::empty()
            })
            .resolve(resolve | ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&self.0, path, how)
    }

    /// The directory at `path`.
    pub fn directory(&self, path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY;
        Ok(Self(self.resolve(path, flags, ResolveFlag::empty())?))
    }

    /// Makes a directory of that name in this one; errors when the name is taken.
    pub fn make_directory(&self, name: &str, access: Access) -> io::Result<Self> {
        mkdirat(&self.0, name, Mode::S_IRWXU)?;
        let made = self.directory(Path::new(name))?;
        access.apply(&made.0)?;
        Ok(made)
    }

    /// Makes the directory at `path` and its parents, all with exactly these permission bits, also
    /// those that are there already: an earlier call may have been cut short.
    pub fn make_directories(&self, path: &Path, mode: u32) -> io::Result<()> {
        let mode = Mode::from_bits_truncate(mode);
        let mut at: Option<Self> = None;
        for component in path.components() {
            let above = at.as_ref().unwrap_or(self);
            match mkdirat(&above.0, component.as_os_str(), mode) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let made = above.directory(Path::new(component.as_os_str()))?;
            let found = Mode::from_bits_truncate(fstat(&made.0)?.st_mode);
            if found != mode {
                fchmod(&made.0, mode)?;
            }
            at = Some(made);
        }
        Ok(())
    }

    /// Makes the parents of `path` that are missing.
    fn make_parents(&self, path: &Path, access: Access) -> io::Result<()> {
        let Some(parent) = path.parent() else { return Ok(()) };
        let mut made = PathBuf::new();
        for component in parent.components() {
            let above =
                if made.as_os_str().is_empty() { None } else { Some(self.directory(&made)?) };
            let above = above.as_ref().unwrap_or(self);
            let name = component.as_os_str().to_string_lossy();
            match above.make_directory(&name, access) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
                Ok(_) => {}
            }
            made.push(component);
        }
        Ok(())
    }

    /// Writes a new file and the directories above it; errors when the file exists.
    pub fn write_new(
        &self,
        path: &Path,
        bytes: &[u8],
        file: Access,
        directories: Access,
    ) -> io::Result<()> {
        self.make_parents(path, directories)?;
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let mut opened = File::from(self.resolve(path, flags, ResolveFlag::empty())?);
        opened.write_all(bytes)?;
        file.apply(&opened)?;
        Ok(())
    }

    /// Opens the file at `path` for reading. A pipe in its place is not waited for.
    pub fn open_file(&self, path: &Path) -> io::Result<File> {
        let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        Ok(File::from(self.resolve(path, flags, ResolveFlag::empty())?))
    }

    /// The content of the file at `path`.
    pub fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let mut file = File::from(self.resolve(path, OFlag::O_RDONLY, ResolveFlag::empty())?);
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Where the link of that name points; `None` when nothing has that name.
    pub fn read_link(&self, name: &str) -> io::Result<Option<String>> {
        match readlinkat(&self.0, name) {
            Ok(target) => Ok(Some(target.to_string_lossy().into_owned())),
            Err(Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Makes a link of that name.
    pub fn link(&self, target: &str, name: &str) -> io::Result<()> {
        Ok(symlinkat(target, &self.0, name)?)
    }

    /// Renames within this directory; what `to` named before is replaced at once.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.0, from, &self.0, to)?)
    }

    /// Renames within this directory; errors when `to` is taken.
    pub fn rename_new(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat2(&self.0, from, &self.0, to, RenameFlags::RENAME_NOREPLACE)?)
    }

    /// Makes a new file of that name to be written; errors when the name is taken. Only root may
    /// read it at first.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        Ok(File::from(self.resolve(Path::new(name), flags, ResolveFlag::empty())?))
    }

    /// Names in this directory, in no order.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut dir = Dir::from_fd(self.0.try_clone()?)?;
        let mut names = Vec::new();
        for entry in dir.iter() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            if name != "." && name != ".." {
                names.push(name.into_owned());
            }
        }
        Ok(names)
    }

    /// Paths of everything below that is no directory.
    pub fn files(&self) -> io::Result<BTreeSet<String>> {
        let mut found = BTreeSet::new();
        for name in self.names()? {
            match self.directory(Path::new(&name)) {
                Ok(inner) => {
                    let inner = inner.files()?;
                    found.extend(inner.into_iter().map(|path| format!("{name}/{path}")));
                }
                // ELOOP is a link.
                Err(error) if matches!(error.raw_os_error(), Some(libc::ENOTDIR | libc::ELOOP)) => {
                    found.insert(name);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Removes the file, link or directory of that name with all it holds. A missing one is
    /// success. Errors, and removes nothing of it, where something is mounted.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        let name = CString::new(name)?;
        match removal::unlink(&self.0, &name)? {
            Unlinked::Gone => return Ok(()),
            Unlinked::Directory => {}
        }
        removal::empty(&removal::enter(&self.0, &name)?)?;
        Ok(removal::remove_empty(&self.0, &name)?)
    }
}

#[cfg(test)]
mod tests;
