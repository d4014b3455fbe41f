//! What cgroups, processes, interfaces and file systems have used.
//!
//! Counters count since the thing was made. `None` is a figure that the kernel does not tell here,
//! never zero.

use std::io;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;

use super::RuntimeError;

/// How much is read of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// CPU, memory and swap: what a scheduler or autoscaler asks for.
    Essential,
    /// Everything.
    Full,
}

/// One cgroup with all below it, at one moment.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupUsage {
    /// When it was read; never `None` after a read.
    pub at: Option<Timestamp>,
    pub cpu: Option<CpuUsage>,
    pub memory: Option<MemoryUsage>,
    pub swap: Option<SwapUsage>,
    /// `None` when only the essential was asked for.
    pub more: Option<Box<CgroupDetail>>,
}

/// Nanoseconds on all CPUs together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuUsage {
    pub total_ns: u64,
    pub user_ns: Option<u64>,
    pub system_ns: Option<u64>,
}

/// Bytes, unless a name says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    pub usage: u64,
    /// Usage less the file pages that were not used lately; never below 0.
    pub working_set: u64,
    /// Anonymous memory.
    pub rss: Option<u64>,
    pub cache: Option<u64>,
    pub mapped_file: Option<u64>,
    pub active_file: Option<u64>,
    pub inactive_file: Option<u64>,
    /// Page faults, a count.
    pub page_faults: Option<u64>,
    /// Page faults that had to wait for a disk, a count.
    pub major_page_faults: Option<u64>,
    /// `None` is no limit.
    pub limit: Option<u64>,
}

/// Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwapUsage {
    pub usage: u64,
    /// Of swap alone; `None` is no limit.
    pub limit: Option<u64>,
}

/// What is beyond the essential.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CgroupDetail {
    pub cpu: CpuDetail,
    pub memory: MemoryDetail,
    pub pids: PidsUsage,
    /// By device; empty where nothing was read or written.
    pub io: Vec<DeviceIo>,
    pub pressure: Pressures,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuDetail {
    /// Shares as cgroup v1 counts them, 2 to 262144.
    pub shares: Option<u64>,
    /// Microseconds for each period; `None` is no limit.
    pub quota_us: Option<u64>,
    pub period_us: Option<u64>,
    pub throttling: Option<Throttling>,
}

/// What the quota did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
    pub burst_periods: Option<u64>,
    pub burst_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryDetail {
    pub max_usage: Option<u64>,
    /// How often the limit was met.
    pub failures: Option<u64>,
    pub kernel: Option<u64>,
    /// Bytes kept when memory is scarce; `None` is none.
    pub reservation: Option<u64>,
    /// As the kernel states it: on v1 of memory and swap together. `None` is no limit.
    pub swap_limit: Option<u64>,
    /// Processes killed for want of memory.
    pub oom_kills: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PidsUsage {
    /// Tasks, in the cgroup and below.
    pub current: Option<u64>,
    /// `None` is no limit, or not known.
    pub max: Option<u64>,
}

/// What was read from and written to one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIo {
    pub major: u32,
    pub minor: u32,
    /// `/dev/sda`; empty when the kernel does not tell.
    pub device: String,
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

/// Pressure stall of the three resources; `None` where the kernel does not keep it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressures {
    pub cpu: Option<Pressure>,
    pub memory: Option<Pressure>,
    pub io: Option<Pressure>,
}

/// Waiting of some tasks, and of all at once.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// Averages are per cent of the last 10, 60 and 300 s.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    pub total_us: u64,
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
}

/// Interfaces of one network namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NetworkUsage {
    /// Name of the interface with the default route; `None` when there is none.
    pub default: Option<String>,
    pub interfaces: Vec<InterfaceUsage>,
}

/// Counters of one interface, received and transmitted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterfaceUsage {
    pub name: String,
    pub rx: Traffic,
    pub tx: Traffic,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// What a set of processes holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessUsage {
    pub processes: u64,
    pub descriptors: u64,
    pub sockets: u64,
    /// Soft limit of open files of the first process, with the name `max_open_files`; -1 is none.
    pub soft_limits: Vec<(&'static str, i64)>,
}

/// One mounted file system.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FsUsage {
    pub capacity: u64,
    /// To those without special rights.
    pub available: u64,
    pub used: u64,
    /// 0 for a file system that makes inodes as it needs them.
    pub inodes: u64,
    pub inodes_free: u64,
    /// What is mounted, `/dev/sda1`; empty when not known.
    pub device: String,
}

/// What files take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    pub bytes: u64,
    pub inodes: u64,
}

impl std::ops::Add for DiskUsage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            bytes: self.bytes.saturating_add(other.bytes),
            inodes: self.inodes.saturating_add(other.inodes),
        }
    }
}

/// How the CPUs are packed; 0 is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTopology {
    pub physical_cores: u64,
    pub sockets: u64,
}

/// The kernel's figures. All calls block, most for microseconds, `disk_usage` as long as the tree
/// is large; callers in tasks use a blocking thread.
pub trait Usage: Send + Sync {
    /// What the cgroup has used; `None` when it does not exist. The cgroup `/` is the machine.
    fn cgroup(&self, path: &Path, detail: Detail) -> Option<CgroupUsage>;
    /// Processes in the cgroup itself, not below.
    fn own_pids(&self, path: &Path) -> Vec<i32>;
    /// The cgroup a process is in; `None` when it is not the same for CPU and memory, or the
    /// process is gone. `pid` 0 is noded.
    fn cgroup_of(&self, pid: i32) -> Option<PathBuf>;
    /// Interfaces in the network namespace of a process, without loopback and the host's ends of
    /// pods. `pid` 0 is noded.
    fn network(&self, pid: i32) -> io::Result<NetworkUsage>;
    fn processes(&self, pids: &[i32]) -> ProcessUsage;
    /// The file system that `path` lies on.
    fn file_system(&self, path: &Path) -> io::Result<FsUsage>;
    /// What lies at and below `path`, without following links or entering other mounts.
    fn disk_usage(&self, path: &Path) -> io::Result<DiskUsage>;
    /// What the files in the directory itself take.
    fn files_usage(&self, directory: &Path) -> io::Result<DiskUsage>;
    /// The process that listens on a `unix://` endpoint; `None` when nobody does.
    fn listener(&self, endpoint: &str) -> Option<i32>;
}

/// The writable layer of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LayerUsage {
    pub container: String,
    pub at: Option<Timestamp>,
    /// Where its file system is mounted; empty when not known.
    pub mountpoint: String,
    pub used: Option<u64>,
    pub inodes: Option<u64>,
}

/// A file system of the runtime, and what the runtime uses of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeFs {
    pub at: Option<Timestamp>,
    pub mountpoint: String,
    pub used: Option<u64>,
    pub inodes: Option<u64>,
}

/// Where the runtime keeps images and writable layers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeFileSystems {
    pub images: Option<RuntimeFs>,
    /// `None` when they are kept with the images.
    pub containers: Option<RuntimeFs>,
}

/// What only the runtime knows.
#[async_trait]
pub trait RuntimeUsage: Send + Sync {
    /// Of all containers that are not removed yet.
    async fn layers(&self) -> Result<Vec<LayerUsage>, RuntimeError>;
    async fn file_systems(&self) -> Result<RuntimeFileSystems, RuntimeError>;
}
