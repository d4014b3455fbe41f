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
    /// Page size as the file names spell it (`2MB`) and bytes. Without effect where the kernel has
    /// no hugetlb controller.
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
    /// Controllers that pods need and the kernel does not offer here.
    #[error(
        "cgroup controllers {} are not available in {place}: enable them in the kernel (boot \
         option cgroup_enable=...) and, when noded runs in a container or slice, delegate them to it",
        .names.join(", ")
    )]
    MissingControllers { place: String, names: Vec<String> },
    /// Neither version is mounted.
    #[error("no cgroup file system is mounted at {0}: mount cgroup2 there")]
    NotMounted(String),
}

/// Paths are relative to the cgroup mount and start with `/`, e.g. `/kubepods/burstable/pod<uid>`.
/// Calls block; callers in tasks use a blocking thread.
pub trait Cgroups: Send + Sync {
    /// Creates the cgroup and its parents with all controllers, and sets the limits. Idempotent;
    /// files whose value is right already are not written.
    fn ensure(&self, path: &Path, limits: &CgroupLimits) -> Result<(), CgroupError>;
    /// Names of the child cgroups (last path component), sorted; empty when the cgroup does not
    /// exist.
    fn children(&self, path: &Path) -> Result<Vec<String>, CgroupError>;
    /// Processes in the cgroup and below, sorted; empty when it does not exist.
    fn pids(&self, path: &Path) -> Result<Vec<i32>, CgroupError>;
    /// SIGKILL to everything in the cgroup and below.
    fn kill(&self, path: &Path) -> Result<(), CgroupError>;
    /// Removes the cgroup and everything below; fails while a process is inside. Success when it
    /// does not exist.
    fn remove(&self, path: &Path) -> Result<(), CgroupError>;
    /// 1 or 2.
    fn version(&self) -> u8;
}
