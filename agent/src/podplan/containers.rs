//! Pure. What each regular container needs.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::restart::{self, NextRun};
use super::sandbox::{self, SandboxVerdict};
use super::{HeldBack, Observation};
use crate::model::{Container, ContainerId, ContainerState, Pod, RuntimePod, container_hash};
use crate::reason;

#[cfg(test)]
mod tests;

/// What one container of the spec needs.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Need<'a> {
    /// Runs as it should.
    Keep(&'a Container),
    /// An instance that is not to be kept may run; it has to end before another starts.
    StopFirst,
    /// Is to be started now.
    Start { attempt: u32, wait_after: Duration, created: Option<&'a ContainerId> },
    /// Is to be started later.
    Later(HeldBack),
    /// Has ended and will not run again.
    Done,
}

/// What `spec` needs, by what the runtime holds under its name.
///
/// | newest instance | need |
/// |---|---|
/// | running | keep, or stop first when name or image changed |
/// | unknown | stop first |
/// | any, and an older instance may run | stop first |
/// | created in the serving sandbox, never started, same definition | start it |
/// | created otherwise | start the next attempt |
/// | exited, restarts by policy | start, now or after the crash-loop wait |
/// | exited otherwise | done |
/// | none, and none was ever published | start attempt 0 |
/// | none, but the published status shows one | as if it had exited, with its code or 137 |
pub(super) fn need<'a>(observation: &'a Observation, pod: &Pod, spec: &api::Container) -> Need<'a> {
    let published = published(&observation.previous, &spec.name);
    let Some(newest) = observation.runtime.newest(&spec.name) else {
        return need_of_lost(observation, pod, spec, published);
    };
    let published_attempt = published.map_or(0, restart_count);
    let attempt = newest.attempt.max(published_attempt) + 1;
    match &newest.state {
        ContainerState::Running { .. } => match &newest.spec_hash {
            Some(hash) if *hash != container_hash(spec) => Need::StopFirst,
            _ => Need::Keep(newest),
        },
        _ if observation.runtime.instances(&spec.name).any(may_run) => Need::StopFirst,
        ContainerState::Unknown => Need::StopFirst,
        ContainerState::Created => {
            let handed_on = restart::handed_on(newest);
            if !is_startable(pod, &observation.runtime, newest, spec) {
                return start_unless_held(observation, spec, attempt, handed_on);
            }
            match start_unless_held(observation, spec, newest.attempt, handed_on) {
                Need::Start { attempt, wait_after, .. } => {
                    Need::Start { attempt, wait_after, created: Some(&newest.id) }
                }
                held => held,
            }
        }
        ContainerState::Exited(exit) if restart::restarts_after(pod, spec, exit.code) => {
            let run = restart::next_run(spec, newest, exit, observation.rules.restart_cap);
            match crash_loop(observation, pod, spec, run) {
                Some(held) => Need::Later(held),
                None => start_unless_held(observation, spec, attempt, run.wait_after),
            }
        }
        ContainerState::Exited(_) => Need::Done,
    }
}

/// The need of a container of which the runtime holds no instance. Dead containers can be removed
/// behind our back, and a runtime can lose its state; what was published tells whether there was
/// one.
fn need_of_lost<'a>(
    observation: &Observation,
    pod: &Pod,
    spec: &api::Container,
    published: Option<&api::ContainerStatus>,
) -> Need<'a> {
    let Some(status) = published.filter(|status| had_instance(status)) else {
        return start_unless_held(observation, spec, 0, Duration::ZERO);
    };
    if restart::restarts_after(pod, spec, last_exit_code(status)) {
        let next = restart_count(status) + u32::from(!restart_is_counted(status));
        return start_unless_held(observation, spec, next, Duration::ZERO);
    }
    Need::Done
}

/// Whether a created instance is what the spec asks for, in the sandbox that serves.
fn is_startable(
    pod: &Pod,
    runtime: &RuntimePod,
    created: &Container,
    spec: &api::Container,
) -> bool {
    let serves = matches!(sandbox::judge(pod, runtime), SandboxVerdict::Serves(id) if *id == created.sandbox);
    serves && created.spec_hash.as_ref() == Some(&container_hash(spec))
}

fn crash_loop(
    observation: &Observation,
    pod: &Pod,
    spec: &api::Container,
    run: NextRun,
) -> Option<HeldBack> {
    (run.not_before > observation.now).then(|| HeldBack {
        name: spec.name.clone(),
        reason: reason::CRASH_LOOP_BACK_OFF,
        message: restart::back_off_message(pod, &spec.name, run.wait),
        until: Some(run.not_before),
    })
}

fn start_unless_held<'a>(
    observation: &Observation,
    spec: &api::Container,
    attempt: u32,
    wait_after: Duration,
) -> Need<'a> {
    let held = observation.holds.starts.get(&spec.name);
    let rests = |until: Timestamp| until > observation.now;
    match held.filter(|held| held.until.is_some_and(rests)) {
        Some(held) => Need::Later(held.clone()),
        None => Need::Start { attempt, wait_after, created: None },
    }
}

fn published<'a>(status: &'a api::PodStatus, name: &str) -> Option<&'a api::ContainerStatus> {
    status.container_statuses.iter().flatten().find(|status| status.name == name)
}

fn restart_count(status: &api::ContainerStatus) -> u32 {
    u32::try_from(status.restart_count).unwrap_or(0)
}

/// Whether the status speaks of a container that existed, now or before.
fn had_instance(status: &api::ContainerStatus) -> bool {
    let ran = |state: &Option<api::ContainerState>| {
        state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    ran(&status.state) || ran(&status.last_state)
}

/// Whether the published count holds the coming restart already: an end that nobody saw is
/// published together with the restart that follows it, and names no container.
fn restart_is_counted(status: &api::ContainerStatus) -> bool {
    let waits = status.state.as_ref().is_some_and(|state| state.waiting.is_some());
    let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
    waits && last.is_some_and(|exit| exit.container_id.as_deref().unwrap_or_default().is_empty())
}

/// How the published container ended: its exit code, or 137 (kubelet v1.36
/// `ContainerStatusUnknown`) when it was last seen running.
fn last_exit_code(status: &api::ContainerStatus) -> i32 {
    const LOST: i32 = 137;
    let terminated = |state: &Option<api::ContainerState>| {
        state.as_ref().and_then(|state| state.terminated.as_ref()).map(|exit| exit.exit_code)
    };
    if status.state.as_ref().is_some_and(|state| state.running.is_some()) {
        return LOST;
    }
    terminated(&status.state).or_else(|| terminated(&status.last_state)).unwrap_or(LOST)
}

/// Instances nobody needs: of each name all that are not the newest, except the newest exited one,
/// whose log and exit code are still shown (kubelet v1.36, `maxPerPodContainerCount` 1).
pub(super) fn superseded(runtime: &RuntimePod) -> Vec<ContainerId> {
    let is_superseded = |container: &&Container| {
        let newest = runtime.newest(&container.name);
        let newest_exited =
            runtime.instances(&container.name).find(|instance| instance.exit().is_some());
        let is_kept = newest.is_some_and(|newest| newest.id == container.id)
            || newest_exited.is_some_and(|exited| exited.id == container.id);
        !is_kept && !may_run(container)
    };
    runtime.containers.iter().filter(is_superseded).map(|c| c.id.clone()).collect()
}

/// Whether a process of the container may exist.
pub(super) fn may_run(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. } | ContainerState::Unknown)
}
