//! Manifests of static pods: files of this machine, or a URL.

use std::io;
use std::path::PathBuf;

use async_trait::async_trait;

/// One manifest file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestFile {
    pub path: PathBuf,
    /// What is in it, or why that cannot be said.
    pub content: Result<Vec<u8>, String>,
}

/// The file or directory of static pod manifests.
#[async_trait]
pub trait ManifestFiles: Send + Sync {
    /// Every manifest there is, ordered by path: the file itself, or the regular files of the
    /// directory whose names do not begin with a dot. `None` when the path does not exist.
    async fn list(&self) -> io::Result<Option<Vec<ManifestFile>>>;
    /// Returns when something there changed since the last [`Self::list`]; may return without a
    /// change, and may miss one. Dropping it loses nothing.
    async fn changed(&self);
}

/// Why a URL gave no pods.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestUrlError {
    #[error("no answer: {0}")]
    Unreachable(String),
    /// Anything but 200.
    #[error("the answer is {0}")]
    Status(String),
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// The URL of static pod manifests.
#[async_trait]
pub trait ManifestUrl: Send + Sync {
    /// The URL without what may be secret in it.
    fn name(&self) -> String;
    /// What it answers now. Has a deadline of its own.
    async fn fetch(&self) -> Result<Vec<u8>, ManifestUrlError>;
}
