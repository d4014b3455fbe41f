//! Files of the node's certificates: the key while its first certificate is pending, then key and
//! certificate in one file with a link to the newest, and the kubeconfig that names it.
//!
//! Every file is readable by its owner only and appears whole or not at all, also after a crash.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, symlink};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::adapters::kube::kubeconfig::Secret;

#[cfg(test)]
mod tests;

/// Name as the kubelet's (v1.36, `certificate/bootstrap`).
const PENDING_KEY: &str = "kubelet-client.key.tmp";
/// Mode of files with a key.
const PRIVATE: u32 = 0o600;
/// Mode of directories made here.
const DIRECTORY: u32 = 0o755;

/// A file of the credential could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub struct CredentialFileError {
    pub action: &'static str,
    pub path: PathBuf,
    pub source: io::Error,
}

/// The files of one kind of certificate in the directory of the node's certificates.
#[derive(Clone, Debug)]
pub struct CredentialFiles {
    dir: PathBuf,
    prefix: &'static str,
}

impl CredentialFiles {
    /// `prefix` begins the names, such as `kubelet-client`. Nothing is made yet.
    pub fn new(dir: impl Into<PathBuf>, prefix: &'static str) -> Self {
        Self { dir: dir.into(), prefix }
    }

    /// The link to the newest.
    pub fn current(&self) -> PathBuf {
        self.dir.join(format!("{}-current.pem", self.prefix))
    }

    /// Certificate and key, in PEM, that the link leads to; `None` when there is no link.
    pub fn read_current(&self) -> Result<Option<Vec<u8>>, CredentialFileError> {
        let path = self.current();
        match fs::read(&path) {
            Ok(pem) => Ok(Some(pem)),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CredentialFileError { action: "read", path, source }),
        }
    }

    /// PEM of the key whose certificate was asked for and has not come; `None` when there is none.
    pub fn pending_key(&self) -> Result<Option<Secret>, CredentialFileError> {
        let path = self.dir.join(PENDING_KEY);
        match fs::read_to_string(&path) {
            Ok(pem) => Ok(Some(Secret::new(pem))),
            Err(source) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(CredentialFileError { action: "read", path, source }),
        }
    }

    /// Keeps the key until [`Self::forget_pending_key`].
    pub fn keep_pending_key(&self, pem: &Secret) -> Result<(), CredentialFileError> {
        write_private(&self.dir.join(PENDING_KEY), &[pem.expose().as_bytes()])
    }

    /// A missing key is success.
    pub fn forget_pending_key(&self) -> Result<(), CredentialFileError> {
        let path = self.dir.join(PENDING_KEY);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(CredentialFileError { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }

    /// Writes certificate and key into a file named after `now` and turns the link to the newest
    /// to it. Returns the link.
    pub fn store(
        &self,
        certificate_pem: &[u8],
        key_pem: &Secret,
        now: Timestamp,
    ) -> Result<PathBuf, CredentialFileError> {
        let name = format!("{}-{}.pem", self.prefix, now.strftime("%Y-%m-%d-%H-%M-%S"));
        let line_end: &[u8] = if certificate_pem.ends_with(b"\n") { b"" } else { b"\n" };
        let parts = [certificate_pem, line_end, key_pem.expose().as_bytes()];
        write_private(&self.dir.join(&name), &parts)?;
        let link = self.current();
        let failed = |source| CredentialFileError { action: "link", path: link.clone(), source };
        let fresh = self.dir.join(format!("{}-current.pem.new", self.prefix));
        remove_if_there(&fresh).map_err(failed)?;
        symlink(&name, &fresh).map_err(failed)?;
        fs::rename(&fresh, &link).map_err(failed)?;
        Ok(link)
    }
}

/// Writes a file that only its owner can read, in place of the one that is there; makes its
/// directory when it is missing.
pub fn write_private(path: &Path, parts: &[&[u8]]) -> Result<(), CredentialFileError> {
    let failed =
        |action| move |source| CredentialFileError { action, path: path.to_owned(), source };
    let dir = path.parent().unwrap_or(Path::new(""));
    if !dir.as_os_str().is_empty() {
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(DIRECTORY);
        builder.create(dir).map_err(failed("make the directory of"))?;
    }
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let write = || -> io::Result<()> {
        // What an interrupted attempt left may have another mode or be a link.
        remove_if_there(&fresh)?;
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(PRIVATE).open(&fresh)?;
        for part in parts {
            file.write_all(part)?;
        }
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        File::open(if dir.as_os_str().is_empty() { Path::new(".") } else { dir })?.sync_all()
    };
    write().map_err(failed("write"))
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
