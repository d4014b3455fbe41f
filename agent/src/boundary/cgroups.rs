//! The kernel's control groups, both versions behind one trait.

use std::path::Path;

/// Limits of one cgroup in the units of cgroup v1 where the versions differ: an implementation for
/// v2 converts shares to a weight. `None` leaves a value alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CgroupLimits {
    /// CPU shares, 2 to 262144.
    pub cpu_shares: Option<u64>,
    /// Microseconds per period; -1 is no limit.
    pub cpu_quota_us: Option<i64>,
    pub cpu_period_us: Option<u64>,
    /// Bytes; -1 is no limit.
    pub memory_bytes: Option<i64>,
    /// Processes; -1 is no limit.
    pub pids: Option<i64>,
    /// Page size as the file names spell it (`2MB`) and bytes.
    pub huge_pages: Vec<(String, u64)>,
}

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("cannot {action} cgroup {path}")]
    Io {
        action: &'static str,
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cgroup controller {0} is not available")]
    MissingController(String),
}

/// Paths are relative to the cgroup mount and start with `/`, e.g. `/kubepods/burstable/pod<uid>`.
pub trait Cgroups: Send + Sync {
    /// Creates the cgroup and its parents with all controllers, and sets the limits. Idempotent;
    /// files whose value is right already are not written.
    fn ensure(&self, path: &Path, limits: &CgroupLimits) -> Result<(), CgroupError>;
    /// Names of the child cgroups (last path component); empty when the cgroup does not exist.
    fn children(&self, path: &Path) -> Result<Vec<String>, CgroupError>;
    /// Processes in the cgroup and below.
    fn pids(&self, path: &Path) -> Result<Vec<i32>, CgroupError>;
    /// SIGKILL to everything in the cgroup and below.
    fn kill(&self, path: &Path) -> Result<(), CgroupError>;
    /// Removes the cgroup and everything below; fails while a process is inside.
    fn remove(&self, path: &Path) -> Result<(), CgroupError>;
    /// 1 or 2.
    fn version(&self) -> u8;
}
