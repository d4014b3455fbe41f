//! Pure. The published status of one container.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::container_fields::{allocated, stop_signal, user, volume_mounts};
use super::statuses::{EXIT_CODE_UNSEEN, exit_code, is_running};
use crate::model::{Container, ContainerState, Exit, RuntimePod};
use crate::podplan::HeldBack;
use crate::prober::PodProbes;
use crate::reason;

#[cfg(test)]
mod tests;

/// What kind of container it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Init,
    /// An init container that runs beside the regular ones.
    Sidecar,
    Regular,
    Ephemeral,
}

/// Whether the container runs again after an end that nobody saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    Restarts,
    Stays,
}

/// What one container's status is made from.
pub struct ContainerView<'a> {
    pub spec: &'a api::Container,
    pub role: Role,
    pub runtime: &'a RuntimePod,
    pub probes: &'a PodProbes,
    pub held_back: Option<&'a HeldBack>,
    /// The status published before, if any.
    pub previous: Option<&'a api::ContainerStatus>,
    pub outlook: Outlook,
    /// Its postStart hook runs.
    pub hook_runs: bool,
    /// Reason and message of a container that has not run yet.
    pub new: (&'static str, &'a str),
}

impl ContainerView<'_> {
    fn fresh(&self) -> api::ContainerState {
        waiting(self.new.0, self.new.1)
    }

    fn held(&self) -> Option<api::ContainerState> {
        self.held_back.map(|held| waiting(held.reason, &held.message))
    }
}

/// The status of the container. An instance the runtime holds decides; without one the published
/// status is carried on, because a runtime that lost a container does not undo what it did. An
/// instance whose postStart hook runs is not shown yet.
pub fn container_status(view: &ContainerView<'_>) -> api::ContainerStatus {
    let mut instances = view.runtime.instances(&view.spec.name);
    let newest = instances.next();
    let mut status = match newest {
        Some(newest) if view.hook_runs && newest.is_running() => {
            before_hook(view, newest, instances.next())
        }
        // Between its creation and its start lies nothing that a status would be written for.
        Some(newest) if newest.state == ContainerState::Created => match instances.next() {
            Some(older) => from_instance(view, older),
            None => from_memory(view),
        },
        Some(newest) => from_instance(view, newest),
        None => from_memory(view),
    };
    let shown = newest.filter(|_| is_running(&status));
    status.started = started(view, shown);
    status.ready = match view.role {
        Role::Init => exit_code(&status) == Some(0),
        Role::Ephemeral => false,
        Role::Sidecar | Role::Regular => status.started == Some(true) && ready(view, shown),
    };
    status.volume_mounts = volume_mounts(view.spec, newest);
    if view.role != Role::Ephemeral {
        (status.resources, status.allocated_resources) = allocated(view.spec);
    }
    status
}

/// Whether the container has started: `None` for one that is not asked. A result that is still to
/// come leaves what was published of the same instance.
fn started(view: &ContainerView<'_>, running: Option<&Container>) -> Option<bool> {
    if view.role == Role::Ephemeral {
        return None;
    }
    let Some(instance) = running else { return Some(false) };
    let published = || of_same_instance(view, instance).and_then(|status| status.started);
    if matches!(instance.state, ContainerState::Unknown)
        || (view.spec.startup_probe.is_some()
            && view.probes.of(instance).and_then(|known| known.startup).is_none())
    {
        return Some(published().unwrap_or(false));
    }
    Some(view.probes.has_started(instance))
}

fn ready(view: &ContainerView<'_>, running: Option<&Container>) -> bool {
    let Some(instance) = running else { return false };
    let published = || of_same_instance(view, instance).is_some_and(|status| status.ready);
    if matches!(instance.state, ContainerState::Unknown)
        || (view.spec.readiness_probe.is_some()
            && view.probes.of(instance).and_then(|known| known.readiness).is_none())
    {
        return published();
    }
    view.probes.is_ready(instance)
}

fn of_same_instance<'a>(
    view: &ContainerView<'a>,
    instance: &Container,
) -> Option<&'a api::ContainerStatus> {
    view.previous.filter(|status| status.container_id == Some(runtime_id(instance)))
}

fn from_instance(view: &ContainerView<'_>, newest: &Container) -> api::ContainerStatus {
    let count = i32::try_from(newest.attempt).unwrap_or(i32::MAX);
    let mut last = view
        .runtime
        .instances(&view.spec.name)
        .filter(|instance| instance.attempt < newest.attempt)
        .find_map(|instance| instance.exit().map(|exit| terminated(exit, instance)));
    let state = match &newest.state {
        ContainerState::Running { started_at } => running(Time(*started_at)),
        ContainerState::Exited(exit) => match view.held() {
            Some(held) => {
                last = Some(terminated(exit, newest));
                held
            }
            None => terminated(exit, newest),
        },
        ContainerState::Created | ContainerState::Unknown => view
            .previous
            .and_then(|previous| previous.state.clone())
            .unwrap_or_else(|| view.fresh()),
    };
    let remembered = view.previous.and_then(|previous| previous.last_state.clone());
    api::ContainerStatus {
        name: view.spec.name.clone(),
        image: if newest.image.is_empty() { spec_image(view) } else { newest.image.clone() },
        image_id: newest.image_ref.clone(),
        container_id: Some(runtime_id(newest)),
        restart_count: count.max(view.previous.map_or(0, |previous| previous.restart_count)),
        state: Some(state),
        last_state: last.or_else(|| remembered.filter(|_| count > 0)).or_else(empty),
        user: newest.user.as_ref().map(user),
        stop_signal: stop_signal(newest),
        ..api::ContainerStatus::default()
    }
}

/// The status as it was before an instance whose postStart hook runs.
fn before_hook(
    view: &ContainerView<'_>,
    newest: &Container,
    older: Option<&Container>,
) -> api::ContainerStatus {
    let published = view.previous.filter(|status| {
        !is_running(status) && status.container_id.as_ref() != Some(&runtime_id(newest))
    });
    if let Some(published) = published {
        return published.clone();
    }
    match older {
        Some(older) => from_instance(view, older),
        None => api::ContainerStatus {
            name: view.spec.name.clone(),
            image: spec_image(view),
            restart_count: view.previous.map_or(0, |previous| previous.restart_count),
            state: Some(view.fresh()),
            last_state: empty(),
            ..api::ContainerStatus::default()
        },
    }
}

/// The status of a container that the runtime does not hold.
fn from_memory(view: &ContainerView<'_>) -> api::ContainerStatus {
    let fresh = view.held().unwrap_or_else(|| view.fresh());
    let Some(previous) = view.previous else {
        return api::ContainerStatus {
            name: view.spec.name.clone(),
            image: spec_image(view),
            state: Some(fresh),
            last_state: empty(),
            ..api::ContainerStatus::default()
        };
    };
    let mut status = previous.clone();
    let old = previous.state.clone().unwrap_or_default();
    if let Some(run) = old.running {
        let lost = lost(
            "The container could not be located when the pod was deleted.  The container used to be Running",
            run.started_at,
        );
        if view.outlook == Outlook::Restarts {
            status.last_state = Some(lost);
            status.restart_count += 1;
            status.state = Some(fresh);
        } else {
            status.state = Some(lost);
        }
    } else if old.terminated.is_none() || view.held_back.is_some() {
        if old.terminated.is_some() {
            status.last_state = previous.state.clone();
        }
        status.state = Some(fresh);
    }
    status
}

/// Shows a container of a pod that has ended as terminated: with its last run, or as lost.
pub(super) fn close(status: &mut api::ContainerStatus) {
    if exit_code(status).is_some() {
        return;
    }
    status.ready = false;
    status.started = status.started.map(|_| false);
    let last = status.last_state.take().filter(|last| last.terminated.is_some());
    status.last_state = empty();
    status.state = last.or_else(|| {
        Some(lost("The container could not be located when the pod was terminated", None))
    });
}

fn runtime_id(instance: &Container) -> String {
    format!("containerd://{}", instance.id)
}

fn spec_image(view: &ContainerView<'_>) -> String {
    view.spec.image.clone().unwrap_or_default()
}

#[expect(clippy::unnecessary_wraps, reason = "stands where the field's type is an option")]
fn empty() -> Option<api::ContainerState> {
    Some(api::ContainerState::default())
}

fn running(started_at: Time) -> api::ContainerState {
    api::ContainerState {
        running: Some(api::ContainerStateRunning { started_at: Some(started_at) }),
        ..api::ContainerState::default()
    }
}

fn waiting(reason: &str, message: &str) -> api::ContainerState {
    api::ContainerState {
        waiting: Some(api::ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: (!message.is_empty()).then(|| message.to_owned()),
        }),
        ..api::ContainerState::default()
    }
}

fn terminated(exit: &Exit, instance: &Container) -> api::ContainerState {
    let fallback = if exit.code == 0 { reason::COMPLETED } else { reason::ERROR };
    let reason = if exit.reason.is_empty() { fallback } else { exit.reason.as_str() };
    api::ContainerState {
        terminated: Some(api::ContainerStateTerminated {
            container_id: Some(runtime_id(instance)),
            exit_code: exit.code,
            reason: Some(reason.to_owned()),
            message: (!exit.message.is_empty()).then(|| exit.message.clone()),
            started_at: Some(Time(exit.started_at.unwrap_or(jiff::Timestamp::UNIX_EPOCH))),
            finished_at: Some(Time(exit.finished_at)),
            // CRI does not tell the signal, and a code above 128 may be the program's own.
            signal: None,
        }),
        ..api::ContainerState::default()
    }
}

fn lost(message: &str, started_at: Option<Time>) -> api::ContainerState {
    api::ContainerState {
        terminated: Some(api::ContainerStateTerminated {
            exit_code: EXIT_CODE_UNSEEN,
            reason: Some(reason::CONTAINER_STATUS_UNKNOWN.to_owned()),
            message: Some(message.to_owned()),
            started_at,
            ..api::ContainerStateTerminated::default()
        }),
        ..api::ContainerState::default()
    }
}
