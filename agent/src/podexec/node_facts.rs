//! What the configs of pods need to know of the node; read once, shared by all.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// CPU, memory and local storage that pods may use, for `resourceFieldRef` without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allocatable {
    pub cpu_milli: u64,
    pub memory_bytes: u64,
    pub ephemeral_storage_bytes: u64,
}

/// Control group facts of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupFacts {
    /// 1 or 2.
    pub version: u8,
    /// The memory controller can limit swap.
    pub swap_controller: bool,
}

/// Facts of this node that are the same for every pod.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeFacts {
    /// Primary address first.
    pub host_ips: Vec<IpAddr>,
    pub allocatable: Allocatable,
    pub memory_capacity_bytes: u64,
    /// Sizes in bytes of the huge pages this kernel offers.
    pub huge_page_sizes: Vec<u64>,
    pub cgroup: CgroupFacts,
    /// `cpuCFSQuotaPeriod`; `None` when `cpuCFSQuota` is off.
    pub cfs_quota_period: Option<Duration>,
    /// `<root>/seccomp`, where localhost profiles lie.
    pub seccomp_root: PathBuf,
    /// `seccompDefault`: a container without a profile gets the runtime's.
    pub seccomp_default: bool,
    /// `/sys/devices/system/cpu/cpu<n>/thermal_throttle` of every CPU that has it.
    pub thermal_throttle_paths: Vec<String>,
    pub pod_logs_dir: PathBuf,
    pub cluster_domain: String,
}
