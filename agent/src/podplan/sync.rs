//! Pure. The plan of a pod that is to run.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as api;

use super::containers::{self, Entry, Need};
use super::ephemeral::ephemeral;
use super::init::{self, Preparation, Stage};
use super::look::{Look, may_run};
use super::sandbox::{self, SandboxVerdict};
use super::terminate::{Ending, end_containers};
use super::{Observation, PodPlan, SandboxStep, Slow, StartContainer, Step, StopCause, Verdict};
use crate::model::{Container, ContainerKind, ContainerState, Pod};
use crate::podworker::EndCause;
use crate::prober::ProbeKind;

/// How soon a pod that waits for the network is looked at again (kubelet v1.36, 1 s).
const NETWORK_RETRY: SignedDuration = SignedDuration::from_secs(1);

pub(super) fn plan(observation: &Observation, pod: &Pod) -> PodPlan {
    let mut plan = PodPlan::default();
    if let Some(deadline) = active_deadline(observation, pod) {
        if deadline <= observation.now {
            plan.verdict = Verdict::End(EndCause::DeadlineExceeded);
            return plan;
        }
        plan.wake_at(deadline);
    }
    let look = Look::new(observation, pod);
    let prepared = init::prepare(look);
    let regular = regular(look);
    if prepared.stage == Stage::Failed || regular.iter().all(|entry| entry.need == Need::Done) {
        // A start that is under way may be one that nobody has seen yet.
        if !observation.in_flight.has(Slow::BringUp) {
            plan.verdict = Verdict::End(EndCause::Completed);
        }
        return plan;
    }
    let entries = in_order(look, prepared, regular);
    note_waiting(&mut plan, observation, &entries);
    let verdict = sandbox::judge(pod, &observation.runtime);
    let running = || observation.runtime.containers.iter().filter(|c| may_run(c));
    match verdict {
        SandboxVerdict::Serves(_) => {
            let is_kept = |container: &&Container| entries.iter().any(|e| e.keeps(container));
            let unwanted = running().filter(|container| !is_kept(container));
            let endings = unwanted.map(|container| unwanted_ending(look, container));
            end_containers(&mut plan, observation, endings);
            if !observation.in_flight.has(Slow::BringUp) {
                if !rests(&mut plan, observation, &Step::Volumes) {
                    plan.start = starts(&entries);
                }
                prune(&mut plan, observation);
            }
        }
        SandboxVerdict::Replace { .. } if observation.in_flight.has(Slow::BringUp) => {}
        SandboxVerdict::Replace { .. } if running().next().is_some() => {
            let kill_at = later(observation.now, pod.grace_seconds());
            let all = running();
            let endings =
                all.map(|container| Ending::new(container, StopCause::SandboxChanged, kill_at));
            end_containers(&mut plan, observation, endings);
        }
        SandboxVerdict::Replace { attempt } => {
            replace_sandbox(&mut plan, observation, pod, attempt, &entries);
        }
    }
    plan
}

/// When the pod has been active long enough; `None` without `activeDeadlineSeconds` or before the
/// pod's start was published.
fn active_deadline(observation: &Observation, pod: &Pod) -> Option<Timestamp> {
    let seconds = pod.spec().active_deadline_seconds?;
    let start = observation.previous.start_time.as_ref()?.0;
    Some(start.saturating_add(SignedDuration::from_secs(seconds)).unwrap_or(Timestamp::MAX))
}

fn regular(look: Look<'_>) -> Vec<Entry<'_>> {
    let kind = ContainerKind::Regular;
    let specs = look.pod.spec().containers.iter();
    specs.map(|spec| Entry::new(kind, spec, containers::need(look, kind, spec))).collect()
}

/// All containers in the order they are started. A regular container is not due before the pod is
/// prepared, and not while the postStart hook of one before it runs or is still to run.
fn in_order<'a>(
    look: Look<'a>,
    prepared: Preparation<'a>,
    regular: Vec<Entry<'a>>,
) -> Vec<Entry<'a>> {
    let mut open = prepared.stage == Stage::Ready;
    let mut entries: Vec<Entry<'a>> = ephemeral(look).chain(prepared.entries).collect();
    for mut entry in regular {
        let starts = matches!(entry.need, Need::Start(_));
        if !open && matches!(entry.need, Need::Start(_) | Need::Later(_)) {
            entry.need = Need::NotDue;
        }
        let has_hook = starts && has_post_start(entry.spec);
        open = open && !has_hook && !look.is_in_post_start(&entry.spec.name);
        entries.push(entry);
    }
    entries
}

fn has_post_start(spec: &api::Container) -> bool {
    spec.lifecycle.as_ref().is_some_and(|hooks| hooks.post_start.is_some())
}

/// What is published of containers that do not run. One that is being tried again keeps the reason
/// of its last failure until it has started.
fn note_waiting(plan: &mut PodPlan, observation: &Observation, entries: &[Entry<'_>]) {
    for entry in entries {
        match &entry.need {
            Need::Later(held) => {
                if let Some(until) = held.until {
                    plan.wake_at(until);
                }
                plan.waiting.push(held.clone());
            }
            Need::Start(_) | Need::NotDue | Need::StopFirst => {
                plan.waiting.extend(observation.holds.starts.get(&entry.spec.name).cloned());
            }
            Need::Keep(_) | Need::Done => {}
        }
    }
}

/// Why a running container that is not kept is ended, and when SIGKILL falls due.
fn unwanted_ending<'a>(look: Look<'_>, container: &'a Container) -> Ending<'a> {
    let failed = look.observation.probes.fatal(container);
    let pods = look.pod.grace_seconds();
    let (cause, grace) = match (&container.state, failed) {
        (ContainerState::Unknown, _) => (StopCause::StateUnknown, pods),
        _ if look.serving != Some(&container.sandbox) => (StopCause::SandboxChanged, pods),
        _ if look.observation.holds.hook_failed.contains(&container.id) => {
            (StopCause::PostStartFailed, pods)
        }
        (_, Some(kind)) => {
            let own = probe_grace(look.pod, &container.name, kind);
            (StopCause::ProbeFailed(kind), own.unwrap_or(pods))
        }
        _ => (StopCause::DefinitionChanged, pods),
    };
    Ending::new(container, cause, later(look.now(), grace))
}

/// `terminationGracePeriodSeconds` of the probe itself.
fn probe_grace(pod: &Pod, container: &str, kind: ProbeKind) -> Option<u64> {
    let (_, spec) = pod.container(container)?;
    let probe = match kind {
        ProbeKind::Startup => &spec.startup_probe,
        ProbeKind::Readiness => &spec.readiness_probe,
        ProbeKind::Liveness => &spec.liveness_probe,
    };
    let seconds = probe.as_ref()?.termination_grace_period_seconds?;
    u64::try_from(seconds).ok()
}

fn later(now: Timestamp, seconds: u64) -> Timestamp {
    let pause = SignedDuration::try_from(Duration::from_secs(seconds));
    now.saturating_add(pause.unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

fn starts(entries: &[Entry<'_>]) -> Vec<StartContainer> {
    let start = |entry: &Entry<'_>| match &entry.need {
        Need::Start(start) => Some(StartContainer {
            name: entry.spec.name.clone(),
            kind: entry.kind,
            attempt: start.attempt,
            wait_after: start.wait_after,
            created: start.created.cloned(),
            target: start.target.cloned(),
        }),
        _ => None,
    };
    entries.iter().filter_map(start).collect()
}

/// A new sandbox with the containers that are due. None is made while the network is down, and
/// none for a pod with nothing left to run, which the caller has seen to.
fn replace_sandbox(
    plan: &mut PodPlan,
    observation: &Observation,
    pod: &Pod,
    attempt: u32,
    entries: &[Entry<'_>],
) {
    if rests(plan, observation, &Step::Sandbox) || rests(plan, observation, &Step::Volumes) {
        return;
    }
    if let Some(message) = observation.network_not_ready.as_ref().filter(|_| !pod.host_network()) {
        plan.network_not_ready = Some(message.clone());
        plan.wake_at(observation.now.saturating_add(NETWORK_RETRY).unwrap_or(Timestamp::MAX));
        return;
    }
    let stop_first = sandbox::ready_sandboxes(&observation.runtime);
    plan.sandbox = SandboxStep::Create { attempt, stop_first };
    plan.start = starts(entries);
}

fn prune(plan: &mut PodPlan, observation: &Observation) {
    if observation.in_flight.has(Slow::Removal) {
        return;
    }
    let remove = containers::superseded(&observation.runtime, observation.rules.kept_dead);
    let remove_sandboxes = sandbox::empty_replaced(&observation.runtime);
    if remove.is_empty() && remove_sandboxes.is_empty() {
        return;
    }
    if rests(plan, observation, &Step::Removal) {
        return;
    }
    plan.remove = remove;
    plan.remove_sandboxes = remove_sandboxes;
}

/// Whether the step has failed lately and waits; then the plan wakes at the end of its pause.
fn rests(plan: &mut PodPlan, observation: &Observation, step: &Step) -> bool {
    let until = observation.holds.rests_until(step, observation.now);
    if let Some(until) = until {
        plan.wake_at(until);
    }
    until.is_some()
}
