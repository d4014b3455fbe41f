//! The only one that reads figures, for all who ask.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::gather::{FromRuntime, Gathering, ask_runtime};
use super::handle::{QUEUE, Request, StatsError, StatsHandle};
use super::rates::Rates;
use super::types::{Extent, MachineFacts, Snapshot, VolumeSamples};
use super::volumes::look_at_volumes;
use crate::boundary::{Cgroups, Machine, RuntimeUsage, Usage};
use crate::cm::names::CgroupNames;
use crate::model::{Pod, RuntimePods};
use crate::podworker::WallClock;
use crate::timer::sleep_until;
use crate::volumes::MountedClaims;

#[cfg(test)]
mod tests;

/// A snapshot serves for this long, and is followed by the next while somebody asks (kubelet v1.36,
/// housekeeping interval of cAdvisor).
const FRESH: Duration = Duration::from_secs(10);
/// Who has asked within this time is expected to ask again (kubelet v1.36, cAdvisor's cache).
const REMEMBERED: Duration = Duration::from_secs(120);
/// How long the first snapshot waits for the volumes; most are small.
const VOLUMES_PATIENCE: Duration = Duration::from_secs(2);

/// The pods as they are seen now.
#[derive(Clone, Default)]
pub struct SeenPods {
    /// Those of the sources, and those that are being ended.
    pub known: Vec<Pod>,
    /// What the runtime holds.
    pub runtime: Arc<RuntimePods>,
    /// The claims that are mounted for them.
    pub claims: MountedClaims,
}

/// What figures are read from.
pub struct StatsParts {
    pub facts: Arc<MachineFacts>,
    pub pods: Box<dyn Fn() -> SeenPods + Send + Sync>,
    pub usage: Arc<dyn Usage>,
    pub cgroups: Arc<dyn Cgroups>,
    pub machine: Arc<dyn Machine>,
    pub runtime: Arc<dyn RuntimeUsage>,
    pub names: CgroupNames,
    pub root_dir: PathBuf,
    pub pod_logs_dir: PathBuf,
    pub runtime_endpoint: String,
    /// Volumes are looked at no more often; `None` is never.
    pub volumes_period: Option<Duration>,
    pub clock: WallClock,
}

/// When somebody last asked for what.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    anything: Option<Instant>,
    storage: Option<Instant>,
    processes: Option<Instant>,
}

impl Asked {
    fn note(&mut self, extent: Extent) {
        let now = Some(Instant::now());
        self.anything = now;
        if extent.storage {
            self.storage = now;
        }
        if extent.processes {
            self.processes = now;
        }
    }

    /// What is wanted now; `None` when nobody has asked lately.
    fn extent(&self) -> Option<Extent> {
        let lately = |at: Option<Instant>| at.is_some_and(|at| at.elapsed() < REMEMBERED);
        let extent = Extent { storage: lately(self.storage), processes: lately(self.processes) };
        lately(self.anything).then_some(extent)
    }
}

/// The loop; see [`StatsTask::run`].
pub struct StatsTask {
    parts: Arc<StatsParts>,
    requests: mpsc::Receiver<Request>,
    asked: Asked,
    last: Option<(Instant, Arc<Snapshot>)>,
    rates: Rates,
    volumes: Arc<VolumeSamples>,
    volumes_at: Option<Instant>,
    looking: Option<JoinHandle<VolumeSamples>>,
    runtime_failed: bool,
}

impl StatsTask {
    pub fn new(parts: StatsParts) -> (StatsHandle, Self) {
        let (sender, requests) = mpsc::channel(QUEUE);
        let task = Self {
            parts: Arc::new(parts),
            requests,
            asked: Asked::default(),
            last: None,
            rates: Rates::default(),
            volumes: Arc::default(),
            volumes_at: None,
            looking: None,
            runtime_failed: false,
        };
        (StatsHandle { requests: sender }, task)
    }

    /// Answers readers, and takes snapshots as long as they come. Returns when all handles are
    /// gone.
    pub async fn run(mut self) {
        loop {
            let due = self.last.as_ref().map(|(taken, _)| *taken + FRESH);
            // Every arm waits on a queue or a timer and loses nothing when another one wins.
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.handle_request(request).await,
                    None => return,
                },
                () = sleep_until(due) => self.go_on().await,
            }
        }
    }

    async fn handle_request(&mut self, request: Request) {
        self.asked.note(request.extent);
        let fresh = self.last.as_ref().filter(|(taken, snapshot)| {
            taken.elapsed() < FRESH && snapshot.extent.covers(request.extent)
        });
        let snapshot = match fresh {
            Some((_, snapshot)) => Arc::clone(snapshot),
            None => self.take(request.extent).await,
        };
        let answer =
            if snapshot.node.measured.is_some() { Ok(snapshot) } else { Err(StatsError::Root) };
        // A reader that has gone wants no answer.
        let _ = request.answer.send(answer);
    }

    /// The next snapshot for those who asked lately; forgets all when nobody did.
    async fn go_on(&mut self) {
        if let Some(extent) = self.asked.extent() {
            self.take(extent).await;
            return;
        }
        self.last = None;
        self.rates = Rates::default();
        self.volumes = Arc::default();
        self.volumes_at = None;
    }

    async fn take(&mut self, extent: Extent) -> Arc<Snapshot> {
        let extent = extent.with(self.asked.extent().unwrap_or_default());
        let mut told = FromRuntime::default();
        if extent.storage {
            told = ask_runtime(&self.parts).await;
            self.tell_trouble(&told);
            self.look_at_volumes().await;
        }
        let gathering = Gathering {
            parts: Arc::clone(&self.parts),
            extent,
            told,
            volumes: Arc::clone(&self.volumes),
            before: std::mem::take(&mut self.rates),
            after: Rates::default(),
            file_systems: HashMap::new(),
        };
        let (snapshot, rates) = blocking(move || gathering.snapshot()).await;
        self.rates = rates;
        let snapshot = Arc::new(snapshot);
        self.last = Some((Instant::now(), Arc::clone(&snapshot)));
        snapshot
    }

    fn tell_trouble(&mut self, told: &FromRuntime) {
        let failed_before = std::mem::replace(&mut self.runtime_failed, told.trouble.is_some());
        if let Some(error) = told.trouble.as_ref().filter(|_| !failed_before) {
            tracing::warn!(%error, "figures of images and writable layers are left out");
        }
    }

    /// Takes over what was seen of the volumes, and has them looked at again when it is time. One
    /// look at a time: a large volume makes the others old, and nothing more.
    async fn look_at_volumes(&mut self) {
        let Some(period) = self.parts.volumes_period else { return };
        let due = self.volumes_at.is_none_or(|at| at.elapsed() >= period);
        if due && self.looking.is_none() {
            let parts = Arc::clone(&self.parts);
            self.looking = Some(tokio::task::spawn_blocking(move || {
                let seen = (parts.pods)();
                let pods = (seen.known.as_slice(), &seen.claims);
                look_at_volumes(parts.usage.as_ref(), &parts.root_dir, pods, parts.clock.as_ref())
            }));
        }
        let Some(looking) = &mut self.looking else { return };
        let patience = if self.volumes_at.is_none() { VOLUMES_PATIENCE } else { Duration::ZERO };
        if let Ok(seen) = timeout(patience, looking).await {
            self.looking = None;
            self.volumes_at = Some(Instant::now());
            self.volumes = Arc::new(seen.unwrap_or_else(|error| resume(error)));
        }
    }
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| resume(error))
}

/// A panic goes on where it was waited for; the only other way to fail is the end of the process.
fn resume(error: tokio::task::JoinError) -> ! {
    match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        Err(error) => panic!("work was given up: {error}"),
    }
}
