//! Pure. Stop order and grace of containers that are to end.
//!
//! ```text
//! preStop hook ──> its turn has come ──> SIGTERM ──grace──> SIGKILL
//!      └───────────────┴── the grace is over ──────────────────^
//! ```
//!
//! All hooks run side by side from the start. The turn of a sidecar comes when the containers it
//! serves are dead: the regular ones, and what stands behind it among the init containers.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::look::may_run;
use super::sandbox::ready_sandboxes;
use super::{
    Observation, PodPlan, PreStop, SandboxStep, Slow, Step, StopCause, StopContainer, Verdict,
};
use crate::model::{Container, ContainerKind, Pod};
use crate::podexec::labels::PRE_STOP_HANDLER;
use crate::podworker::EndCause;

#[cfg(test)]
mod tests;

/// No container gets less than this between SIGTERM and SIGKILL
/// (kubelet v1.36, `minimumGracePeriodInSeconds`).
pub const MIN_STOP_GRACE: Duration = Duration::from_secs(2);

/// A running stop is overtaken by a shorter one only when that kills sooner by more than this;
/// less is the noise of two clock readings.
const SOONER_BY: SignedDuration = SignedDuration::from_millis(500);

/// One container that is to end.
pub(super) struct Ending<'a> {
    pub container: &'a Container,
    pub cause: StopCause,
    /// When SIGKILL falls due.
    pub kill_at: Timestamp,
    /// Whether containers that it serves may still run.
    pub is_needed: bool,
}

impl<'a> Ending<'a> {
    pub fn new(container: &'a Container, cause: StopCause, kill_at: Timestamp) -> Self {
        Self { container, cause, kill_at, is_needed: false }
    }
}

/// First all containers, then the sandboxes, then nothing can run any more.
pub(super) fn plan(observation: &Observation) -> PodPlan {
    let mut plan = PodPlan::default();
    let (Some(deadline), Some(cause)) =
        (observation.lifecycle.kill_deadline(), observation.lifecycle.end_cause())
    else {
        return plan;
    };
    let cause = match cause {
        EndCause::Orphaned => StopCause::Orphaned,
        _ => StopCause::PodTerminating,
    };
    let running: Vec<&Container> =
        observation.runtime.containers.iter().filter(|c| may_run(c)).collect();
    if !running.is_empty() {
        let endings = running.iter().map(|container| Ending {
            is_needed: is_needed(observation.pod.as_ref(), container, &running),
            ..Ending::new(container, cause, deadline)
        });
        end_containers(&mut plan, observation, endings);
        return plan;
    }
    if !observation.in_flight.is_empty() {
        return plan;
    }
    let sandboxes = ready_sandboxes(&observation.runtime);
    if sandboxes.is_empty() {
        plan.verdict = Verdict::Stopped;
    } else if let Some(until) = observation.holds.rests_until(&Step::StopSandbox, observation.now) {
        plan.wake_at(until);
    } else if !observation.in_flight.has(Slow::StopSandbox) {
        plan.sandbox = SandboxStep::Stop { sandboxes };
    }
    plan
}

/// Whether the container is a sidecar that one of the others still needs.
fn is_needed(pod: Option<&Pod>, container: &Container, others: &[&Container]) -> bool {
    let Some(pod) = pod.filter(|pod| pod.is_sidecar(&container.name)) else { return false };
    let place = |name: &str| {
        let mut init = pod.spec().init_containers.iter().flatten();
        init.position(|spec| spec.name == name)
    };
    let own = place(&container.name);
    others.iter().any(|other| match pod.container(&other.name) {
        Some((ContainerKind::Regular, _)) => true,
        Some((ContainerKind::Init, _)) => place(&other.name) > own,
        Some((ContainerKind::Ephemeral, _)) | None => false,
    })
}

/// Adds the next step of each ending to the plan. A date that an earlier step has set can only
/// come nearer.
pub(super) fn end_containers<'a>(
    plan: &mut PodPlan,
    observation: &Observation,
    endings: impl Iterator<Item = Ending<'a>>,
) {
    for mut ending in endings {
        let id = &ending.container.id;
        let hook_runs = observation.in_flight.pre_stop.get(id);
        let set = hook_runs.or_else(|| observation.holds.pre_stopped.get(id)).copied();
        ending.kill_at = set.map_or(ending.kill_at, |set| set.min(ending.kill_at));
        if ending.kill_at <= observation.now {
            stop(plan, observation, &ending);
        } else if hook_runs.is_some() {
            plan.wake_at(ending.kill_at);
        } else if hook_is_due(observation, &ending) {
            plan.pre_stop.push(PreStop {
                id: id.clone(),
                name: ending.container.name.clone(),
                cause: ending.cause,
                kill_at: ending.kill_at,
            });
        } else if ending.is_needed {
            plan.wake_at(ending.kill_at);
        } else {
            stop(plan, observation, &ending);
        }
    }
}

/// Whether the container has a preStop hook that is still to run. Only a process that is known to
/// run can carry one out.
fn hook_is_due(observation: &Observation, ending: &Ending<'_>) -> bool {
    let container = ending.container;
    let spec = observation.pod.as_ref().and_then(|pod| pod.container(&container.name));
    let has_hook = match spec {
        Some((_, spec)) => {
            spec.lifecycle.as_ref().is_some_and(|lifecycle| lifecycle.pre_stop.is_some())
        }
        // The spec is gone; what the container was made with tells.
        None => container.annotations.contains_key(PRE_STOP_HANDLER),
    };
    has_hook
        && container.is_running()
        && !observation.holds.pre_stopped.contains_key(&container.id)
        && !observation.in_flight.stopping.contains_key(&container.id)
}

/// Stops the container, unless it is being stopped in time already. It gets what is left until
/// SIGKILL, but [`MIN_STOP_GRACE`].
fn stop(plan: &mut PodPlan, observation: &Observation, ending: &Ending<'_>) {
    let left = ending.kill_at.duration_since(observation.now);
    let grace = Duration::try_from(left).unwrap_or_default().max(MIN_STOP_GRACE);
    let kill_at = SignedDuration::try_from(grace)
        .ok()
        .and_then(|grace| observation.now.checked_add(grace).ok())
        .unwrap_or(Timestamp::MAX);
    let container = ending.container;
    let under_way = observation.in_flight.stopping.get(&container.id);
    if under_way.is_some_and(|due| due.duration_since(kill_at) <= SOONER_BY) {
        return;
    }
    let step = Step::Stop(container.id.clone());
    if let Some(until) = observation.holds.rests_until(&step, observation.now) {
        plan.wake_at(until);
        return;
    }
    plan.stop.push(StopContainer {
        id: container.id.clone(),
        name: container.name.clone(),
        cause: ending.cause,
        grace,
    });
}
