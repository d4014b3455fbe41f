//! Slow steps of one pod as child tasks, each started once.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::WorkerContext;
use crate::boundary::RuntimeError;
use crate::model::{Container, ContainerId, RuntimePod, SandboxId};
use crate::podexec::{BringUp, ClearError, ClearScope, StepReport};
use crate::podplan::{InFlight, Slow, StopContainer};

/// Reports of one bring-up that wait for the worker, which takes them at once; a bring-up that
/// finds the queue full waits.
const REPORTS: usize = 16;

/// How a child task ended.
#[derive(Debug)]
pub(super) enum Done {
    BringUp,
    Stop { id: ContainerId, result: Result<(), RuntimeError> },
    StopSandbox(Result<(), RuntimeError>),
    Removal(Result<(), RuntimeError>),
    Clearing { scope: ClearScope, result: Result<(), ClearError> },
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
                let done = match joined {
                    Ok(done) => done,
                    // A bug in a step ends the worker and with it the process, which restarts
                    // with nothing in memory.
                    Err(error) => std::panic::resume_unwind(error.into_panic()),
                };
                self.settle(&done);
                Progress::Done(done)
            }
            else => std::future::pending().await,
        }
    }

    fn settle(&mut self, done: &Done) {
        match done {
            Done::BringUp => self.in_flight.slow.remove(&Slow::BringUp),
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
