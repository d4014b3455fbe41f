//! Pure. The plan of a pod that is to run.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::containers::{self, Need};
use super::sandbox::{self, SandboxVerdict};
use super::terminate::stop_steps;
use super::{
    Observation, PodPlan, SandboxStep, Slow, StartContainer, Step, StopCause, StopContainer,
    Verdict,
};
use crate::model::{Container, ContainerKind, ContainerState, Pod};
use crate::podworker::EndCause;

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
    let needs: Vec<(&str, Need<'_>)> = pod
        .spec()
        .containers
        .iter()
        .map(|spec| (spec.name.as_str(), containers::need(observation, pod, spec)))
        .collect();
    let running = || observation.runtime.containers.iter().filter(|c| containers::may_run(c));
    if needs.iter().all(|(_, need)| *need == Need::Done) && running().next().is_none() {
        if !observation.in_flight.has(Slow::BringUp) {
            plan.verdict = Verdict::End(EndCause::Completed);
        }
        return plan;
    }
    note_waiting(&mut plan, observation, &needs);
    let verdict = sandbox::judge(pod, &observation.runtime);
    match verdict {
        SandboxVerdict::Serves(_) => {
            let unwanted = running().filter(|container| !is_kept(container, &needs));
            stop(&mut plan, observation, pod, unwanted.map(|c| (c, unwanted_cause(c))));
            if !observation.in_flight.has(Slow::BringUp) {
                if !rests(&mut plan, observation, &Step::Volumes) {
                    plan.start = starts(&needs);
                }
                prune(&mut plan, observation);
            }
        }
        SandboxVerdict::Replace { .. } if observation.in_flight.has(Slow::BringUp) => {}
        SandboxVerdict::Replace { .. } if running().next().is_some() => {
            let all = running().map(|container| (container, StopCause::SandboxChanged));
            stop(&mut plan, observation, pod, all);
        }
        SandboxVerdict::Replace { attempt } => {
            replace_sandbox(&mut plan, observation, pod, attempt, &needs);
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

/// What is published of containers that do not run. One that is being tried again keeps the reason
/// of its last failure until it has started.
fn note_waiting(plan: &mut PodPlan, observation: &Observation, needs: &[(&str, Need<'_>)]) {
    for (name, need) in needs {
        match need {
            Need::Later(held) => {
                if let Some(until) = held.until {
                    plan.wake_at(until);
                }
                plan.waiting.push(held.clone());
            }
            Need::Start { .. } => plan.waiting.extend(observation.holds.starts.get(*name).cloned()),
            Need::Keep(_) | Need::StopFirst | Need::Done => {}
        }
    }
}

fn is_kept(container: &Container, needs: &[(&str, Need<'_>)]) -> bool {
    needs.iter().any(|(_, need)| matches!(need, Need::Keep(kept) if kept.id == container.id))
}

fn unwanted_cause(container: &Container) -> StopCause {
    match container.state {
        ContainerState::Unknown => StopCause::StateUnknown,
        _ => StopCause::DefinitionChanged,
    }
}

fn stop<'a>(
    plan: &mut PodPlan,
    observation: &Observation,
    pod: &Pod,
    containers: impl Iterator<Item = (&'a Container, StopCause)>,
) {
    let grace = Duration::from_secs(pod.grace_seconds());
    let steps: Vec<StopContainer> = stop_steps(plan, observation, containers, grace);
    plan.stop = steps;
}

fn starts(needs: &[(&str, Need<'_>)]) -> Vec<StartContainer> {
    let start = |(name, need): &(&str, Need<'_>)| match need {
        Need::Start { attempt, wait_after, created } => Some(StartContainer {
            name: (*name).to_owned(),
            kind: ContainerKind::Regular,
            attempt: *attempt,
            wait_after: *wait_after,
            created: created.cloned(),
        }),
        _ => None,
    };
    needs.iter().filter_map(start).collect()
}

/// A new sandbox with the containers that are due. None is made while the network is down, and
/// none for a pod with nothing left to run, which the caller has seen to.
fn replace_sandbox(
    plan: &mut PodPlan,
    observation: &Observation,
    pod: &Pod,
    attempt: u32,
    needs: &[(&str, Need<'_>)],
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
    plan.start = starts(needs);
}

fn prune(plan: &mut PodPlan, observation: &Observation) {
    if observation.in_flight.has(Slow::Removal) {
        return;
    }
    let remove = containers::superseded(&observation.runtime);
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
