//! The machine as /proc, /sys and /etc describe it.

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use jiff::Timestamp;

use super::{netlink, proc_parse};
use crate::boundary::{Machine, MachineCapacity, MachineIdentity};

/// Reads the real machine. Only `root_dir` matters to it beyond the fixed places of Linux.
#[derive(Clone, Debug)]
pub struct LinuxMachine {
    /// Prefix of `/proc`, `/sys` and `/etc`; `/` outside tests.
    prefix: PathBuf,
    root_dir: PathBuf,
}

impl LinuxMachine {
    /// `root_dir` is noded's root directory: its file system is the node's ephemeral storage.
    pub fn new(root_dir: impl Into<PathBuf>) -> Self {
        Self::with_prefix("/", root_dir)
    }

    /// The same with `/proc`, `/sys` and `/etc` below `prefix`.
    pub fn with_prefix(prefix: impl Into<PathBuf>, root_dir: impl Into<PathBuf>) -> Self {
        Self { prefix: prefix.into(), root_dir: root_dir.into() }
    }

    fn read(&self, path: &str) -> io::Result<String> {
        let full = self.prefix.join(path);
        std::fs::read_to_string(&full)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", full.display())))
    }

    /// The trimmed text of the first of the files that exists and is not empty; else empty.
    fn first_of(&self, paths: &[&str]) -> String {
        let texts = paths.iter().filter_map(|path| self.read(path).ok());
        // Device tree strings end with a zero byte.
        texts
            .map(|text| text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
            .find(|text| !text.is_empty())
            .unwrap_or_default()
    }

    fn number(&self, path: &str) -> io::Result<u64> {
        self.read(path)?.trim().parse().map_err(|_| malformed(path))
    }

    fn huge_pages(&self) -> io::Result<Vec<(u64, u64)>> {
        const DIR: &str = "sys/kernel/mm/hugepages";
        let entries = match std::fs::read_dir(self.prefix.join(DIR)) {
            Ok(entries) => entries,
            // A kernel built without huge pages.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut pages = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            if let Some(size) = proc_parse::parse_huge_page_dir(&name) {
                let count = self.number(&format!("{DIR}/{name}/nr_hugepages"))?;
                pages.push((size, count.saturating_mul(size)));
            }
        }
        pages.sort_unstable();
        Ok(pages)
    }
}

#[async_trait]
impl Machine for LinuxMachine {
    fn identity(&self) -> io::Result<MachineIdentity> {
        const MACHINE_IDS: [&str; 2] = ["etc/machine-id", "var/lib/dbus/machine-id"];
        Ok(MachineIdentity {
            machine_id: self.first_of(&MACHINE_IDS),
            // The order of cAdvisor v0.56; the machine id stands in where firmware gives none.
            system_uuid: self.first_of(&[
                "sys/class/dmi/id/product_uuid",
                "proc/device-tree/system-id",
                "proc/device-tree/vm,uuid",
                MACHINE_IDS[0],
            ]),
            boot_id: self.read("proc/sys/kernel/random/boot_id")?.trim().to_owned(),
            kernel_version: self.read("proc/sys/kernel/osrelease")?.trim().to_owned(),
            os_image: proc_parse::parse_os_release(
                &self.first_of(&["etc/os-release", "usr/lib/os-release"]),
            ),
            architecture: proc_parse::go_architecture(std::env::consts::ARCH).to_owned(),
            hostname: self.read("proc/sys/kernel/hostname")?.trim().to_owned(),
        })
    }

    fn capacity(&self) -> io::Result<MachineCapacity> {
        const ONLINE: &str = "sys/devices/system/cpu/online";
        let memory = proc_parse::parse_meminfo(&self.read("proc/meminfo")?);
        let cpus = proc_parse::count_cpu_list(&self.read(ONLINE)?);
        let threads = proc_parse::parse_loadavg_threads(&self.read("proc/loadavg")?);
        let disk = nix::sys::statvfs::statvfs(existing_ancestor(&self.root_dir))?;
        let block = disk.fragment_size() as u64;
        let pid_max = self.number("proc/sys/kernel/pid_max")?;
        Ok(MachineCapacity {
            cpus: cpus.ok_or_else(|| malformed(ONLINE))?,
            memory_bytes: memory.total,
            swap_bytes: memory.swap_total,
            root_fs_bytes: (disk.blocks() as u64).saturating_mul(block),
            root_fs_available_bytes: (disk.blocks_available() as u64).saturating_mul(block),
            root_fs_inodes: disk.files() as u64,
            root_fs_inodes_free: disk.files_free() as u64,
            memory_available_bytes: memory.free.saturating_add(memory.inactive_file),
            pid_max: pid_max.min(self.number("proc/sys/kernel/threads-max").unwrap_or(pid_max)),
            processes: threads.ok_or_else(|| malformed("proc/loadavg"))?,
            huge_pages: self.huge_pages()?,
        })
    }

    async fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        netlink::host_addresses().await
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let found = tokio::net::lookup_host((name, 0)).await?;
        let mut addresses: Vec<IpAddr> = found.map(|socket| socket.ip()).collect();
        addresses.dedup();
        Ok(addresses)
    }

    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn malformed(path: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("/{path} is malformed"))
}

/// The path itself, or the nearest directory above it that exists: before the first start the root
/// directory is not there yet, but its file system is.
fn existing_ancestor(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests;
