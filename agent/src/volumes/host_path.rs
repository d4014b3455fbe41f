//! Paths of the host: the type is checked, and made where the pod asks for that.
//! Source: kubelet v1.36 `volume/hostpath/host_path.go`.

use std::io;
use std::path::{Component, Path};

use super::wanted::HostPathCheck;
use crate::adapters::linux::pod_files::{PathKind, create_dir_all, create_file, path_kind};

const NEW_DIRECTORY_MODE: u32 = 0o755;
const NEW_FILE_MODE: u32 = 0o644;

#[derive(Debug, thiserror::Error)]
pub enum HostPathError {
    #[error("hostPath type check failed: {path} is not {wanted}")]
    WrongKind { path: String, wanted: &'static str },
    #[error("invalid HostPath `{0}`: must not contain '..'")]
    Backsteps(String),
    #[error("cannot {action} host path {path}")]
    Io {
        action: &'static str,
        path: String,
        #[source]
        source: io::Error,
    },
}

/// Errors when `path` is not what `check` asks for. Without a check nothing is looked at: the
/// runtime then makes a directory of a path that is missing. What is there is never changed, and
/// nothing is made where a link in the place of a missing file leads.
pub fn prepare(path: &str, check: HostPathCheck) -> Result<(), HostPathError> {
    if Path::new(path).components().any(|part| part == Component::ParentDir) {
        return Err(HostPathError::Backsteps(path.to_owned()));
    }
    let (wanted, article, create) = match check {
        HostPathCheck::None => return Ok(()),
        HostPathCheck::DirectoryOrCreate => (PathKind::Directory, "a directory", true),
        HostPathCheck::Directory => (PathKind::Directory, "a directory", false),
        HostPathCheck::FileOrCreate => (PathKind::File, "a file", true),
        HostPathCheck::File => (PathKind::File, "a file", false),
        HostPathCheck::Socket => (PathKind::Socket, "a socket file", false),
        HostPathCheck::CharDevice => (PathKind::CharDevice, "a character device", false),
        HostPathCheck::BlockDevice => (PathKind::BlockDevice, "a block device", false),
    };
    let failed = |action| move |source| HostPathError::Io { action, path: path.to_owned(), source };
    let place = Path::new(path);
    let mut found = path_kind(place).map_err(failed("read"))?;
    if found.is_none() && create {
        match wanted {
            PathKind::Directory => create_dir_all(place, NEW_DIRECTORY_MODE),
            _ => create_file(place, NEW_FILE_MODE),
        }
        .map_err(failed("create"))?;
        // Something else may have come in between.
        found = path_kind(place).map_err(failed("read"))?;
    }
    if found == Some(wanted) {
        Ok(())
    } else {
        Err(HostPathError::WrongKind { path: path.to_owned(), wanted: article })
    }
}

#[cfg(test)]
mod tests;
