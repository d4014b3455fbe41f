//! Cgroup v2: one tree, our own reader and writer.
//!
//! cgroups-rs is not used here: it has the mount point as a constant, swallows the errors of
//! `cgroup.subtree_control` and writes shares as a weight unconverted.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::cgroup_tree::{
    child_names, directory, failed, is_gone, kill_all, parse_procs, read_value, remove_tree,
    subtree,
};
use crate::boundary::{CgroupError, CgroupLimits, Cgroups};

/// Controllers that pods need (kubelet v1.36).
const REQUIRED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// Controllers handed down where the kernel has them; `io` lets the runtime account for disks.
const OPTIONAL: [&str; 2] = ["hugetlb", "io"];

/// CPU period the kernel starts with, in microseconds.
const DEFAULT_PERIOD_US: u64 = 100_000;

/// The unified hierarchy at one mount.
#[derive(Clone, Debug)]
pub struct CgroupV2 {
    mount: PathBuf,
    /// Controllers the mount offers and we hand down, in writing order.
    controllers: Vec<&'static str>,
}

impl CgroupV2 {
    /// The hierarchy mounted at `mount`; errors when it lacks a controller that pods need.
    pub fn open(mount: impl Into<PathBuf>) -> Result<Self, CgroupError> {
        let opened = Self::with_what_there_is(mount)?;
        let missing = REQUIRED.iter().filter(|name| !opened.controllers.contains(name));
        let names: Vec<String> = missing.map(|name| (*name).to_owned()).collect();
        if names.is_empty() {
            return Ok(opened);
        }
        let place = opened.mount.join("cgroup.controllers").display().to_string();
        Err(CgroupError::MissingControllers { place, names })
    }

    /// The hierarchy with whatever controllers it has.
    pub fn with_what_there_is(mount: impl Into<PathBuf>) -> Result<Self, CgroupError> {
        let mount = mount.into();
        let file = mount.join("cgroup.controllers");
        let text = std::fs::read_to_string(&file).map_err(|error| failed("read", &file, error))?;
        let offered: BTreeSet<&str> = text.split_whitespace().collect();
        let known = REQUIRED.into_iter().chain(OPTIONAL);
        let controllers = known.filter(|name| offered.contains(name)).collect();
        Ok(Self { mount, controllers })
    }

    fn create(&self, path: &Path) -> Result<(), CgroupError> {
        let leaf = directory(&self.mount, path);
        let mut dir = self.mount.clone();
        for component in leaf.strip_prefix(&self.mount).unwrap_or(path).components() {
            self.hand_down_controllers(&dir)?;
            dir.push(component);
            match std::fs::create_dir(&dir) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed("create", &dir, error)),
            }
        }
        Ok(())
    }

    /// Lets the children of `dir` use the controllers. Each is written on its own, so that an
    /// optional one that is refused does not take the others along.
    fn hand_down_controllers(&self, dir: &Path) -> Result<(), CgroupError> {
        let file = dir.join("cgroup.subtree_control");
        let enabled = read_value(dir, "cgroup.subtree_control").unwrap_or_default();
        let enabled: BTreeSet<&str> = enabled.split_whitespace().collect();
        for name in self.controllers.iter().filter(|name| !enabled.contains(**name)) {
            match std::fs::write(&file, format!("+{name}")) {
                Ok(()) => {}
                Err(error) if OPTIONAL.contains(name) => {
                    tracing::debug!(dir = %dir.display(), %error, "cannot hand down {name}");
                }
                Err(error) => return Err(failed("hand down controllers of", dir, error)),
            }
        }
        Ok(())
    }

    fn set(dir: &Path, file: &str, value: &str) -> Result<(), CgroupError> {
        if read_value(dir, file).as_deref() == Some(value) {
            return Ok(());
        }
        let full = dir.join(file);
        std::fs::write(&full, value).map_err(|error| failed("write", &full, error))
    }
}

impl Cgroups for CgroupV2 {
    fn ensure(&self, path: &Path, limits: &CgroupLimits) -> Result<(), CgroupError> {
        self.create(path)?;
        let dir = directory(&self.mount, path);
        if let Some(shares) = limits.cpu_shares {
            Self::set(&dir, "cpu.weight", &cpu_weight(shares).to_string())?;
        }
        if let Some(quota) = limits.cpu_quota_us {
            let period = limits.cpu_period_us.unwrap_or(DEFAULT_PERIOD_US);
            Self::set(&dir, "cpu.max", &format!("{} {period}", max_or(quota)))?;
        }
        if let Some(bytes) = limits.memory_bytes {
            Self::set(&dir, "memory.max", &max_or(bytes))?;
        }
        if let Some(pids) = limits.pids {
            Self::set(&dir, "pids.max", &max_or(pids))?;
        }
        if self.controllers.contains(&"hugetlb") {
            for (size, bytes) in &limits.huge_pages {
                Self::set(&dir, &format!("hugetlb.{size}.max"), &bytes.to_string())?;
            }
        }
        Ok(())
    }

    fn children(&self, path: &Path) -> Result<Vec<String>, CgroupError> {
        Ok(child_names(&directory(&self.mount, path))?.into_iter().collect())
    }

    fn pids(&self, path: &Path) -> Result<Vec<i32>, CgroupError> {
        let mut pids = BTreeSet::new();
        for dir in subtree(&directory(&self.mount, path))? {
            pids.extend(parse_procs(&read_value(&dir, "cgroup.procs").unwrap_or_default()));
        }
        Ok(pids.into_iter().collect())
    }

    fn kill(&self, path: &Path) -> Result<(), CgroupError> {
        let file = directory(&self.mount, path).join("cgroup.kill");
        if !file.exists() {
            // Kernels before 5.14 and a cgroup that is gone.
            return kill_all(path, &self.pids(path)?);
        }
        match std::fs::write(&file, "1") {
            Err(error) if !is_gone(&error) => Err(failed("kill the processes of", path, error)),
            _ => Ok(()),
        }
    }

    fn remove(&self, path: &Path) -> Result<(), CgroupError> {
        remove_tree(&directory(&self.mount, path))
    }

    fn version(&self) -> u8 {
        2
    }
}

/// The v2 weight of v1 shares: the range 2 to 262144 spread evenly over 1 to 10000, as upstream and
/// the runtimes' older formula have it (kubelet v1.36, `CPUSharesToCPUWeight`).
fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

fn max_or(limit: i64) -> String {
    if limit < 0 { "max".to_owned() } else { limit.to_string() }
}

#[cfg(test)]
mod tests;
