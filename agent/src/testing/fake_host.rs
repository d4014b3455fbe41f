//! The machine, its cgroups and its mounts in memory: state, call log, queued errors.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex};

use async_trait::async_trait;
use jiff::Timestamp;

use crate::boundary::{
    CgroupError, CgroupLimits, Cgroups, Machine, MachineCapacity, MachineIdentity, MountEntry,
    MountError, MountOption, Mounter,
};

/// A machine that says what it is told to say.
#[derive(Debug)]
pub struct FakeMachine {
    state: Mutex<MachineState>,
}

#[derive(Debug)]
struct MachineState {
    identity: MachineIdentity,
    capacity: MachineCapacity,
    addresses: Vec<IpAddr>,
    names: BTreeMap<String, Vec<IpAddr>>,
    /// Set by hand; `None` follows tokio's clock from `started`.
    now: Option<Timestamp>,
}

/// Where the fake clock stands when a test begins.
pub const FAKE_START: &str = "2026-01-01T00:00:00Z";

impl Default for FakeMachine {
    /// 4 CPUs, 8 GiB, 100 GiB of disk, nothing under pressure, address 192.0.2.10.
    fn default() -> Self {
        let identity = MachineIdentity {
            machine_id: "machine-1".to_owned(),
            system_uuid: "system-1".to_owned(),
            boot_id: "boot-1".to_owned(),
            kernel_version: "6.1.0".to_owned(),
            os_image: "Test OS 1".to_owned(),
            architecture: "amd64".to_owned(),
            hostname: "node-1".to_owned(),
        };
        let capacity = MachineCapacity {
            cpus: 4,
            memory_bytes: 8 << 30,
            swap_bytes: 0,
            root_fs_bytes: 100 << 30,
            root_fs_available_bytes: 80 << 30,
            root_fs_inodes: 1_000_000,
            root_fs_inodes_free: 900_000,
            memory_available_bytes: 6 << 30,
            pid_max: 32_768,
            processes: 200,
            huge_pages: Vec::new(),
        };
        let state = MachineState {
            identity,
            capacity,
            addresses: vec![IpAddr::from([192, 0, 2, 10])],
            names: BTreeMap::new(),
            now: None,
        };
        Self { state: Mutex::new(state) }
    }
}

impl FakeMachine {
    pub fn change_capacity(&self, change: impl FnOnce(&mut MachineCapacity)) {
        change(&mut self.state.lock().unwrap().capacity);
    }

    pub fn change_identity(&self, change: impl FnOnce(&mut MachineIdentity)) {
        change(&mut self.state.lock().unwrap().identity);
    }

    pub fn set_addresses(&self, addresses: Vec<IpAddr>) {
        self.state.lock().unwrap().addresses = addresses;
    }

    pub fn set_name(&self, name: &str, addresses: Vec<IpAddr>) {
        self.state.lock().unwrap().names.insert(name.to_owned(), addresses);
    }

    pub fn set_now(&self, now: Timestamp) {
        self.state.lock().unwrap().now = Some(now);
    }
}

#[async_trait]
impl Machine for FakeMachine {
    fn identity(&self) -> io::Result<MachineIdentity> {
        Ok(self.state.lock().unwrap().identity.clone())
    }

    fn capacity(&self) -> io::Result<MachineCapacity> {
        Ok(self.state.lock().unwrap().capacity.clone())
    }

    async fn addresses(&self) -> io::Result<Vec<IpAddr>> {
        Ok(self.state.lock().unwrap().addresses.clone())
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(self.state.lock().unwrap().names.get(name).cloned().unwrap_or_default())
    }

    fn now(&self) -> Timestamp {
        if let Some(now) = self.state.lock().unwrap().now {
            return now;
        }
        fake_clock_now()
    }
}

/// `FAKE_START` plus what tokio's paused clock advanced in this test's runtime.
pub fn fake_clock_now() -> Timestamp {
    thread_local! {
        static START: std::cell::OnceCell<tokio::time::Instant> = const { std::cell::OnceCell::new() };
    }
    let start: Timestamp = FAKE_START.parse().unwrap();
    if tokio::runtime::Handle::try_current().is_err() {
        return start;
    }
    let elapsed = START.with(|cell| cell.get_or_init(tokio::time::Instant::now).elapsed());
    start + elapsed
}

/// Cgroups in memory, with processes put in by the test.
#[derive(Debug, Default)]
pub struct FakeCgroups {
    state: Mutex<CgroupState>,
}

#[derive(Debug, Default)]
struct CgroupState {
    limits: BTreeMap<PathBuf, CgroupLimits>,
    pids: BTreeMap<PathBuf, BTreeSet<i32>>,
    /// Kills that leave the processes alive.
    stubborn_kills: u32,
    errors: BTreeMap<&'static str, VecDeque<io::ErrorKind>>,
    calls: Vec<String>,
}

impl FakeCgroups {
    /// The next call of this name (`ensure`, `kill`, `remove`...) fails so.
    pub fn fail_next(&self, call: &'static str, kind: io::ErrorKind) {
        self.state.lock().unwrap().errors.entry(call).or_default().push_back(kind);
    }

    pub fn add_process(&self, path: &str, pid: i32) {
        self.state.lock().unwrap().pids.entry(path.into()).or_default().insert(pid);
    }

    /// The next `times` kills have no effect.
    pub fn survive_kills(&self, times: u32) {
        self.state.lock().unwrap().stubborn_kills = times;
    }

    /// All limits ever given to the cgroup, later ones over earlier; `None` when it does not exist.
    pub fn limits(&self, path: &str) -> Option<CgroupLimits> {
        self.state.lock().unwrap().limits.get(Path::new(path)).cloned()
    }

    /// Calls as `name path`, oldest first; empties the log.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    fn enter(
        &self,
        call: &'static str,
        path: &Path,
    ) -> Result<std::sync::MutexGuard<'_, CgroupState>, CgroupError> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(format!("{call} {}", path.display()));
        let queued = state.errors.get_mut(call).and_then(VecDeque::pop_front);
        match queued {
            Some(kind) => Err(CgroupError::Io {
                action: call,
                path: path.display().to_string(),
                source: kind.into(),
            }),
            None => Ok(state),
        }
    }
}

impl Cgroups for FakeCgroups {
    fn ensure(&self, path: &Path, limits: &CgroupLimits) -> Result<(), CgroupError> {
        let mut state = self.enter("ensure", path)?;
        for parent in path.ancestors().skip(1) {
            state.limits.entry(parent.to_owned()).or_default();
        }
        let kept = state.limits.entry(path.to_owned()).or_default();
        kept.cpu_shares = limits.cpu_shares.or(kept.cpu_shares);
        kept.cpu_quota_us = limits.cpu_quota_us.or(kept.cpu_quota_us);
        kept.cpu_period_us = limits.cpu_period_us.or(kept.cpu_period_us);
        kept.memory_bytes = limits.memory_bytes.or(kept.memory_bytes);
        kept.pids = limits.pids.or(kept.pids);
        if !limits.huge_pages.is_empty() {
            kept.huge_pages.clone_from(&limits.huge_pages);
        }
        Ok(())
    }

    fn children(&self, path: &Path) -> Result<Vec<String>, CgroupError> {
        let state = self.enter("children", path)?;
        let below = state.limits.keys().filter(|key| key.parent() == Some(path));
        Ok(below.filter_map(|key| Some(key.file_name()?.to_str()?.to_owned())).collect())
    }

    fn pids(&self, path: &Path) -> Result<Vec<i32>, CgroupError> {
        let state = self.enter("pids", path)?;
        let below = state.pids.iter().filter(|(key, _)| key.starts_with(path));
        Ok(below.flat_map(|(_, pids)| pids.iter().copied()).collect())
    }

    fn kill(&self, path: &Path) -> Result<(), CgroupError> {
        let mut state = self.enter("kill", path)?;
        if state.stubborn_kills > 0 {
            state.stubborn_kills -= 1;
        } else {
            state.pids.retain(|key, _| !key.starts_with(path));
        }
        Ok(())
    }

    fn remove(&self, path: &Path) -> Result<(), CgroupError> {
        let mut state = self.enter("remove", path)?;
        if state.pids.iter().any(|(key, pids)| key.starts_with(path) && !pids.is_empty()) {
            let source = io::ErrorKind::ResourceBusy.into();
            return Err(CgroupError::Io {
                action: "remove",
                path: path.display().to_string(),
                source,
            });
        }
        state.limits.retain(|key, _| !key.starts_with(path));
        Ok(())
    }

    fn version(&self) -> u8 {
        2
    }
}

/// Mounts in memory.
#[derive(Debug, Default)]
pub struct FakeMounter {
    state: Mutex<MounterState>,
    let_go: Condvar,
}

#[derive(Debug, Default)]
struct MounterState {
    mounts: Vec<MountEntry>,
    /// Device and inode of what is bound at a path.
    shown: BTreeMap<PathBuf, (u64, u64)>,
    /// Calls by name and path that do not return.
    hanging: BTreeSet<(&'static str, PathBuf)>,
    errors: BTreeMap<&'static str, VecDeque<io::ErrorKind>>,
    calls: Vec<String>,
}

impl FakeMounter {
    /// The next call of this name (`mount_tmpfs`, `unmount`, `list`, `make_shared`) fails so.
    pub fn fail_next(&self, call: &'static str, kind: io::ErrorKind) {
        self.state.lock().unwrap().errors.entry(call).or_default().push_back(kind);
    }

    /// From now on the call of this name for this path does not return, until [`Self::let_go`].
    pub fn hang(&self, call: &'static str, path: &Path) {
        self.state.lock().unwrap().hanging.insert((call, path.to_owned()));
    }

    /// All calls that hang go on.
    pub fn let_go(&self) {
        self.state.lock().unwrap().hanging.clear();
        self.let_go.notify_all();
    }

    pub fn add_mount(&self, target: &str, fs_type: &str) {
        let entry = MountEntry {
            target: target.into(),
            fs_type: fs_type.to_owned(),
            source: fs_type.to_owned(),
            shared: false,
        };
        self.state.lock().unwrap().mounts.push(entry);
    }

    /// Whether a call of this name was made for this path, hanging or not.
    pub fn has_called(&self, call: &str, path: &Path) -> bool {
        let line = format!("{call} {}", path.display());
        self.state.lock().unwrap().calls.contains(&line)
    }

    /// Calls as `name path`, oldest first; empties the log.
    pub fn take_calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().calls)
    }

    fn enter(
        &self,
        call: &'static str,
        path: &Path,
    ) -> Result<std::sync::MutexGuard<'_, MounterState>, MountError> {
        let mut state = self.state.lock().unwrap();
        state.calls.push(format!("{call} {}", path.display()));
        while state.hanging.contains(&(call, path.to_owned())) {
            state = self.let_go.wait(state).unwrap();
        }
        let queued = state.errors.get_mut(call).and_then(VecDeque::pop_front);
        match queued {
            Some(kind) => {
                Err(MountError { action: call, path: path.to_owned(), source: kind.into() })
            }
            None => Ok(state),
        }
    }
}

impl Mounter for FakeMounter {
    fn mount_tmpfs(&self, target: &Path, size_bytes: Option<u64>) -> Result<(), MountError> {
        let mut state = self.enter("mount_tmpfs", target)?;
        let source =
            size_bytes.map_or_else(|| "tmpfs".to_owned(), |size| format!("tmpfs size={size}"));
        state.mounts.push(MountEntry {
            target: target.to_owned(),
            fs_type: "tmpfs".to_owned(),
            source,
            shared: false,
        });
        Ok(())
    }

    fn bind_open(&self, source: BorrowedFd<'_>, target: &Path) -> Result<(), MountError> {
        let mut state = self.enter("bind_open", target)?;
        state.shown.insert(target.to_owned(), identity(source));
        state.mounts.push(MountEntry {
            target: target.to_owned(),
            fs_type: "none".to_owned(),
            source: "bound".to_owned(),
            shared: false,
        });
        Ok(())
    }

    fn mount_huge_pages(
        &self,
        target: &Path,
        page_bytes: u64,
        size_bytes: Option<u64>,
    ) -> Result<(), MountError> {
        let mut state = self.enter("mount_huge_pages", target)?;
        state.mounts.push(MountEntry {
            target: target.to_owned(),
            fs_type: "hugetlbfs".to_owned(),
            source: format!("pagesize={page_bytes} size={size_bytes:?}"),
            shared: false,
        });
        Ok(())
    }

    fn shows(&self, target: &Path, source: BorrowedFd<'_>) -> bool {
        self.state.lock().unwrap().shown.get(target) == Some(&identity(source))
    }

    fn bind_directory(&self, source: &Path, target: &Path) -> Result<(), MountError> {
        let mut state = self.enter("bind_directory", target)?;
        state.mounts.push(MountEntry {
            target: target.to_owned(),
            fs_type: "none".to_owned(),
            source: source.display().to_string(),
            shared: false,
        });
        Ok(())
    }

    fn restrict(&self, target: &Path, options: &[MountOption]) -> Result<(), MountError> {
        self.enter("restrict", &target.join(format!("{options:?}"))).map(drop)
    }

    fn unmount(&self, target: &Path) -> Result<(), MountError> {
        let mut state = self.enter("unmount", target)?;
        state.shown.remove(target);
        if let Some(at) = state.mounts.iter().rposition(|mount| mount.target == target) {
            state.mounts.remove(at);
        }
        Ok(())
    }

    fn list(&self, root: &Path) -> Result<Vec<MountEntry>, MountError> {
        let state = self.enter("list", root)?;
        Ok(state.mounts.iter().filter(|mount| mount.target.starts_with(root)).cloned().collect())
    }

    fn make_shared(&self, dir: &Path) -> Result<(), MountError> {
        let mut state = self.enter("make_shared", dir)?;
        match state.mounts.iter_mut().find(|mount| mount.target == dir) {
            Some(mount) => mount.shared = true,
            None => state.mounts.push(MountEntry {
                target: dir.to_owned(),
                fs_type: "none".to_owned(),
                source: "none".to_owned(),
                shared: true,
            }),
        }
        Ok(())
    }
}

/// Device and inode of an open file.
fn identity(file: BorrowedFd<'_>) -> (u64, u64) {
    let held: OwnedFd = file.try_clone_to_owned().unwrap();
    let metadata = std::fs::File::from(held).metadata().unwrap();
    (metadata.dev(), metadata.ino())
}
