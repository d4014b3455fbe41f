//! Pure. The published status of one container.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::model::{Container, ContainerState, Exit, RuntimePod};
use crate::podplan::HeldBack;
use crate::reason;

#[cfg(test)]
mod tests;

/// Exit code published for a container whose end nobody saw: 128 + SIGKILL.
const EXIT_CODE_UNSEEN: i32 = 137;

/// What one container's status is made from.
pub struct ContainerView<'a> {
    pub spec: &'a api::Container,
    pub runtime: &'a RuntimePod,
    pub held_back: Option<&'a HeldBack>,
    /// The status published before, if any.
    pub previous: Option<&'a api::ContainerStatus>,
    /// No container of the pod will run again and none runs.
    pub ended: bool,
    /// The pod's containers restart after any end.
    pub restarts: bool,
}

/// The status of the container. An instance the runtime holds decides; without one the published
/// status is carried on, because a runtime that lost a container does not undo what it did.
pub fn container_status(view: &ContainerView<'_>) -> api::ContainerStatus {
    let mut status = match view.runtime.newest(&view.spec.name) {
        Some(newest) => from_instance(view, newest),
        None => from_memory(view),
    };
    if view.ended {
        close(&mut status, view);
    }
    status.started = Some(is_running(&status));
    status.ready = is_running(&status);
    status.volume_mounts = volume_mounts(view.spec);
    if let Some(resources) = &view.spec.resources {
        status.allocated_resources.clone_from(&resources.requests);
        status.resources = Some(api::ResourceRequirements { claims: None, ..resources.clone() });
    } else {
        status.resources = Some(api::ResourceRequirements::default());
    }
    status
}

fn is_running(status: &api::ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

fn from_instance(view: &ContainerView<'_>, newest: &Container) -> api::ContainerStatus {
    let count = i32::try_from(newest.attempt).unwrap_or(i32::MAX);
    let mut last = view
        .runtime
        .instances(&view.spec.name)
        .skip(1)
        .find_map(|instance| instance.exit().map(|exit| terminated(exit, instance)));
    let held = view.held_back.map(|held| waiting(held.reason, &held.message));
    let state = match &newest.state {
        ContainerState::Running { started_at } => running(Time(*started_at)),
        ContainerState::Exited(exit) => match held {
            Some(held) => {
                last = Some(terminated(exit, newest));
                held
            }
            None => terminated(exit, newest),
        },
        ContainerState::Created => held.unwrap_or_else(|| waiting(reason::CONTAINER_CREATING, "")),
        ContainerState::Unknown => view
            .previous
            .and_then(|previous| previous.state.clone())
            .unwrap_or_else(|| waiting(reason::CONTAINER_CREATING, "")),
    };
    let remembered = view.previous.and_then(|previous| previous.last_state.clone());
    api::ContainerStatus {
        name: view.spec.name.clone(),
        image: if newest.image.is_empty() { spec_image(view) } else { newest.image.clone() },
        image_id: newest.image_ref.clone(),
        container_id: Some(format!("containerd://{}", newest.id)),
        restart_count: count.max(view.previous.map_or(0, |previous| previous.restart_count)),
        state: Some(state),
        last_state: last.or_else(|| remembered.filter(|_| count > 0)).or_else(empty),
        ..api::ContainerStatus::default()
    }
}

/// The status of a container that the runtime does not hold.
fn from_memory(view: &ContainerView<'_>) -> api::ContainerStatus {
    let held = view.held_back.map(|held| waiting(held.reason, &held.message));
    let fresh = held.unwrap_or_else(|| waiting(reason::CONTAINER_CREATING, ""));
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
        if view.restarts && !view.ended {
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

/// A pod that has ended shows no container as waiting or running once one of them has run.
fn close(status: &mut api::ContainerStatus, view: &ContainerView<'_>) {
    let state = status.state.clone().unwrap_or_default();
    if state.terminated.is_some() {
        return;
    }
    if let Some(last) = status.last_state.clone().filter(|last| last.terminated.is_some()) {
        status.state = Some(last);
        status.last_state = empty();
        return;
    }
    if !view.runtime.containers.is_empty()
        || view.previous.is_some_and(|p| p.container_id.is_some())
    {
        status.state =
            Some(lost("The container could not be located when the pod was terminated", None));
    }
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
            container_id: Some(format!("containerd://{}", instance.id)),
            exit_code: exit.code,
            reason: Some(reason.to_owned()),
            message: (!exit.message.is_empty()).then(|| exit.message.clone()),
            started_at: Some(Time(exit.started_at.unwrap_or(jiff::Timestamp::UNIX_EPOCH))),
            finished_at: Some(Time(exit.finished_at)),
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

fn volume_mounts(spec: &api::Container) -> Option<Vec<api::VolumeMountStatus>> {
    let mounts: Vec<_> = spec
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| api::VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only,
            recursive_read_only: mount.read_only.filter(|read_only| *read_only).map(|_| {
                mount.recursive_read_only.clone().unwrap_or_else(|| "Disabled".to_owned())
            }),
            ..api::VolumeMountStatus::default()
        })
        .collect();
    (!mounts.is_empty()).then_some(mounts)
}
