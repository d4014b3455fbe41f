//! One pod: wake, look, plan, act, report.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as api;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;

use super::operations::{Done, Operations, Progress};
use super::{Demand, EndCause, Lifecycle, Wish, WorkerContext};
use crate::model::{Pod, PodFullName, PodUid, RuntimePod};
use crate::podexec::{
    BringUp, ClearScope, SandboxUse, StartFailure, StepReport, back_off_event, kill_failed_event,
    network_event, sandbox_changed_event, step_event, stop_event,
};
use crate::podplan::{
    HeldBack, Holds, Observation, PodPlan, SandboxStep, Slow, StartContainer, Step, Verdict,
    plan_pod,
};
use crate::reason;
use crate::status::{self, StatusInput};

/// Pause before a failed step is tried again; a random half is added, so that pods that failed
/// together do not come back together (kubelet v1.36, `backOffPeriod` 10 s, jitter 0.5).
const ERROR_RETRY: Duration = Duration::from_secs(10);

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

/// Stages a pod can pass in one turn.
const STAGES: usize = 4;

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

/// What has been said in events already, so that it is said once.
#[derive(Default)]
struct Announced {
    back_offs: HashMap<String, Timestamp>,
    network: Option<String>,
    sandbox_attempt: u32,
    runtime_away: bool,
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
    operations: Operations,
    /// The last container of the bring-up in flight.
    last_start: Option<String>,
    late_look: Option<Instant>,
    announced: Announced,
    /// What the last clearing covered.
    cleared: Option<ClearScope>,
    jitter: RandomState,
    turns: u64,
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
        let settled = wish.pod.as_ref().is_some_and(has_ended);
        let mut worker = Self {
            operations: Operations::new(Arc::clone(&context)),
            context,
            uid: identity.0,
            full_name: identity.1,
            lines,
            wish,
            lifecycle: Lifecycle::Waiting,
            seen,
            runtime: None,
            stale: false,
            previous: Arc::new(status),
            settled,
            holds: Holds::default(),
            last_start: None,
            late_look: None,
            announced: Announced::default(),
            cleared: None,
            jitter: RandomState::new(),
            turns: 0,
        };
        worker.take_demand();
        worker
    }

    /// Works until nothing of the pod is left on the node and its source knows.
    pub async fn run(mut self) -> PodUid {
        self.note().await;
        loop {
            let next = self.turn().await;
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
            // All arms are cancel safe: watch, notify, the operations' own queue, a timer.
            tokio::select! {
                changed = self.lines.wishes.changed() => match changed {
                    Ok(()) => due = self.take_wish().await,
                    // The pool is gone, so the process is ending.
                    Err(_) => std::future::pending().await,
                },
                progress = self.operations.next() => due = self.take_progress(progress),
                () = self.lines.poke.notified() => due = !self.postpone_look(),
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
        }
        self.wish = wish;
        let stage = self.lifecycle.clone();
        self.take_demand();
        if self.lifecycle != stage {
            self.note().await;
        }
        respecified || !self.postpone_look()
    }

    fn take_demand(&mut self) {
        let now = (self.context.clock)();
        let ended_by_others = self.pod().is_some_and(has_ended);
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

    fn take_progress(&mut self, progress: Progress) -> bool {
        match progress {
            Progress::Report(report) => {
                self.take_report(&report);
                false
            }
            Progress::Done(done) => {
                self.take_done(done);
                self.stale = true;
                self.late_look = None;
                true
            }
        }
    }

    fn take_report(&mut self, report: &StepReport) {
        let now = (self.context.clock)();
        if let Some(event) = self.pod().and_then(|pod| step_event(pod, report, now)) {
            self.context.events.publish(event);
        }
        match report {
            StepReport::SandboxMade => self.rest(Step::Sandbox, SETTLE),
            StepReport::SandboxFailed { message } => {
                tracing::warn!(pod = %self.full_name, message, "cannot make the pod's sandbox");
                self.rest_after_error(Step::Sandbox);
            }
            StepReport::VolumesFailed { message } => {
                tracing::warn!(pod = %self.full_name, message, "cannot mount the pod's volumes");
                self.rest_after_error(Step::Volumes);
            }
            StepReport::Created { .. } => {}
            StepReport::Started { name, .. } => {
                self.holds.starts.remove(name);
                if self.last_start.as_ref() != Some(name) {
                    self.late_look.get_or_insert_with(|| Instant::now() + LATE_LOOK);
                }
            }
            StepReport::StartFailed(failure) => {
                let held = HeldBack {
                    name: failure.name.clone(),
                    reason: failure.reason,
                    message: failure.message.clone(),
                    until: Some(self.retry_of(failure, now)),
                };
                self.holds.starts.insert(failure.name.clone(), held);
                self.late_look.get_or_insert_with(|| Instant::now() + LATE_LOOK);
            }
        }
    }

    fn retry_of(&self, failure: &StartFailure, now: Timestamp) -> Timestamp {
        match failure.retry_at {
            Some(at) if PULL_FAILURES.contains(&failure.reason) => at.min(later(now, PULL_LOOK)),
            Some(at) => at,
            None => later(now, self.jittered(ERROR_RETRY)),
        }
    }

    fn take_done(&mut self, done: Done) {
        match done {
            Done::BringUp => self.last_start = None,
            Done::Stop { id, result } => {
                self.kill_result(result.as_ref().err());
                self.rest_after_error(Step::Stop(id));
            }
            Done::StopSandbox(result) => {
                self.kill_result(result.as_ref().err());
                self.rest_after(Step::StopSandbox, result.is_ok());
            }
            Done::Removal(result) => {
                if let Err(error) = &result {
                    tracing::warn!(pod = %self.full_name, %error, "cannot remove dead containers");
                }
                self.rest_after(Step::Removal, result.is_ok());
            }
            Done::Clearing { scope, result } => match result {
                Ok(()) => self.cleared = Some(scope),
                Err(error) => {
                    let cause = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(pod = %self.full_name, %error, cause, "cannot clear the pod");
                    self.rest_after_error(Step::Clearing);
                }
            },
        }
    }

    fn kill_result(&self, error: Option<&crate::boundary::RuntimeError>) {
        let Some(error) = error else { return };
        tracing::warn!(pod = %self.full_name, %error, "cannot end a part of the pod");
        if let Some(pod) = self.pod() {
            let event = kill_failed_event(pod, &error.to_string(), (self.context.clock)());
            self.context.events.publish(event);
        }
    }

    /// Looks, plans and starts what is to be done. Returns when the next turn is due at the
    /// latest.
    async fn turn(&mut self) -> Instant {
        self.turns += 1;
        for _ in 0..STAGES {
            let Some(runtime) = self.look().await else {
                return Instant::now() + self.jittered(ERROR_RETRY);
            };
            let observation = self.observe(runtime);
            let mut plan = plan_pod(&observation);
            match std::mem::take(&mut plan.verdict) {
                Verdict::Continue => {}
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
            self.announce(&plan, observation.now);
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
        if self.stale || (self.runtime.is_none() && self.wish.pod.is_none()) {
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
        self.adopt_foreign_conditions();
        Observation {
            pod: self.wish.pod.clone(),
            lifecycle: self.lifecycle.clone(),
            runtime,
            previous: Arc::clone(&self.previous),
            in_flight: self.operations.in_flight().clone(),
            holds: self.holds.clone(),
            network_not_ready: self.context.node.borrow().network_problem.clone(),
            rules: self.context.rules,
            now,
        }
    }

    /// Conditions that others write are taken as the API shows them.
    fn adopt_foreign_conditions(&mut self) {
        let shown = self.wish.pod.as_ref().and_then(Pod::api_status);
        let Some(shown) = shown.and_then(|status| status.conditions.as_ref()) else { return };
        let is_foreign = |condition: &&api::PodCondition| {
            !status::OWNED_CONDITIONS.contains(&condition.type_.as_str())
        };
        let foreign: Vec<_> = shown.iter().filter(is_foreign).cloned().collect();
        let mine = self.previous.conditions.iter().flatten().filter(|c| !is_foreign(c)).cloned();
        let all: Vec<_> = mine.chain(foreign).collect();
        if self.previous.conditions.as_ref() != Some(&all) {
            Arc::make_mut(&mut self.previous).conditions = Some(all);
        }
    }

    async fn end(&mut self, cause: EndCause) {
        let grace = Duration::from_secs(self.pod().map_or(0, Pod::grace_seconds));
        let now = (self.context.clock)();
        self.operations.call_off_bring_up();
        self.move_to(|stage| stage.terminate(cause, grace, now)).await;
    }

    async fn move_to(&mut self, step: impl FnOnce(Lifecycle) -> Lifecycle) {
        let stage = std::mem::replace(&mut self.lifecycle, Lifecycle::Waiting);
        self.lifecycle = step(stage);
        self.note().await;
    }

    async fn note(&self) {
        tracing::debug!(pod = %self.full_name, stage = ?self.lifecycle, "pod is at stage");
        let note = Note { uid: self.uid.clone(), lifecycle: self.lifecycle.clone() };
        // The receiver is gone only when the process is ending.
        let _ = self.lines.notes.send(note).await;
    }

    async fn publish(&mut self, observation: &Observation, plan: &PodPlan) {
        let vanished = matches!(self.wish.demand, Demand::Vanish { .. });
        let Some(pod) = self.wish.pod.clone().filter(|_| !self.settled && !vanished) else {
            return;
        };
        let host_ips = self.context.node.borrow().ips.clone();
        let status = status::generate(&StatusInput {
            pod: &pod,
            lifecycle: &observation.lifecycle,
            runtime: &observation.runtime,
            waiting: &plan.waiting,
            previous: &observation.previous,
            host_ips: &host_ips,
            now: observation.now,
        });
        self.previous = Arc::new(status.clone());
        self.context.status.publish(&pod, status).await;
    }

    fn announce(&mut self, plan: &PodPlan, now: Timestamp) {
        let Some(pod) = self.wish.pod.clone() else { return };
        for held in plan.waiting.iter().filter(|h| h.reason == reason::CRASH_LOOP_BACK_OFF) {
            let Some(until) = held.until else { continue };
            if self.announced.back_offs.insert(held.name.clone(), until) != Some(until) {
                self.context.events.publish(back_off_event(&pod, &held.name, now));
            }
        }
        if let SandboxStep::Create { attempt, .. } = plan.sandbox
            && attempt > self.announced.sandbox_attempt
        {
            self.announced.sandbox_attempt = attempt;
            self.context.events.publish(sandbox_changed_event(&pod, now));
        }
        if self.announced.network != plan.network_not_ready {
            if let Some(message) = &plan.network_not_ready {
                self.context.events.publish(network_event(&pod, message, now));
            }
            self.announced.network.clone_from(&plan.network_not_ready);
        }
    }

    fn carry_out(&mut self, plan: PodPlan, observation: &Observation) {
        for stop in &plan.stop {
            if let Some(pod) = self.pod() {
                self.context.events.publish(stop_event(pod, stop, observation.now));
            }
            self.operations.stop(stop, observation.now);
        }
        let sandbox = match plan.sandbox {
            SandboxStep::Stop { sandboxes } => return self.operations.stop_sandboxes(sandboxes),
            SandboxStep::Create { attempt, stop_first } => {
                Some(SandboxUse::Make { attempt, stop_first })
            }
            SandboxStep::Keep if plan.start.is_empty() => None,
            SandboxStep::Keep => {
                observation.runtime.newest_sandbox().cloned().map(SandboxUse::Existing)
            }
        };
        if let Some(sandbox) = sandbox {
            self.bring_up(sandbox, plan.start);
        }
        if !plan.remove.is_empty() || !plan.remove_sandboxes.is_empty() {
            let held = &observation.runtime;
            let dead = held.containers.iter().filter(|c| plan.remove.contains(&c.id));
            let dead = dead.cloned().collect();
            self.operations.remove(Arc::clone(held), dead, plan.remove_sandboxes);
        }
    }

    fn bring_up(&mut self, sandbox: SandboxUse, start: Vec<StartContainer>) {
        let Some(pod) = self.wish.pod.clone() else { return };
        self.last_start = start.last().map(|start| start.name.clone());
        self.operations.bring_up(BringUp { pod, sandbox, start, seen: self.seen });
    }

    fn clear_scope(&self) -> ClearScope {
        match self.wish.demand.leaves_nothing() {
            true => ClearScope::Everything,
            false => ClearScope::KeepDead,
        }
    }

    /// Clears what an ended pod holds, once its final status is on its way.
    fn clear(&mut self, observation: &Observation) {
        let scope = self.clear_scope();
        let wanted = match self.lifecycle {
            Lifecycle::Terminated { .. } => true,
            Lifecycle::Finished { .. } => {
                scope == ClearScope::Everything
                    && (self.cleared != Some(scope) || !observation.runtime.is_empty())
            }
            _ => false,
        };
        if wanted && self.holds.rests_until(&Step::Clearing, observation.now).is_none() {
            self.operations.clear(Arc::clone(&observation.runtime), scope);
        }
    }

    /// Takes a clearing that succeeded into account; whether the stage moved on.
    async fn finish_clearing(&mut self) -> bool {
        let moved =
            self.cleared.is_some() && matches!(self.lifecycle, Lifecycle::Terminated { .. });
        if moved {
            self.move_to(Lifecycle::cleared).await;
        }
        moved
    }

    fn is_over(&self) -> bool {
        self.lifecycle.is_finished()
            && self.clear_scope() == ClearScope::Everything
            && self.cleared == Some(ClearScope::Everything)
            && !self.stale
            && self.operations.in_flight().is_empty()
            && self.runtime.as_ref().is_some_and(|held| held.is_empty())
    }

    async fn say_farewell(&self) {
        match (&self.wish.pod, &self.wish.demand) {
            (Some(pod), Demand::Delete { .. }) => self.context.status.finish(pod).await,
            _ => self.context.status.forget(&self.uid).await,
        }
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

    fn rest(&mut self, step: Step, pause: Duration) {
        let until = later((self.context.clock)(), pause);
        self.holds.steps.insert(step, until);
    }

    fn rest_after_error(&mut self, step: Step) {
        self.rest(step, self.jittered(ERROR_RETRY));
    }

    fn rest_after(&mut self, step: Step, succeeded: bool) {
        match succeeded {
            true => self.rest(step, SETTLE),
            false => self.rest_after_error(step),
        }
    }

    /// One to one and a half times `pause`, another share each turn.
    fn jittered(&self, pause: Duration) -> Duration {
        let share = self.jitter.hash_one(self.turns) % 500;
        pause + pause.mul_f64(f64::from(u32::try_from(share).unwrap_or(0)) / 1000.0)
    }
}

/// The API shows that the pod has come to its end.
pub(super) fn has_ended(pod: &Pod) -> bool {
    let phase = pod.api_status().and_then(|status| status.phase.as_deref());
    matches!(phase, Some("Succeeded" | "Failed"))
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    let pause = SignedDuration::try_from(pause).unwrap_or(SignedDuration::MAX);
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}
