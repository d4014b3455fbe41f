//! The machine noded runs on.

use std::net::IpAddr;

use jiff::Timestamp;

/// What `status.nodeInfo` says of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineIdentity {
    pub machine_id: String,
    pub system_uuid: String,
    pub boot_id: String,
    pub kernel_version: String,
    pub os_image: String,
    /// Go's name of the architecture: `amd64`, `arm64`.
    pub architecture: String,
    pub hostname: String,
}

/// What the machine has. Huge pages by page size in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineCapacity {
    pub cpus: u64,
    pub memory_bytes: u64,
    pub swap_bytes: u64,
    /// Size of the file system that holds the root directory.
    pub root_fs_bytes: u64,
    pub root_fs_available_bytes: u64,
    pub root_fs_inodes_free: u64,
    pub memory_available_bytes: u64,
    pub pid_max: u64,
    pub processes: u64,
    pub huge_pages: Vec<(u64, u64)>,
}

/// Reads of /proc, /sys and the interfaces. Synchronous: every read is a few microseconds.
pub trait Machine: Send + Sync {
    fn identity(&self) -> std::io::Result<MachineIdentity>;
    fn capacity(&self) -> std::io::Result<MachineCapacity>;
    /// Addresses of all interfaces that are up, loopback and link-local left out; those of the
    /// interface with the default route first.
    fn addresses(&self) -> std::io::Result<Vec<IpAddr>>;
    fn now(&self) -> Timestamp;
}
