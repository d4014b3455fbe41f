//! Pure. An observation with what every part of a plan asks of it.

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::Observation;
use super::sandbox::{self, SandboxVerdict};
use crate::model::{Container, ContainerKind, ContainerState, Pod, Sandbox, SandboxId};

/// A pod that is to run, and one look at it.
#[derive(Clone, Copy)]
pub(super) struct Look<'a> {
    pub observation: &'a Observation,
    pub pod: &'a Pod,
    /// The sandbox containers are started in; `None` when there is none, or it is to be replaced.
    pub serving: Option<&'a SandboxId>,
}

impl<'a> Look<'a> {
    pub fn new(observation: &'a Observation, pod: &'a Pod) -> Self {
        let serving = match sandbox::judge(pod, &observation.runtime) {
            SandboxVerdict::Serves(id) => Some(id),
            SandboxVerdict::Replace { .. } => None,
        };
        Self { observation, pod, serving }
    }

    pub fn now(&self) -> Timestamp {
        self.observation.now
    }

    /// The newest sandbox, whether it serves or not.
    pub fn current(&self) -> Option<&'a Sandbox> {
        self.observation.runtime.newest_sandbox()
    }

    pub fn newest(&self, name: &str) -> Option<&'a Container> {
        self.observation.runtime.newest(name)
    }

    /// The newest instance, if it was made in the newest sandbox.
    pub fn newest_here(&self, name: &str) -> Option<&'a Container> {
        let current = self.current()?;
        self.newest(name).filter(|container| container.sandbox == current.id)
    }

    /// Whether a process of a container of that name may exist.
    pub fn may_run(&self, name: &str) -> bool {
        let containers = &self.observation.runtime.containers;
        containers.iter().any(|container| container.name == name && may_run(container))
    }

    /// What was published of a container that existed, now or before.
    pub fn published(&self, kind: ContainerKind, name: &str) -> Option<&'a api::ContainerStatus> {
        let status = &self.observation.previous;
        let list = match kind {
            ContainerKind::Init => &status.init_container_statuses,
            ContainerKind::Regular => &status.container_statuses,
            ContainerKind::Ephemeral => &status.ephemeral_container_statuses,
        };
        let found = list.iter().flatten().find(|status| status.name == name);
        found.filter(|status| had_instance(status))
    }

    /// Whether a container of that name existed in the newest sandbox. Where the runtime holds no
    /// instance of it, what was published tells. Times that come from the API are cut to the second;
    /// within the second in which the newest sandbox was made they speak for it.
    pub fn was_here(&self, kind: ContainerKind, name: &str) -> bool {
        let Some(current) = self.current() else { return false };
        if let Some(newest) = self.newest(name) {
            return newest.sandbox == current.id;
        }
        let last = self.published(kind, name).and_then(last_sign);
        let made = current.created_at;
        last.is_some_and(|sign| match sign.subsec_nanosecond() {
            0 => sign.as_second() >= made.as_second(),
            _ => sign > made,
        })
    }

    /// Whether a running instance counts as started in the order of things: its startup probe has
    /// succeeded and its postStart hook has ended.
    pub fn has_started(&self, container: &Container) -> bool {
        self.observation.probes.has_started(container) && !self.is_in_post_start(&container.name)
    }

    pub fn is_in_post_start(&self, name: &str) -> bool {
        self.observation.in_flight.post_start.contains(name)
    }

    /// Whether the dead instance was ended to make room for the next.
    pub fn is_replaced(&self, container: &Container) -> bool {
        self.observation.holds.replaced.contains(&container.id)
    }

    /// Whether a probe has asked for the end of that instance.
    pub fn has_failed_probe(&self, container: &Container) -> bool {
        self.observation.probes.fatal(container).is_some()
    }
}

/// Whether a process of the container may exist.
pub(super) fn may_run(container: &Container) -> bool {
    matches!(container.state, ContainerState::Running { .. } | ContainerState::Unknown)
}

/// Whether the status speaks of a container that existed, now or before.
fn had_instance(status: &api::ContainerStatus) -> bool {
    let ran = |state: &Option<api::ContainerState>| {
        state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    ran(&status.state) || ran(&status.last_state)
}

/// The latest time at which the status saw the container alive.
fn last_sign(status: &api::ContainerStatus) -> Option<Timestamp> {
    let states = [status.state.as_ref(), status.last_state.as_ref()];
    let times = states.into_iter().flatten().flat_map(|state| {
        let running = state.running.as_ref().and_then(|run| run.started_at.as_ref());
        let terminated = state.terminated.as_ref();
        let started = terminated.and_then(|exit| exit.started_at.as_ref());
        let finished = terminated.and_then(|exit| exit.finished_at.as_ref());
        [running, started, finished]
    });
    times.flatten().map(|time| time.0).max()
}
