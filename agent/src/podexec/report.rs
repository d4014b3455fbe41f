//! Pure. What came of the steps of a plan, and the events that say so.

use jiff::Timestamp;

use crate::boundary::ApiEvent;
use crate::events::{container_field_path, pod_reference};
use crate::model::{ContainerKind, Pod};
use crate::podplan::{StopCause, StopContainer};
use crate::reason::{self, event};

#[cfg(test)]
mod tests;

/// One thing that happened while a pod was brought up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepReport {
    SandboxMade,
    SandboxFailed { message: String },
    VolumesFailed { message: String },
    Created { name: String, kind: ContainerKind },
    Started { name: String, kind: ContainerKind },
    StartFailed(StartFailure),
}

/// Why a container is not running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartFailure {
    pub name: String,
    pub kind: ContainerKind,
    /// The published waiting reason.
    pub reason: &'static str,
    pub message: String,
    /// `None` leaves the next try to the usual pace.
    pub retry_at: Option<Timestamp>,
    /// Whether the failing part has published an event of its own.
    pub published: bool,
}

/// The event about a step; `None` when there is nothing to tell, or somebody told it already.
/// Texts and reasons are the kubelet's (v1.36).
pub fn step_event(pod: &Pod, report: &StepReport, now: Timestamp) -> Option<ApiEvent> {
    let event = |warning, reason, message: String, container: Option<(ContainerKind, &str)>| {
        let path = container.map(|(kind, name)| container_field_path(kind, name));
        Some(ApiEvent { object: pod_reference(pod, path), warning, reason, message, at: now })
    };
    match report {
        StepReport::SandboxMade => None,
        StepReport::SandboxFailed { message } => {
            let text = format!("Failed to create pod sandbox: {message}");
            event(true, event::FAILED_CREATE_POD_SANDBOX, text, None)
        }
        StepReport::VolumesFailed { message } => {
            event(true, event::FAILED_MOUNT, message.clone(), None)
        }
        StepReport::Created { name, kind } => {
            event(false, event::CREATED, "Container created".to_owned(), Some((*kind, name)))
        }
        StepReport::Started { name, kind } => {
            event(false, event::STARTED, "Container started".to_owned(), Some((*kind, name)))
        }
        StepReport::StartFailed(failure) if failure.published => None,
        StepReport::StartFailed(failure) => {
            let text = format!("Error: {}", failure.message);
            event(true, event::FAILED, text, Some((failure.kind, &failure.name)))
        }
    }
}

/// The `Killing` event of a stop.
pub fn stop_event(pod: &Pod, stop: &StopContainer, now: Timestamp) -> ApiEvent {
    let name = &stop.name;
    let message = match stop.cause {
        StopCause::PodTerminating | StopCause::SandboxChanged | StopCause::Orphaned => {
            format!("Stopping container {name}")
        }
        StopCause::DefinitionChanged => {
            format!("Container {name} definition changed, will be restarted")
        }
        StopCause::StateUnknown => {
            "Container is in unknown state, try killing it before restart".to_owned()
        }
    };
    let kind = pod.container(name).map_or(ContainerKind::Regular, |(kind, _)| kind);
    let object = pod_reference(pod, Some(container_field_path(kind, name)));
    ApiEvent { object, warning: false, reason: event::KILLING, message, at: now }
}

/// Said once for each wait of a crash loop.
pub fn back_off_event(pod: &Pod, container: &str, now: Timestamp) -> ApiEvent {
    let message = format!(
        "Back-off restarting failed container {container} in pod {}_{}({})",
        pod.name(),
        pod.namespace(),
        pod.uid()
    );
    let kind = pod.container(container).map_or(ContainerKind::Regular, |(kind, _)| kind);
    let object = pod_reference(pod, Some(container_field_path(kind, container)));
    ApiEvent { object, warning: true, reason: event::BACK_OFF, message, at: now }
}

/// The sandbox died or no longer fits, and is made anew.
pub fn sandbox_changed_event(pod: &Pod, now: Timestamp) -> ApiEvent {
    let message = "Pod sandbox changed, it will be killed and re-created.".to_owned();
    let object = pod_reference(pod, None);
    ApiEvent { object, warning: false, reason: event::SANDBOX_CHANGED, message, at: now }
}

/// The pod waits for the node's network, which says `message`.
pub fn network_event(pod: &Pod, message: &str, now: Timestamp) -> ApiEvent {
    let message = format!("network is not ready: {message}");
    let object = pod_reference(pod, None);
    ApiEvent { object, warning: true, reason: event::NETWORK_NOT_READY, message, at: now }
}

/// `activeDeadlineSeconds` of the pod is over.
pub fn deadline_event(pod: &Pod, now: Timestamp) -> ApiEvent {
    let message = "Pod was active on the node longer than the specified deadline".to_owned();
    let object = pod_reference(pod, None);
    ApiEvent { object, warning: false, reason: reason::DEADLINE_EXCEEDED, message, at: now }
}

/// Admission refused the pod.
pub fn rejected_event(pod: &Pod, reason: &str, message: &str, now: Timestamp) -> ApiEvent {
    ApiEvent {
        object: pod_reference(pod, None),
        warning: true,
        reason: reason::admission::known(reason),
        message: message.to_owned(),
        at: now,
    }
}

/// Part of the pod could not be ended.
pub fn kill_failed_event(pod: &Pod, message: &str, now: Timestamp) -> ApiEvent {
    let message = format!("error killing pod: {message}");
    let object = pod_reference(pod, None);
    ApiEvent { object, warning: true, reason: event::FAILED_KILL_POD, message, at: now }
}
