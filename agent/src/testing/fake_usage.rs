//! Figures in memory. State: cgroups, disks and layers, set by the test; call log: how often
//! cgroups and trees were read; queued errors: the runtime can be away.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;

use crate::boundary::{
    CgroupUsage, CpuUsage, Detail, DiskUsage, FsUsage, LayerUsage, MemoryUsage, NetworkUsage,
    ProcessUsage, RuntimeError, RuntimeFileSystems, RuntimeUsage, Usage,
};
use crate::podworker::WallClock;

#[derive(Default)]
pub struct UsageState {
    /// The time of a reading is filled in.
    pub cgroups: HashMap<PathBuf, CgroupUsage>,
    pub pids: HashMap<PathBuf, Vec<i32>>,
    pub networks: HashMap<i32, NetworkUsage>,
    pub file_systems: HashMap<PathBuf, FsUsage>,
    pub trees: HashMap<PathBuf, DiskUsage>,
    pub layers: Vec<LayerUsage>,
    pub stores: RuntimeFileSystems,
    pub runtime_away: bool,
    /// How often the topmost cgroup was read.
    pub root_reads: u32,
    /// Trees that were walked, in order.
    pub walked: Vec<PathBuf>,
    pub process_reads: u32,
}

impl UsageState {
    /// How often that tree was walked.
    pub fn tree_looks(&self, path: &str) -> usize {
        self.walked.iter().filter(|walked| walked.as_path() == Path::new(path)).count()
    }
}

/// Clones share the state.
#[derive(Clone)]
pub struct FakeUsage {
    state: Arc<Mutex<UsageState>>,
    clock: WallClock,
}

impl FakeUsage {
    pub fn new(clock: WallClock) -> Self {
        Self { state: Arc::default(), clock }
    }

    pub fn state(&self) -> MutexGuard<'_, UsageState> {
        self.state.lock().unwrap()
    }

    /// A cgroup that has used this much CPU and memory.
    pub fn set(&self, path: &str, total_ns: u64, memory: u64) {
        let cpu = CpuUsage { total_ns, ..CpuUsage::default() };
        let memory = MemoryUsage { usage: memory, working_set: memory, ..MemoryUsage::default() };
        let usage = CgroupUsage { cpu: Some(cpu), memory: Some(memory), ..CgroupUsage::default() };
        self.state().cgroups.insert(path.into(), usage);
    }
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Usage for FakeUsage {
    fn cgroup(&self, path: &Path, detail: Detail) -> Option<CgroupUsage> {
        let mut state = self.state();
        state.root_reads += u32::from(path == Path::new("/"));
        let mut usage = state.cgroups.get(path)?.clone();
        usage.at = Some((self.clock)());
        usage.more = (detail == Detail::Full).then(Box::default);
        Some(usage)
    }

    fn own_pids(&self, path: &Path) -> Vec<i32> {
        self.state().pids.get(path).cloned().unwrap_or_default()
    }

    fn cgroup_of(&self, _pid: i32) -> Option<PathBuf> {
        None
    }

    fn network(&self, pid: i32) -> io::Result<NetworkUsage> {
        self.state().networks.get(&pid).cloned().ok_or_else(missing)
    }

    fn processes(&self, pids: &[i32]) -> ProcessUsage {
        self.state().process_reads += 1;
        ProcessUsage { processes: pids.len() as u64, ..ProcessUsage::default() }
    }

    fn file_system(&self, path: &Path) -> io::Result<FsUsage> {
        self.state().file_systems.get(path).cloned().ok_or_else(missing)
    }

    fn disk_usage(&self, path: &Path) -> io::Result<DiskUsage> {
        let mut state = self.state();
        state.walked.push(path.to_owned());
        state.trees.get(path).copied().ok_or_else(missing)
    }

    fn files_usage(&self, directory: &Path) -> io::Result<DiskUsage> {
        self.state().trees.get(directory).copied().ok_or_else(missing)
    }

    fn listener(&self, _endpoint: &str) -> Option<i32> {
        None
    }
}

#[async_trait]
impl RuntimeUsage for FakeUsage {
    async fn layers(&self) -> Result<Vec<LayerUsage>, RuntimeError> {
        let state = self.state();
        if state.runtime_away {
            return Err(RuntimeError::Unavailable("away".to_owned()));
        }
        Ok(state.layers.clone())
    }

    async fn file_systems(&self) -> Result<RuntimeFileSystems, RuntimeError> {
        Ok(self.state().stores.clone())
    }
}
