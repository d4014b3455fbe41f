//! Mounts in noded's mount namespace.

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
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
    /// Mounts made below are seen by peers in other mount namespaces.
    pub shared: bool,
}

/// What a mount forbids or spares, beyond what its file system does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MountOption {
    ReadOnly,
    NoSuid,
    NoDev,
    NoExec,
    NoAtime,
    NoDirAtime,
    RelAtime,
}

pub trait Mounter: Send + Sync {
    /// A tmpfs at `target`, which exists; size `None` leaves the kernel's default (half of memory).
    /// Its pages stay out of swap where the kernel can promise that (Linux 6.4).
    fn mount_tmpfs(&self, target: &Path, size_bytes: Option<u64>) -> Result<(), MountError>;
    /// Shows the file or directory that `source` is open on at `target` too, without what is mounted
    /// below it. `target` exists and is of the same kind.
    fn bind_open(&self, source: BorrowedFd<'_>, target: &Path) -> Result<(), MountError>;
    /// Whether `target` shows the very file or directory that `source` is open on; false also when
    /// nobody can tell, as for a mount whose server is gone.
    fn shows(&self, target: &Path, source: BorrowedFd<'_>) -> bool;
    /// A hugetlbfs with pages of this size at `target`, which exists; size `None` leaves it without
    /// a limit. Takes no page from the machine's pool by itself.
    fn mount_huge_pages(
        &self,
        target: &Path,
        page_bytes: u64,
        size_bytes: Option<u64>,
    ) -> Result<(), MountError>;
    /// Shows the directory `source` at `target` too, which exists, but not what is mounted below
    /// `source`. Links on the way to `source` are followed; errors when it is no directory.
    fn bind_directory(&self, source: &Path, target: &Path) -> Result<(), MountError>;
    /// Adds options to the mount at `target`, and to no other mount of the same directory.
    fn restrict(&self, target: &Path, options: &[MountOption]) -> Result<(), MountError>;
    /// Takes the topmost mount at `target` away; success when nothing is mounted there.
    fn unmount(&self, target: &Path) -> Result<(), MountError>;
    /// Mounts at or below `root`, in the order they were made.
    fn list(&self, root: &Path) -> Result<Vec<MountEntry>, MountError>;
    /// Makes mounts below `dir` reach the pods and come back from them: `dir` becomes a mount of
    /// its own where it is none, and recursively shared. Done twice is done once.
    fn make_shared(&self, dir: &Path) -> Result<(), MountError>;
}
