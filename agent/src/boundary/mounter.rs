//! Mounts in noded's mount namespace.

use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path}")]
pub struct MountError {
    pub action: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: std::io::Error,
}

/// One line of mountinfo, as far as we need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    pub target: PathBuf,
    pub fs_type: String,
    pub source: String,
}

pub trait Mounter: Send + Sync {
    /// A tmpfs at `target`, which exists; size `None` leaves the kernel's default (half of memory).
    fn mount_tmpfs(&self, target: &Path, size_bytes: Option<u64>) -> Result<(), MountError>;
    fn unmount(&self, target: &Path) -> Result<(), MountError>;
    /// Mounts at or below `root`.
    fn list(&self, root: &Path) -> Result<Vec<MountEntry>, MountError>;
}
