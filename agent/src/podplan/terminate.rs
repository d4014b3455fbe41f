//! Pure. Stop order and grace of a pod that is to end.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Observation, PodPlan, SandboxStep, Slow, Step, StopCause, StopContainer, Verdict};
use crate::model::Container;
use crate::podplan::containers::may_run;
use crate::podplan::sandbox::ready_sandboxes;
use crate::podworker::EndCause;

#[cfg(test)]
mod tests;

/// No container gets less than this between SIGTERM and SIGKILL
/// (kubelet v1.36, `minimumGracePeriodInSeconds`).
pub const MIN_STOP_GRACE: Duration = Duration::from_secs(2);

/// A running stop is overtaken by a shorter one only when that kills sooner by more than this;
/// less is the noise of two clock readings.
const SOONER_BY: SignedDuration = SignedDuration::from_millis(500);

/// First all containers side by side, then the sandboxes, then nothing can run any more.
pub(super) fn plan(observation: &Observation) -> PodPlan {
    let mut plan = PodPlan::default();
    let (Some(deadline), Some(cause)) =
        (observation.lifecycle.kill_deadline(), observation.lifecycle.end_cause())
    else {
        return plan;
    };
    let left = Duration::try_from(deadline.duration_since(observation.now)).unwrap_or_default();
    let cause = match cause {
        EndCause::Orphaned => StopCause::Orphaned,
        _ => StopCause::PodTerminating,
    };
    let running: Vec<&Container> =
        observation.runtime.containers.iter().filter(|c| may_run(c)).collect();
    if !running.is_empty() {
        let stops = running.into_iter().map(|container| (container, cause));
        plan.stop = stop_steps(&mut plan, observation, stops, left);
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

/// Stops for those of the containers that are not being stopped in time already, each with `left`
/// raised to [`MIN_STOP_GRACE`].
pub(super) fn stop_steps<'a>(
    plan: &mut PodPlan,
    observation: &Observation,
    containers: impl Iterator<Item = (&'a Container, StopCause)>,
    left: Duration,
) -> Vec<StopContainer> {
    let grace = left.max(MIN_STOP_GRACE);
    let kill_at = SignedDuration::try_from(grace)
        .ok()
        .and_then(|grace| observation.now.checked_add(grace).ok())
        .unwrap_or(Timestamp::MAX);
    let mut steps = Vec::new();
    for (container, cause) in containers {
        let under_way = observation.in_flight.stopping.get(&container.id);
        if under_way.is_some_and(|due| due.duration_since(kill_at) <= SOONER_BY) {
            continue;
        }
        let step = Step::Stop(container.id.clone());
        if let Some(until) = observation.holds.rests_until(&step, observation.now) {
            plan.wake_at(until);
            continue;
        }
        steps.push(StopContainer {
            id: container.id.clone(),
            name: container.name.clone(),
            cause,
            grace,
        });
    }
    steps
}
