//! Pure. The three lists of container statuses.

use k8s_openapi::api::core::v1 as api;

use super::container_status::{ContainerView, Outlook, Role, close, container_status};
use super::generate::StatusInput;
use super::message_limit::limit_messages;
use crate::model::{Pod, is_sidecar};
use crate::podplan::restarts_after;
use crate::podworker::Lifecycle;
use crate::reason;

#[cfg(test)]
mod tests;

/// Exit code published for a container whose end nobody saw: 128 + SIGKILL.
pub(super) const EXIT_CODE_UNSEEN: i32 = 137;

/// The statuses of a pod's containers.
#[derive(Clone, Debug, Default)]
pub struct Statuses {
    /// In the order of the spec.
    pub init: Vec<api::ContainerStatus>,
    /// By name.
    pub regular: Vec<api::ContainerStatus>,
    /// By name.
    pub ephemeral: Vec<api::ContainerStatus>,
}

impl Statuses {
    /// One status for each container of the spec. Of a pod that has ended every container that
    /// could have run is shown as terminated.
    pub fn of(input: &StatusInput<'_>) -> Self {
        let spec = input.pod.spec();
        let previous = &input.seen.previous;
        let list = |containers: &mut dyn Iterator<Item = &api::Container>,
                    published: &Option<Vec<api::ContainerStatus>>,
                    role: &dyn Fn(&api::Container) -> Role| {
            let published = published.as_deref().unwrap_or_default();
            containers.map(|spec| status_of(input, spec, role(spec), published)).collect::<Vec<_>>()
        };
        let init_role = |spec: &api::Container| match is_sidecar(spec) {
            true => Role::Sidecar,
            false => Role::Init,
        };
        let mut statuses = Self {
            init: list(
                &mut spec.init_containers.iter().flatten(),
                &previous.init_container_statuses,
                &init_role,
            ),
            regular: list(&mut spec.containers.iter(), &previous.container_statuses, &|_| {
                Role::Regular
            }),
            ephemeral: list(
                &mut input.pod.ephemeral_containers().iter(),
                &previous.ephemeral_container_statuses,
                &|_| Role::Ephemeral,
            ),
        };
        statuses.regular.sort_by(|a, b| a.name.cmp(&b.name));
        statuses.ephemeral.sort_by(|a, b| a.name.cmp(&b.name));
        if input.has_ended() {
            statuses.close(input.pod);
        }
        limit_messages(&mut statuses);
        statuses
    }

    pub fn init(&self, name: &str) -> Option<&api::ContainerStatus> {
        self.init.iter().find(|status| status.name == name)
    }

    pub fn regular(&self, name: &str) -> Option<&api::ContainerStatus> {
        self.regular.iter().find(|status| status.name == name)
    }

    /// Whether a regular container runs or ever ran.
    pub fn any_regular_ran(&self) -> bool {
        self.regular.iter().any(|status| {
            is_running(status) || exit_code(status).is_some() || last_exit_code(status).is_some()
        })
    }

    /// The init containers that have begun, and once all of them are done the regular ones too,
    /// must have run; what is not known to have ended well counts as lost.
    fn close(&mut self, pod: &Pod) {
        let initialized = self.any_regular_ran() || self.all_init_done(pod);
        let begun = self.init.iter().rposition(|status| !is_waiting(status));
        let begun = begun.map_or(0, |last| last + 1);
        self.init.iter_mut().take(begun).for_each(close);
        if initialized {
            self.regular.iter_mut().for_each(close);
        }
    }

    fn all_init_done(&self, pod: &Pod) -> bool {
        pod.spec().init_containers.iter().flatten().all(|spec| {
            self.init(&spec.name).is_some_and(|status| match is_sidecar(spec) {
                true => status.started == Some(true) || exit_code(status).is_some(),
                false => exit_code(status) == Some(0),
            })
        })
    }
}

fn status_of(
    input: &StatusInput<'_>,
    spec: &api::Container,
    role: Role,
    published: &[api::ContainerStatus],
) -> api::ContainerStatus {
    let seen = input.seen;
    let has_init = input.pod.spec().init_containers.iter().flatten().next().is_some();
    container_status(&ContainerView {
        spec,
        role,
        runtime: &seen.runtime,
        probes: &seen.probes,
        held_back: input.waiting.iter().find(|held| held.name == spec.name),
        previous: published.iter().find(|status| status.name == spec.name),
        outlook: outlook(input, spec, role),
        hook_runs: seen.in_flight.post_start.contains(&spec.name),
        new: (
            if has_init { reason::POD_INITIALIZING } else { reason::CONTAINER_CREATING },
            input.trouble.unwrap_or_default(),
        ),
    })
}

/// What becomes of the container after an end that nobody saw.
fn outlook(input: &StatusInput<'_>, spec: &api::Container, role: Role) -> Outlook {
    let lives = matches!(input.seen.lifecycle, Lifecycle::Waiting | Lifecycle::Syncing);
    let restarts = match role {
        Role::Sidecar => true,
        Role::Ephemeral => false,
        Role::Init | Role::Regular => restarts_after(input.pod, spec, EXIT_CODE_UNSEEN),
    };
    match (lives, restarts) {
        (true, true) => Outlook::Restarts,
        _ => Outlook::Stays,
    }
}

pub(super) fn is_running(status: &api::ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// Neither running nor terminated.
pub(super) fn is_waiting(status: &api::ContainerStatus) -> bool {
    !is_running(status) && exit_code(status).is_none()
}

/// How the container ended, if it is shown as terminated.
pub(super) fn exit_code(status: &api::ContainerStatus) -> Option<i32> {
    Some(status.state.as_ref()?.terminated.as_ref()?.exit_code)
}

/// How the run before the current state ended.
pub(super) fn last_exit_code(status: &api::ContainerStatus) -> Option<i32> {
    Some(status.last_state.as_ref()?.terminated.as_ref()?.exit_code)
}
