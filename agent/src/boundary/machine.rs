//! The machine noded runs on.

use std::net::IpAddr;

use async_trait::async_trait;
use jiff::Timestamp;

/// What `status.nodeInfo` says of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineIdentity {
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    /// `PRETTY_NAME` of os-release.
    pub os_image: String,
    /// Go's name of the architecture: `amd64`, `arm64`.
    pub architecture: String,
    pub hostname: String,
}

/// What the machine has. Huge pages by page size in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineCapacity {
    /// CPUs that are online.
    pub cpus: u64,
    pub memory_bytes: u64,
    pub swap_bytes: u64,
    /// Size of the file system that holds the root directory.
    pub root_fs_bytes: u64,
    pub root_fs_available_bytes: u64,
    pub root_fs_inodes: u64,
    pub root_fs_inodes_free: u64,
    /// Memory that is free or holds file pages not used lately: capacity less the working set, as
    /// the `memory.available` eviction signal counts it.
    pub memory_available_bytes: u64,
    /// The lower of `kernel.pid_max` and `kernel.threads-max`.
    pub pid_max: u64,
    /// Processes and threads that exist.
    pub processes: u64,
    /// Page size and the bytes set aside in pages of that size.
    pub huge_pages: Vec<(u64, u64)>,
}

/// Reads of /proc, /sys and the interfaces. The synchronous reads take a few microseconds.
#[async_trait]
pub trait Machine: Send + Sync {
    fn identity(&self) -> std::io::Result<MachineIdentity>;
    fn capacity(&self) -> std::io::Result<MachineCapacity>;
    /// Addresses of all interfaces that are up, loopback, link-local and multicast ones left out;
    /// those of the interface with the default route first, IPv4 before IPv6.
    async fn addresses(&self) -> std::io::Result<Vec<IpAddr>>;
    /// What the resolver of this machine answers for a host name, in its order; empty when it
    /// knows none.
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
    fn now(&self) -> Timestamp;
}
