//! Cgroup v1 through cgroups-rs: one hierarchy for each controller.
//!
//! Of cgroups-rs we take the finding of the mounts and the controller files. Its `Cgroup` is not
//! used: it ties all controllers to the fixed mounts, and its delete leaves the parents.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use cgroups_rs::fs::cpu::CpuController;
use cgroups_rs::fs::cpuset::CpuSetController;
use cgroups_rs::fs::freezer::FreezerController;
use cgroups_rs::fs::hierarchies::V1;
use cgroups_rs::fs::hugetlb::HugeTlbController;
use cgroups_rs::fs::memory::MemController;
use cgroups_rs::fs::pid::PidController;
use cgroups_rs::fs::{Controller, Controllers, MaxValue};
use nix::sys::statfs::{CGROUP2_SUPER_MAGIC, statfs};

use super::cgroup_tree::{
    child_names, directory, failed, kill_all, parse_procs, read_value, remove_tree, subtree,
};
use crate::boundary::{CgroupError, CgroupLimits, Cgroups};

/// Controllers whose limits pods rely on (kubelet v1.36); hugetlb only where the kernel has it.
const REQUIRED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Hierarchies a runtime may make cgroups in below ours, so all are cleared with a pod.
const KNOWN: [Controllers; 14] = [
    Controllers::Cpu,
    Controllers::CpuAcct,
    Controllers::CpuSet,
    Controllers::Mem,
    Controllers::Pids,
    Controllers::HugeTlb,
    Controllers::Freezer,
    Controllers::Devices,
    Controllers::BlkIo,
    Controllers::PerfEvent,
    Controllers::NetCls,
    Controllers::NetPrio,
    Controllers::Rdma,
    Controllers::Systemd,
];

/// Where the version 2 tree is mounted on a hybrid machine.
const UNIFIED_BESIDE: &str = "/sys/fs/cgroup/unified";

/// The v1 hierarchies of this machine.
#[derive(Clone, Debug)]
pub struct CgroupV1 {
    /// Controller to the directory its hierarchy is mounted at; co-mounted ones share it.
    mounts: BTreeMap<String, PathBuf>,
}

impl CgroupV1 {
    /// The hierarchies that are mounted; errors when one that pods need is not.
    pub fn open() -> Result<Self, CgroupError> {
        let mounted = V1::new();
        let hierarchies = KNOWN.into_iter().filter_map(|controller| {
            let name = controller.to_string();
            mounted.get_mount_point(controller).map(|(mount, _)| (name, mount))
        });
        // The runtime makes its cgroups in the version 2 tree beside the controllers as well, so
        // ours have to be removed from it too.
        let beside = Path::new(UNIFIED_BESIDE);
        let is_unified = statfs(beside).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC);
        let unified = is_unified.then(|| ("unified".to_owned(), beside.to_owned()));
        Self::at(hierarchies.chain(unified))
    }

    /// The same with the mounts given, by controller.
    pub fn at(mounts: impl IntoIterator<Item = (String, PathBuf)>) -> Result<Self, CgroupError> {
        let mounts: BTreeMap<_, _> = mounts.into_iter().collect();
        let missing = REQUIRED.iter().filter(|name| !mounts.contains_key(**name));
        let names: Vec<String> = missing.map(|name| (*name).to_owned()).collect();
        if names.is_empty() {
            Ok(Self { mounts })
        } else {
            Err(CgroupError::MissingControllers { place: "the cgroup v1 mounts".to_owned(), names })
        }
    }

    /// The cgroup's directory in the hierarchy of a controller.
    pub(super) fn directory_of(&self, controller: &str, path: &Path) -> Option<PathBuf> {
        self.mounts.get(controller).map(|mount| directory(mount, path))
    }

    /// The cgroup's directory in every hierarchy, each once.
    fn directories(&self, path: &Path) -> BTreeSet<PathBuf> {
        self.mounts.values().map(|mount| directory(mount, path)).collect()
    }

    fn create(&self, path: &Path) -> Result<(), CgroupError> {
        for (name, mount) in &self.mounts {
            let dir = directory(mount, path);
            if dir.exists() && name != "cpuset" {
                continue;
            }
            if name == "cpuset" {
                // Creating through the controller also hands the parent's CPUs and memory nodes
                // down; an empty cpuset refuses every process.
                if read_value(&dir, "cpuset.cpus").is_none_or(|cpus| cpus.is_empty()) {
                    CpuSetController::new(dir.clone(), mount.clone(), false)
                        .create()
                        .map_err(|error| failed("create", &dir, io::Error::other(error)))?;
                }
            } else {
                std::fs::create_dir_all(&dir).map_err(|error| failed("create", &dir, error))?;
            }
        }
        Ok(())
    }

    fn limit_cpu(&self, path: &Path, limits: &CgroupLimits) -> Result<(), CgroupError> {
        let Some(dir) = self.directory_of("cpu", path) else { return Ok(()) };
        let cpu = CpuController::new(dir.clone(), PathBuf::new(), false);
        let fail = |error| failed("limit the CPU of", &dir, io::Error::other(error));
        if let Some(shares) = differs(&dir, "cpu.shares", limits.cpu_shares) {
            cpu.set_shares(shares).map_err(fail)?;
        }
        let quota = differs(&dir, "cpu.cfs_quota_us", limits.cpu_quota_us);
        if let Some(period) = differs(&dir, "cpu.cfs_period_us", limits.cpu_period_us)
            && cpu.set_cfs_period(period).is_err()
        {
            // A shorter period can be refused while the old quota stands, so the quota goes first.
            cpu.set_cfs_quota(quota.unwrap_or(-1)).map_err(fail)?;
            return cpu.set_cfs_period(period).map_err(fail);
        }
        quota.map_or(Ok(()), |quota| cpu.set_cfs_quota(quota).map_err(fail))
    }

    fn limit_memory(&self, path: &Path, bytes: Option<i64>) -> Result<(), CgroupError> {
        let (Some(dir), Some(bytes)) = (self.directory_of("memory", path), bytes) else {
            return Ok(());
        };
        // The kernel keeps whole pages and shows "no limit" as the greatest count of them.
        let shown = read_value(&dir, "memory.limit_in_bytes").and_then(|text| text.parse().ok());
        let same = shown.is_some_and(|shown: i64| match bytes {
            -1 => shown >= i64::MAX - (1 << 20),
            bytes => shown == bytes - bytes % page_size(),
        });
        if same {
            return Ok(());
        }
        MemController::new(dir.clone(), PathBuf::new(), false)
            .set_limit(bytes)
            .map_err(|error| failed("limit the memory of", &dir, io::Error::other(error)))
    }

    fn limit_pids(&self, path: &Path, pids: Option<i64>) -> Result<(), CgroupError> {
        let (Some(dir), Some(pids)) = (self.directory_of("pids", path), pids) else {
            return Ok(());
        };
        let (text, value) = match pids {
            -1 => ("max".to_owned(), MaxValue::Max),
            pids => (pids.to_string(), MaxValue::Value(pids)),
        };
        if read_value(&dir, "pids.max").as_ref() == Some(&text) {
            return Ok(());
        }
        PidController::new(dir.clone(), PathBuf::new(), false)
            .set_pid_max(value)
            .map_err(|error| failed("limit the processes of", &dir, io::Error::other(error)))
    }

    fn limit_huge_pages(&self, path: &Path, pages: &[(String, u64)]) -> Result<(), CgroupError> {
        let Some(dir) = self.directory_of("hugetlb", path) else { return Ok(()) };
        let hugetlb = HugeTlbController::new(dir.clone(), PathBuf::new(), false);
        for (size, bytes) in pages {
            let file = format!("hugetlb.{size}.limit_in_bytes");
            if differs(&dir, &file, Some(*bytes)).is_some() {
                hugetlb.set_limit_in_bytes(size, *bytes).map_err(|error| {
                    failed("limit huge pages of", &dir, io::Error::other(error))
                })?;
            }
        }
        Ok(())
    }

    fn freezer(&self, path: &Path) -> Option<FreezerController> {
        let dir = self.directory_of("freezer", path).filter(|dir| dir.exists())?;
        Some(FreezerController::new(dir, PathBuf::new(), false))
    }
}

impl Cgroups for CgroupV1 {
    fn ensure(&self, path: &Path, limits: &CgroupLimits) -> Result<(), CgroupError> {
        self.create(path)?;
        self.limit_cpu(path, limits)?;
        self.limit_memory(path, limits.memory_bytes)?;
        self.limit_pids(path, limits.pids)?;
        self.limit_huge_pages(path, &limits.huge_pages)
    }

    fn children(&self, path: &Path) -> Result<Vec<String>, CgroupError> {
        let mut names = BTreeSet::new();
        for dir in self.directories(path) {
            names.extend(child_names(&dir)?);
        }
        Ok(names.into_iter().collect())
    }

    fn pids(&self, path: &Path) -> Result<Vec<i32>, CgroupError> {
        let mut pids = BTreeSet::new();
        for dir in self.directories(path) {
            for dir in subtree(&dir)? {
                pids.extend(parse_procs(&read_value(&dir, "cgroup.procs").unwrap_or_default()));
            }
        }
        Ok(pids.into_iter().collect())
    }

    fn kill(&self, path: &Path) -> Result<(), CgroupError> {
        // Frozen processes cannot fork away from the list; a freezer that fails only makes a
        // second round more likely.
        let freezer = self.freezer(path);
        if let Some(Err(error)) = freezer.as_ref().map(FreezerController::freeze) {
            tracing::debug!(path = %path.display(), %error, "cannot freeze cgroup");
        }
        let killed = self.pids(path).and_then(|pids| kill_all(path, &pids));
        // A frozen process does not die, so thawing decides.
        if let Some(freezer) = freezer {
            freezer.thaw().map_err(|error| failed("thaw", path, io::Error::other(error)))?;
        }
        killed
    }

    fn remove(&self, path: &Path) -> Result<(), CgroupError> {
        self.directories(path).iter().try_for_each(|dir| remove_tree(dir))
    }

    fn version(&self) -> u8 {
        1
    }
}

/// The wanted value, unless there is none or the file shows it already.
fn differs<T: ToString>(dir: &Path, file: &str, wanted: Option<T>) -> Option<T> {
    let wanted = wanted?;
    (read_value(dir, file)? != wanted.to_string()).then_some(wanted)
}

fn page_size() -> i64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE);
    size.ok().flatten().unwrap_or(4096)
}

#[cfg(test)]
mod tests;
