//! One pod: wake, look, plan, act, report.

mod act;
mod measure;
mod outcome;
mod tell;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as api;
use tokio::sync::{Notify, broadcast, mpsc, watch};
use tokio::time::Instant;

use self::measure::Measure;
use super::operations::Operations;
use super::{EndCause, Lifecycle, Wish, WorkerContext};
use crate::metrics::SyncKind;
use crate::model::{ContainerId, Pod, PodFullName, PodUid, RuntimePod};
use crate::podexec::{ClearScope, Trouble, deadline_event};
use crate::podplan::{Holds, Observation, Slow, Step, Verdict, plan_pod};
use crate::prober::PodProber;
use crate::reason;

/// Pause before a failed step is tried again; a random half is added, so that pods that failed
/// together do not come back together (kubelet v1.36, `backOffPeriod` 10 s, jitter 0.5).
const ERROR_RETRY: Duration = Duration::from_secs(10);

/// First pause after volumes could not be made, doubling up to [`ERROR_RETRY`] (kubelet v1.36
/// begins with 500 ms as well): what is missing is often on its way.
const VOLUME_RETRY_FIRST: Duration = Duration::from_millis(500);

/// Pause after a step that succeeded but may not have had its effect, as a runtime in trouble
/// lets it happen. It keeps a worker from spinning.
const SETTLE: Duration = Duration::from_secs(1);

/// While containers are being started one after the other, what has happened so far is published
/// after this pause, so that a pod of several quick starts makes one status write.
const LATE_LOOK: Duration = Duration::from_millis(250);

/// Failures of a pull itself. The next try is asked for soon, and answered with the back-off that
/// is then in force, so that users see the wait and not only the failure.
const PULL_FAILURES: [&str; 3] =
    [reason::ERR_IMAGE_PULL, reason::REGISTRY_UNAVAILABLE, reason::SIGNATURE_VALIDATION_FAILED];

/// Pause between a failed pull and the question for its back-off.
const PULL_LOOK: Duration = Duration::from_secs(2);

/// Stages a pod can pass in one turn, each with a second look.
const STAGES: usize = 8;

/// A stage of life, told to the pool.
#[derive(Clone, Debug)]
pub(super) struct Note {
    pub uid: PodUid,
    pub lifecycle: Lifecycle,
}

/// How a worker hears from the pool and speaks to it.
pub(super) struct Lines {
    pub wishes: watch::Receiver<Wish>,
    /// The runtime cache shows something new of this pod.
    pub poke: Arc<Notify>,
    pub notes: mpsc::Sender<Note>,
}

/// What became of the objects of the pod: ConfigMaps, Secrets, its RuntimeClass.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Objects {
    Same,
    Changed,
}

/// What has been said in events already, so that it is said once.
#[derive(Default)]
struct Announced {
    back_offs: HashMap<String, Timestamp>,
    network: Option<String>,
    sandbox_attempt: u32,
    /// Containers that are being ended.
    kills: HashSet<ContainerId>,
    runtime_away: bool,
    /// What keeps all containers from being made, as published.
    troubles: BTreeMap<Trouble, String>,
    /// By container: why it could not be started last.
    failures: HashMap<String, String>,
}

pub(super) struct Worker {
    context: Arc<WorkerContext>,
    uid: PodUid,
    full_name: PodFullName,
    lines: Lines,
    wish: Wish,
    lifecycle: Lifecycle,
    /// When this process first saw the pod.
    seen: Timestamp,
    /// The runtime as last seen; `None` until it was seen.
    runtime: Option<Arc<RuntimePod>>,
    /// Something was done since `runtime` was read.
    stale: bool,
    previous: Arc<api::PodStatus>,
    /// The API showed a terminal phase from the start, so there is nothing to publish.
    settled: bool,
    holds: Holds,
    /// Failures to make the volumes since a container was last started.
    volume_failures: u32,
    operations: Operations,
    prober: PodProber,
    object_changes: broadcast::Receiver<PodUid>,
    /// Since the last bring-up began.
    objects: Objects,
    /// The last container of the bring-up in flight.
    last_start: Option<String>,
    late_look: Option<Instant>,
    announced: Announced,
    /// What the last clearing covered.
    cleared: Option<ClearScope>,
    jitter: RandomState,
    turns: u64,
    measure: Measure,
}

impl Worker {
    pub fn new(
        context: Arc<WorkerContext>,
        identity: (PodUid, PodFullName),
        mut lines: Lines,
    ) -> Self {
        let wish = lines.wishes.borrow_and_update().clone();
        let seen = (context.clock)();
        let status = wish.pod.as_ref().and_then(Pod::api_status).cloned().unwrap_or_default();
        let settled = wish.pod.as_ref().is_some_and(Pod::has_ended);
        // A pod that somebody has begun with may be missing in the cache only because it could
        // not be read yet.
        let stale = wish.pod.is_none() || status.start_time.is_some();
        let measure = Measure::new(wish.pod.as_ref(), &context.metrics);
        let mut worker = Self {
            operations: Operations::new(Arc::clone(&context)),
            prober: PodProber::new(Arc::clone(&context.prober)),
            object_changes: context.object_changes.subscribe(),
            objects: Objects::Same,
            context,
            uid: identity.0,
            full_name: identity.1,
            lines,
            wish,
            lifecycle: Lifecycle::Waiting,
            seen,
            runtime: None,
            stale,
            previous: Arc::new(status),
            settled,
            holds: Holds::default(),
            volume_failures: 0,
            last_start: None,
            late_look: None,
            announced: Announced::default(),
            cleared: None,
            jitter: RandomState::new(),
            turns: 0,
            measure,
        };
        worker.take_demand();
        worker
    }

    /// Works until nothing of the pod is left on the node and its source knows.
    pub async fn run(mut self) -> PodUid {
        self.note().await;
        loop {
            let began = Instant::now();
            let next = self.turn().await;
            self.measure_turn(began);
            if self.is_over() {
                self.say_farewell().await;
                return self.uid;
            }
            self.wait(next).await;
        }
    }

    /// Waits for anything that makes another turn worth while.
    async fn wait(&mut self, next: Instant) {
        let mut due = false;
        while !due {
            let timer = self.late_look.map_or(next, |late| late.min(next));
            // All arms are cancel safe: watches, notify, broadcast, the operations' own queue, a
            // timer.
            tokio::select! {
                changed = self.lines.wishes.changed() => match changed {
                    Ok(()) => due = self.take_wish().await,
                    // The pool is gone, so the process is ending.
                    Err(_) => std::future::pending().await,
                },
                progress = self.operations.next() => due = self.take_progress(progress),
                () = self.prober.changed() => due = true,
                () = self.lines.poke.notified() => due = !self.postpone_look(),
                () = concerns(&mut self.object_changes, &self.uid) => due = self.retry_config(),
                () = tokio::time::sleep_until(timer) => {
                    self.stale |= self.late_look.take().is_some();
                    due = true;
                }
            }
        }
    }

    /// Takes the newest wish; whether it calls for a turn at once.
    async fn take_wish(&mut self) -> bool {
        let wish = self.lines.wishes.borrow_and_update().clone();
        let spec = |wish: &Wish| wish.pod.as_ref().map(|pod| pod.spec().clone());
        let respecified = spec(&wish) != spec(&self.wish);
        if respecified {
            // What failed may have been mended.
            self.holds.starts.clear();
            self.measure.next = SyncKind::Update;
        }
        self.wish = wish;
        let stage = self.lifecycle.clone();
        self.take_demand();
        if self.lifecycle != stage {
            self.note().await;
        }
        respecified || !self.postpone_look()
    }

    /// An object of the pod has changed: what failed for want of it is tried again.
    /// Whether that calls for a turn at once.
    fn retry_config(&mut self) -> bool {
        self.objects = Objects::Changed;
        for held in self.holds.starts.values_mut() {
            if held.reason == reason::CREATE_CONTAINER_CONFIG_ERROR {
                held.until = None;
            }
        }
        self.holds.steps.remove(&Step::Volumes);
        // A sandbox that was made rests too, lest it be made twice.
        if self.announced.troubles.contains_key(&Trouble::Sandbox) {
            self.holds.steps.remove(&Step::Sandbox);
        }
        !self.postpone_look()
    }

    fn take_demand(&mut self) {
        let now = (self.context.clock)();
        let ended_by_others = self.pod().is_some_and(Pod::has_ended);
        let lifecycle = std::mem::replace(&mut self.lifecycle, Lifecycle::Waiting);
        self.lifecycle = match self.wish.demand.end() {
            Some((cause, grace)) => lifecycle.terminate(cause, grace, now),
            // We show a terminal phase only when nothing runs any more; one that comes earlier is
            // somebody else's verdict, which is final too.
            None if ended_by_others => {
                let grace = Duration::from_secs(self.pod().map_or(0, Pod::grace_seconds));
                lifecycle.terminate(EndCause::Completed, grace, now)
            }
            None => lifecycle.admitted(),
        };
        if self.lifecycle.end_cause().is_some() {
            self.operations.call_off_bring_up();
        }
    }

    /// While a bring-up is in flight its own effects show up as news; they are looked at together
    /// a little later. Whether that is the case.
    fn postpone_look(&mut self) -> bool {
        let postponed =
            self.operations.in_flight().has(Slow::BringUp) && self.lifecycle.end_cause().is_none();
        if postponed {
            self.late_look.get_or_insert_with(|| Instant::now() + LATE_LOOK);
        }
        postponed
    }

    /// Looks, plans and starts what is to be done. Returns when the next turn is due at the
    /// latest.
    async fn turn(&mut self) -> Instant {
        self.turns += 1;
        for _ in 0..STAGES {
            let fresh = self.stale;
            let Some(runtime) = self.look().await else {
                return Instant::now() + self.jittered(ERROR_RETRY);
            };
            let observation = self.observe(runtime);
            let mut plan = plan_pod(&observation);
            match std::mem::take(&mut plan.verdict) {
                Verdict::Continue => {}
                // There is no way back from here, so it takes more than a cached view.
                _ if !fresh => {
                    self.stale = true;
                    continue;
                }
                Verdict::End(cause) => {
                    self.end(cause).await;
                    continue;
                }
                Verdict::Stopped => {
                    self.move_to(Lifecycle::stopped).await;
                    continue;
                }
            }
            if self.lifecycle.end_cause().is_some() && self.finish_clearing().await {
                continue;
            }
            self.publish(&observation, &plan).await;
            self.announce(&observation, &plan);
            let next = plan.next_turn;
            self.carry_out(plan, &observation);
            self.clear(&observation);
            return self.due(next, observation.now);
        }
        Instant::now() + SETTLE
    }

    /// The runtime's view of the pod, not older than the last thing done; `None` while the runtime
    /// does not answer, when nothing is known.
    async fn look(&mut self) -> Option<Arc<RuntimePod>> {
        if self.stale {
            match self.context.pleg.refresh(&self.uid, &self.full_name).await {
                Ok(_) => self.stale = false,
                Err(error) => {
                    if !std::mem::replace(&mut self.announced.runtime_away, true) {
                        tracing::warn!(pod = %self.full_name, %error, "cannot see the pod");
                    }
                    return None;
                }
            }
            self.announced.runtime_away = false;
        }
        let empty = || RuntimePod::empty(self.uid.clone(), self.full_name.clone());
        let seen = self.context.pleg.cached(&self.uid).unwrap_or_else(|| Arc::new(empty()));
        self.runtime = Some(Arc::clone(&seen));
        Some(seen)
    }

    fn observe(&mut self, runtime: Arc<RuntimePod>) -> Observation {
        let now = (self.context.clock)();
        self.holds.steps.retain(|_, until| *until > now);
        let is_held = |id: &ContainerId| runtime.containers.iter().any(|c| c.id == *id);
        self.holds.replaced.retain(is_held);
        self.forget_ended(&runtime);
        self.adopt_foreign_conditions();
        let mut observation = Observation {
            pod: self.wish.pod.clone(),
            lifecycle: self.lifecycle.clone(),
            runtime,
            previous: Arc::clone(&self.previous),
            in_flight: self.operations.in_flight().clone(),
            holds: self.holds.clone(),
            probes: Arc::default(),
            network_not_ready: self.context.node.borrow().network_problem.clone(),
            rules: self.context.rules,
            now,
        };
        let node_ips = self.context.node.borrow().ips.clone();
        observation.probes = self.prober.aim(&observation, &node_ips);
        observation
    }

    async fn end(&mut self, cause: EndCause) {
        let grace = Duration::from_secs(self.pod().map_or(0, Pod::grace_seconds));
        let now = (self.context.clock)();
        if let (EndCause::DeadlineExceeded, Some(pod)) = (&cause, self.pod()) {
            self.context.events.publish(deadline_event(pod, now));
        }
        self.operations.call_off_bring_up();
        self.move_to(|stage| stage.terminate(cause, grace, now)).await;
    }

    async fn move_to(&mut self, step: impl FnOnce(Lifecycle) -> Lifecycle) {
        let stage = std::mem::replace(&mut self.lifecycle, Lifecycle::Waiting);
        self.lifecycle = step(stage);
        self.note().await;
    }

    fn is_over(&self) -> bool {
        self.lifecycle.is_finished()
            && self.clear_scope() == ClearScope::Everything
            && self.cleared == Some(ClearScope::Everything)
            && !self.stale
            && self.operations.in_flight().is_empty()
            && self.runtime.as_ref().is_some_and(|held| held.is_empty())
    }

    /// When the next turn is due: at the plan's own time, at the end of a pause, or at the safety
    /// tick of a pod that is not at rest.
    fn due(&self, planned: Option<Timestamp>, now: Timestamp) -> Instant {
        let clearing = self.holds.rests_until(&Step::Clearing, now);
        let earliest = [planned, clearing].into_iter().flatten().min();
        let tick = self.jittered(self.context.sync_period);
        let wait = earliest.map_or(tick, |at| {
            let wait = Duration::try_from(at.duration_since(now)).unwrap_or_default();
            // Timers are cut to the millisecond; a turn that is early would plan nothing.
            (wait + Duration::from_millis(1)).min(tick)
        });
        Instant::now() + wait
    }

    fn pod(&self) -> Option<&Pod> {
        self.wish.pod.as_ref()
    }

    /// One to one and a half times `pause`, another share each turn.
    fn jittered(&self, pause: Duration) -> Duration {
        let share = self.jitter.hash_one(self.turns) % 500;
        pause + pause.mul_f64(f64::from(u32::try_from(share).unwrap_or(0)) / 1000.0)
    }
}

/// Returns when an object of the pod has changed, or may have: a change can be missed. Cancel safe.
async fn concerns(changes: &mut broadcast::Receiver<PodUid>, pod: &PodUid) {
    loop {
        match changes.recv().await {
            Ok(uid) if uid != *pod => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            // The process is ending.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}
