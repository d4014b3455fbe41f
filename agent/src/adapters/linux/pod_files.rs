//! Directories and small files of pods. Paths are noded's own, never a container's; what may lead
//! through a container's files goes through [`super::beneath`].

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{
    DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown,
};
use std::path::{Path, PathBuf};

use super::beneath::Beneath;

/// Modes of what sub paths are mounted on and of the directories above (kubelet v1.36).
const TARGET_PARENT_MODE: u32 = 0o750;
const TARGET_FILE_MODE: u32 = 0o640;

/// What a path of the host is, links followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathKind {
    Directory,
    File,
    Socket,
    CharDevice,
    BlockDevice,
    Other,
}

/// `None` when nothing is there.
pub fn path_kind(path: &Path) -> io::Result<Option<PathKind>> {
    let kind = match fs::metadata(path) {
        Ok(metadata) => metadata.file_type(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(Some(if kind.is_dir() {
        PathKind::Directory
    } else if kind.is_file() {
        PathKind::File
    } else if kind.is_socket() {
        PathKind::Socket
    } else if kind.is_char_device() {
        PathKind::CharDevice
    } else if kind.is_block_device() {
        PathKind::BlockDevice
    } else {
        PathKind::Other
    }))
}

/// Whether something is there, a link included.
pub fn exists(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// The path without links in it, as the mount table spells it; as it is when it does not exist.
pub fn canonical(path: &Path) -> PathBuf {
    fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

/// Makes the directory and its parents, all with `mode` less the umask; an existing one is kept
/// as it is.
pub fn create_dir_all(path: &Path, mode: u32) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Makes the directory, its parent must exist; false when it was there already.
pub fn create_dir(path: &Path, mode: u32) -> io::Result<bool> {
    match DirBuilder::new().mode(mode).create(path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes the directory; errors when something is in it or mounted on it.
pub fn remove_empty_dir(path: &Path) -> io::Result<()> {
    fs::remove_dir(path)
}

/// Makes the directory with exactly this mode and shares it with the group when given, its parent
/// must exist; false when it was there already, and is then left alone. A crash leaves nothing
/// half done under that name.
pub fn create_dir_whole(path: &Path, mode: u32, group: Option<u32>) -> io::Result<bool> {
    if path.try_exists()? {
        return Ok(false);
    }
    // No volume has such a name, for names of volumes begin with a letter or digit.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unfinished = path.with_file_name(format!(".{name}"));
    create_dir(&unfinished, mode)?;
    set_mode(&unfinished, mode)?;
    if let Some(group) = group {
        share_dir_with_group(&unfinished, group)?;
    }
    fs::rename(&unfinished, path)?;
    Ok(true)
}

/// Sets exactly these permission bits, whatever the umask is.
fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

/// Hands a directory to a group: the group owns it, may read, write and enter it, and owns what is
/// made in it.
pub fn share_dir_with_group(path: &Path, group: u32) -> io::Result<()> {
    let mode = fs::metadata(path)?.mode() & 0o7777;
    chown(path, None, Some(group))?;
    set_mode(path, mode | 0o2770)
}

/// An empty file with exactly this mode; an existing one is kept as it is.
pub fn create_file(path: &Path, mode: u32) -> io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(file) => file.set_permissions(Permissions::from_mode(mode)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Makes an empty directory or file to mount something on, and the directories above it, which only
/// root may enter. One of the other kind is replaced; errors when that is not empty.
pub fn make_mount_target(path: &Path, directory: bool) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        create_dir_all(parent, TARGET_PARENT_MODE)?;
    }
    match fs::symlink_metadata(path) {
        Ok(there) if there.is_dir() == directory && !there.is_symlink() => return Ok(()),
        Ok(there) if there.is_dir() => fs::remove_dir(path)?,
        Ok(_) => fs::remove_file(path)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if directory {
        create_dir(path, TARGET_PARENT_MODE).map(drop)
    } else {
        create_file(path, TARGET_FILE_MODE)
    }
}

/// Writes the whole file in place, so that containers which have it mounted see the new content.
pub fn write_in_place(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let mut file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    file.write_all(text.as_bytes())?;
    file.set_permissions(Permissions::from_mode(mode))
}

/// The text of a file of the host; bytes that are not UTF-8 are replaced.
pub fn read_text(path: &Path) -> io::Result<String> {
    Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
}

/// Names in a directory; empty when it does not exist.
pub fn names_in(path: &Path) -> io::Result<Vec<String>> {
    match Beneath::open(path) {
        Ok(dir) => dir.names(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Names of the directories in a directory, links not among them; empty when it does not exist.
pub fn directories_in(path: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry?;
        // What is gone in the meantime is no directory.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// Removes `parent/name` and all it holds, never through a mount; a missing one is success.
pub fn remove_tree(parent: &Path, name: &str) -> io::Result<()> {
    match Beneath::open(parent) {
        Ok(dir) => dir.remove(name),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
