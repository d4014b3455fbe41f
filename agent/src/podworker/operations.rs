//! Slow steps of one pod as child tasks, each started once.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as api;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::WorkerContext;
use crate::boundary::RuntimeError;
use crate::model::{Container, ContainerId, PodFullName, PodUid, RuntimePod, SandboxId};
use crate::podexec::{
    BringUp, ClearError, ClearScope, HookDone, HookError, HookTarget, StepReport,
};
use crate::podplan::{InFlight, PreStop, Slow, StopContainer};

/// Reports of one bring-up that wait for the worker, which takes them at once; a bring-up that
/// finds the queue full waits.
const REPORTS: usize = 16;

/// How a child task ended.
#[derive(Debug)]
pub(super) enum Done {
    BringUp,
    /// `kill_at` is when SIGKILL falls due.
    PreStop {
        id: ContainerId,
        name: String,
        kill_at: Timestamp,
        end: HookEnd,
    },
    Stop {
        id: ContainerId,
        result: Result<(), RuntimeError>,
    },
    StopSandbox(Result<(), RuntimeError>),
    Removal(Result<(), RuntimeError>),
    Clearing {
        scope: ClearScope,
        result: Result<(), ClearError>,
    },
}

/// How a preStop hook ended.
#[derive(Debug)]
pub(super) enum HookEnd {
    Done(HookDone),
    Failed(HookError),
    /// Its time was over; a sleep that is cut short has done what it could.
    CutOff {
        slept: bool,
    },
    /// The container has ended by itself, so that the hook is pointless.
    ContainerGone,
}

/// A preStop hook with all that it needs of a pod whose spec may be gone.
pub(super) struct PreStopWork {
    pub step: PreStop,
    /// `None` when the container turns out to have none.
    pub handler: Option<api::LifecycleHandler>,
    pub pod: (PodFullName, PodUid),
    pub ports: Vec<api::ContainerPort>,
    pub ip: Option<IpAddr>,
}

/// How long a hook may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HookLimit {
    Until(Instant),
    ContainerGone,
}

/// News from a child task.
#[derive(Debug)]
pub(super) enum Progress {
    Report(StepReport),
    Done(Done),
}

/// The child tasks of one worker.
pub(super) struct Operations {
    context: Arc<WorkerContext>,
    tasks: JoinSet<Done>,
    in_flight: InFlight,
    /// Stops per container; a shorter one runs beside the one it overtakes.
    stops: HashMap<ContainerId, usize>,
    /// Running preStop hooks.
    hooks: HashMap<ContainerId, watch::Sender<HookLimit>>,
    bring_up: CancellationToken,
    reporter: mpsc::Sender<StepReport>,
    reports: mpsc::Receiver<StepReport>,
}

impl Operations {
    pub fn new(context: Arc<WorkerContext>) -> Self {
        let (reporter, reports) = mpsc::channel(REPORTS);
        Self {
            context,
            tasks: JoinSet::new(),
            in_flight: InFlight::default(),
            stops: HashMap::new(),
            hooks: HashMap::new(),
            bring_up: CancellationToken::new(),
            reporter,
            reports,
        }
    }

    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// The next news; pending for ever while nothing is in flight. Cancel safe. All reports of a
    /// bring-up come before its end.
    pub async fn next(&mut self) -> Progress {
        // Both arms are cancel safe. The order matters: reports were sent before their task ended.
        tokio::select! {
            biased;
            Some(report) = self.reports.recv() => Progress::Report(report),
            Some(joined) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                let mut done = match joined {
                    Ok(done) => done,
                    // A bug in a step ends the worker and with it the process, which restarts
                    // with nothing in memory.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                };
                self.settle(&mut done);
                Progress::Done(done)
            }
            else => std::future::pending().await,
        }
    }

    fn settle(&mut self, done: &mut Done) {
        match done {
            Done::BringUp => self.in_flight.slow.remove(&Slow::BringUp),
            Done::PreStop { id, kill_at, .. } => {
                self.hooks.remove(id);
                let due = self.in_flight.pre_stop.remove(id);
                *kill_at = due.unwrap_or(*kill_at);
                due.is_some()
            }
            Done::StopSandbox(_) => self.in_flight.slow.remove(&Slow::StopSandbox),
            Done::Removal(_) => self.in_flight.slow.remove(&Slow::Removal),
            Done::Clearing { .. } => self.in_flight.slow.remove(&Slow::Clearing),
            Done::Stop { id, .. } => {
                let left = self.stops.get(id).map_or(0, |count| count.saturating_sub(1));
                if left == 0 {
                    self.stops.remove(id);
                    self.in_flight.stopping.remove(id).is_some()
                } else {
                    self.stops.insert(id.clone(), left);
                    true
                }
            }
        };
    }

    /// Starts a bring-up unless one is in flight.
    pub fn bring_up(&mut self, work: BringUp) {
        if !self.in_flight.slow.insert(Slow::BringUp) {
            return;
        }
        self.bring_up = CancellationToken::new();
        let (stop, reporter) = (self.bring_up.clone(), self.reporter.clone());
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            context.executor.bring_up(&work, &stop, &reporter).await;
            Done::BringUp
        });
    }

    /// Calls the bring-up off; it ends after the runtime call it is in.
    pub fn call_off_bring_up(&self) {
        self.bring_up.cancel();
    }

    /// The postStart hook of the container runs, or has ended; to users it has not started before.
    pub fn set_in_post_start(&mut self, name: &str, runs: bool) {
        match runs {
            true => self.in_flight.post_start.insert(name.to_owned()),
            false => self.in_flight.post_start.remove(name),
        };
    }

    /// No postStart hook runs any more but those of `failed`, whose containers still do.
    pub fn clear_post_start(&mut self, failed: &HashSet<&str>) {
        self.in_flight.post_start.retain(|name| failed.contains(name.as_str()));
    }

    /// Starts a preStop hook unless it runs. It ends at its kill time at the latest.
    pub fn pre_stop(&mut self, work: PreStopWork, now: Timestamp) {
        let (id, kill_at) = (work.step.id.clone(), work.step.kill_at);
        if self.hooks.contains_key(&id) {
            return;
        }
        let (limit, limits) = watch::channel(until(kill_at, now));
        self.hooks.insert(id.clone(), limit);
        self.in_flight.pre_stop.insert(id.clone(), kill_at);
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            let end = run_pre_stop(&context, &work, limits).await;
            Done::PreStop { id, name: work.step.name, kill_at, end }
        });
    }

    /// No hook may go on for longer than `kill_at`.
    pub fn shorten_hooks(&mut self, kill_at: Timestamp, now: Timestamp) {
        for (id, due) in &mut self.in_flight.pre_stop {
            if kill_at < *due
                && let Some(limit) = self.hooks.get(id)
            {
                *due = kill_at;
                limit.send_replace(until(kill_at, now));
            }
        }
    }

    /// Ends the hooks of containers that do not run any more.
    pub fn leave_hooks(&self, runs: impl Fn(&ContainerId) -> bool) {
        for (_, limit) in self.hooks.iter().filter(|(id, _)| !runs(id)) {
            limit.send_replace(HookLimit::ContainerGone);
        }
    }

    /// Starts a stop, also beside a longer one of the same container.
    pub fn stop(&mut self, stop: &StopContainer, now: Timestamp) {
        let grace = SignedDuration::try_from(stop.grace).unwrap_or(SignedDuration::MAX);
        let due = now.saturating_add(grace).unwrap_or(Timestamp::MAX);
        self.in_flight.stopping.insert(stop.id.clone(), due);
        *self.stops.entry(stop.id.clone()).or_default() += 1;
        let (id, grace) = (stop.id.clone(), stop.grace);
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            let result = context.executor.stop_container(&id, grace).await;
            Done::Stop { id, result }
        });
    }

    pub fn stop_sandboxes(&mut self, sandboxes: Vec<SandboxId>) {
        if !self.in_flight.slow.insert(Slow::StopSandbox) {
            return;
        }
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            Done::StopSandbox(context.executor.stop_sandboxes(&sandboxes).await)
        });
    }

    pub fn remove(
        &mut self,
        held: Arc<RuntimePod>,
        containers: Vec<Container>,
        sandboxes: Vec<SandboxId>,
    ) {
        if !self.in_flight.slow.insert(Slow::Removal) {
            return;
        }
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            let pod = (&held.full_name, &held.uid);
            Done::Removal(context.executor.remove(pod, &containers, &sandboxes).await)
        });
    }

    pub fn clear(&mut self, held: Arc<RuntimePod>, scope: ClearScope) {
        if !self.in_flight.slow.insert(Slow::Clearing) {
            return;
        }
        let context = Arc::clone(&self.context);
        self.tasks.spawn(async move {
            let result = context.executor.clear(&held, scope).await;
            Done::Clearing { scope, result }
        });
    }
}

fn until(kill_at: Timestamp, now: Timestamp) -> HookLimit {
    let left = Duration::try_from(kill_at.duration_since(now)).unwrap_or_default();
    HookLimit::Until(Instant::now() + left)
}

async fn run_pre_stop(
    context: &WorkerContext,
    work: &PreStopWork,
    mut limits: watch::Receiver<HookLimit>,
) -> HookEnd {
    let Some(handler) = &work.handler else { return HookEnd::Done(HookDone::default()) };
    let target = HookTarget {
        id: &work.step.id,
        name: &work.step.name,
        pod: (&work.pod.0, &work.pod.1),
        ports: &work.ports,
        ip: work.ip,
    };
    let mut hook = pin!(context.executor.run_hook(handler, target));
    loop {
        let HookLimit::Until(limit) = *limits.borrow_and_update() else {
            return HookEnd::ContainerGone;
        };
        // The hook is polled again after losing; a watch and a timer lose nothing.
        tokio::select! {
            biased;
            ended = &mut hook => return match ended {
                Ok(done) => HookEnd::Done(done),
                Err(error) => HookEnd::Failed(error),
            },
            // An error is the end of the worker.
            changed = limits.changed() => if changed.is_err() {
                return HookEnd::ContainerGone;
            },
            () = tokio::time::sleep_until(limit) => {
                return HookEnd::CutOff { slept: handler.sleep.is_some() };
            }
        }
    }
}
