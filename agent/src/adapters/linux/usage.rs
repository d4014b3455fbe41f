//! What cgroups, processes, interfaces and file systems have used, as the kernel tells.

use std::collections::BTreeSet;
use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::hierarchies::UNIFIED_MOUNTPOINT;
use jiff::Timestamp;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;

use super::cgroup_tree::{directory, parse_procs, read_value};
use super::mounter::innermost;
use super::usage_parse::{
    parse_boot_time, parse_default_interface, parse_default_interface_v6, parse_net_dev,
    parse_number, parse_open_files_limit, parse_own_cgroup, parse_pressure,
};
use super::{
    CgroupMode, CgroupV1, LinuxMounter, cgroup_usage, detect_cgroups, disk_usage, proc_parse,
};
use crate::boundary::{
    CgroupError, CgroupUsage, CpuTopology, Detail, DeviceIo, DiskUsage, FsUsage, Mounter,
    NetworkUsage, Pressures, ProcessUsage, SwapUsage, Usage,
};

#[cfg(test)]
mod tests;

/// Where cgroups are.
#[derive(Clone, Debug)]
enum Hierarchies {
    V1(CgroupV1),
    V2(PathBuf),
}

/// Reads the real machine.
#[derive(Clone, Debug)]
pub struct LinuxUsage {
    hierarchies: Hierarchies,
    /// Prefix of `/proc` and `/sys`; `/` outside tests.
    prefix: PathBuf,
}

impl LinuxUsage {
    /// The cgroups of this machine; errors when a hierarchy that pods need is not mounted.
    pub fn open() -> Result<Self, CgroupError> {
        let hierarchies = match detect_cgroups()? {
            CgroupMode::Unified => Hierarchies::V2(PathBuf::from(UNIFIED_MOUNTPOINT)),
            CgroupMode::Hybrid | CgroupMode::Legacy => Hierarchies::V1(CgroupV1::open()?),
        };
        Ok(Self { hierarchies, prefix: PathBuf::from("/") })
    }

    /// When the machine started.
    pub fn boot_time(&self) -> io::Result<Timestamp> {
        let malformed = || io::Error::new(io::ErrorKind::InvalidData, "/proc/stat is malformed");
        let seconds = parse_boot_time(&self.read("proc/stat")?).ok_or_else(malformed)?;
        Timestamp::from_second(seconds).map_err(|_| malformed())
    }

    /// How the CPUs are packed.
    pub fn cpu_topology(&self) -> CpuTopology {
        let (mut cores, mut sockets) = (BTreeSet::new(), BTreeSet::new());
        let Ok(entries) = std::fs::read_dir(self.prefix.join("sys/devices/system/cpu")) else {
            return CpuTopology::default();
        };
        for entry in entries.flatten() {
            let number = |file: &str| {
                let text =
                    std::fs::read_to_string(entry.path().join("topology").join(file)).ok()?;
                parse_number(&text)
            };
            let (socket, core) = (number("physical_package_id"), number("core_id"));
            if let Some(core) = core {
                cores.insert((socket, core));
                sockets.insert(socket);
            }
        }
        CpuTopology { physical_cores: cores.len() as u64, sockets: sockets.len() as u64 }
    }

    fn read(&self, path: &str) -> io::Result<String> {
        std::fs::read_to_string(self.prefix.join(path))
    }

    /// `/proc/<pid>/<file>`; 0 is noded itself.
    fn read_of(&self, pid: i32, file: &str) -> io::Result<String> {
        match pid {
            0 => self.read(&format!("proc/self/{file}")),
            pid => self.read(&format!("proc/{pid}/{file}")),
        }
    }

    /// The cgroup's directory in the hierarchy of a controller; all are one on version 2.
    fn directory(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        match &self.hierarchies {
            Hierarchies::V1(v1) => v1.directory_of(controller, path),
            Hierarchies::V2(mount) => Some(directory(mount, path)),
        }
    }

    /// What the machine as a whole has beyond its topmost cgroup.
    fn complete_root(&self, usage: &mut CgroupUsage) {
        let memory = proc_parse::parse_meminfo(&self.read("proc/meminfo").unwrap_or_default());
        if let Some(usage) = &mut usage.memory {
            usage.limit = Some(memory.total).filter(|bytes| *bytes > 0);
        }
        let used = memory.swap_total.saturating_sub(memory.swap_free);
        let swap = usage.swap.get_or_insert(SwapUsage { usage: used, limit: None });
        swap.limit = Some(memory.swap_total);
        if let Some(more) = &mut usage.more {
            more.memory.swap_limit = Some(memory.swap_total);
            let pressure = |resource: &str| {
                let text = self.read(&format!("proc/pressure/{resource}")).ok()?;
                parse_pressure(&text)
            };
            more.pressure =
                Pressures { cpu: pressure("cpu"), memory: pressure("memory"), io: pressure("io") };
        }
    }

    /// `/dev/sda` for the numbers of a block device; empty when the kernel does not know them.
    fn device_name(&self, device: &DeviceIo) -> String {
        let path = format!("sys/dev/block/{}:{}/uevent", device.major, device.minor);
        let text = self.read(&path).unwrap_or_default();
        let name = text.lines().find_map(|line| line.strip_prefix("DEVNAME="));
        name.map_or_else(String::new, |name| format!("/dev/{name}"))
    }
}

impl Usage for LinuxUsage {
    fn cgroup(&self, path: &Path, detail: Detail) -> Option<CgroupUsage> {
        let at = Timestamp::now();
        let file =
            |controller: &str, name: &str| read_value(&self.directory(controller, path)?, name);
        let mut usage = match &self.hierarchies {
            Hierarchies::V1(_) => cgroup_usage::read_v1(&file, detail),
            Hierarchies::V2(_) => cgroup_usage::read_v2(&file, detail),
        }?;
        usage.at = Some(at);
        if path == Path::new("/") {
            self.complete_root(&mut usage);
        }
        for device in usage.more.iter_mut().flat_map(|more| &mut more.io) {
            device.device = self.device_name(device);
        }
        Some(usage)
    }

    fn own_pids(&self, path: &Path) -> Vec<i32> {
        let text = self.directory("cpu", path).and_then(|dir| read_value(&dir, "cgroup.procs"));
        parse_procs(&text.unwrap_or_default()).collect()
    }

    fn cgroup_of(&self, pid: i32) -> Option<PathBuf> {
        let text = self.read_of(pid, "cgroup").ok()?;
        parse_own_cgroup(&text).map(PathBuf::from)
    }

    fn network(&self, pid: i32) -> io::Result<NetworkUsage> {
        let interfaces = parse_net_dev(&self.read_of(pid, "net/dev")?);
        let route = |file, parse: fn(&str) -> Option<String>| {
            self.read_of(pid, file).ok().and_then(|text| parse(&text))
        };
        let default = route("net/route", parse_default_interface)
            .or_else(|| route("net/ipv6_route", parse_default_interface_v6));
        Ok(NetworkUsage { default, interfaces })
    }

    fn processes(&self, pids: &[i32]) -> ProcessUsage {
        let mut usage = ProcessUsage { processes: pids.len() as u64, ..ProcessUsage::default() };
        for pid in pids {
            // A process that has ended meanwhile holds nothing any more.
            let Ok(entries) = std::fs::read_dir(self.prefix.join(format!("proc/{pid}/fd"))) else {
                continue;
            };
            for entry in entries.flatten() {
                usage.descriptors += 1;
                let target = std::fs::read_link(entry.path()).unwrap_or_default();
                usage.sockets += u64::from(target.to_string_lossy().starts_with("socket"));
            }
        }
        let limits = pids.first().and_then(|first| self.read_of(*first, "limits").ok());
        let open_files = limits.as_deref().and_then(parse_open_files_limit);
        usage.soft_limits = open_files.map(|limit| ("max_open_files", limit)).into_iter().collect();
        usage
    }

    fn file_system(&self, path: &Path) -> io::Result<FsUsage> {
        let fs = nix::sys::statvfs::statvfs(path)?;
        let bytes = |blocks: u64| blocks.saturating_mul(fs.fragment_size() as u64);
        let capacity = bytes(fs.blocks() as u64);
        let canonical = path.canonicalize()?;
        let mounts = LinuxMounter.list(Path::new("/")).unwrap_or_default();
        let source = innermost(&mounts, &canonical).map(|mount| mount.source.clone());
        Ok(FsUsage {
            capacity,
            available: bytes(fs.blocks_available() as u64),
            used: capacity.saturating_sub(bytes(fs.blocks_free() as u64)),
            inodes: fs.files() as u64,
            inodes_free: fs.files_free() as u64,
            device: source.unwrap_or_default(),
        })
    }

    fn disk_usage(&self, path: &Path) -> io::Result<DiskUsage> {
        disk_usage::tree(path)
    }

    fn files_usage(&self, directory: &Path) -> io::Result<DiskUsage> {
        disk_usage::files(directory)
    }

    fn listener(&self, endpoint: &str) -> Option<i32> {
        let stream = UnixStream::connect(endpoint.strip_prefix("unix://")?).ok()?;
        // 0 is a process of another process namespace, which cannot be looked at from here.
        let peer = getsockopt(&stream, PeerCredentials).ok()?;
        Some(peer.pid()).filter(|pid| *pid > 0)
    }
}
