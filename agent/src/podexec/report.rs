//! Pure. What came of the steps of a plan, and the events that say so.

use std::fmt::Write;

use jiff::Timestamp;

use crate::boundary::ApiEvent;
use crate::events::{container_field_path, pod_reference};
use crate::model::{ContainerId, ContainerKind, Exit, Pod};
use crate::podplan::{HeldBack, PreStop, StopCause, StopContainer, restarts_failed};
use crate::reason::{self, event};

#[cfg(test)]
mod tests;

/// One thing that happened while a pod was brought up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepReport {
    SandboxMade,
    SandboxFailed {
        message: String,
    },
    VolumesFailed {
        message: String,
    },
    /// What to show while the container's images are being pulled; `None` when they are there or
    /// cannot be had.
    Pulling {
        name: String,
        message: Option<String>,
    },
    Created {
        name: String,
        kind: ContainerKind,
    },
    Started {
        name: String,
        kind: ContainerKind,
    },
    /// The process has started and its postStart hook begins; to users the container has not
    /// started yet.
    HookRunning {
        name: String,
        kind: ContainerKind,
    },
    /// The postStart hook has ended well, so the container has started. `fell_back` is the server
    /// that answered an HTTPS hook over plain HTTP.
    HookEnded {
        name: String,
        fell_back: Option<String>,
    },
    /// The postStart hook has failed, so the container is to be ended.
    HookFailed {
        id: ContainerId,
        failure: StartFailure,
    },
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

/// What keeps all containers of a pod from being made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    Sandbox,
    Volumes,
}

impl Trouble {
    /// For the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "cannot make the pod's sandbox",
            Self::Volumes => "cannot mount the pod's volumes",
        }
    }

    /// When the next try is due at the latest. The text does not count down, so that a status that
    /// carries it stays the same while nothing changes.
    fn next_try(self) -> &'static str {
        match self {
            Self::Sandbox => NEXT_TRY,
            Self::Volumes => "next try within 10s or when an object of the pod changes",
        }
    }
}

/// Steps of a pod that failed rest for 10 to 15 s (kubelet v1.36).
const NEXT_TRY: &str = "next try within 15s";
/// A config that lacks an object is tried again when the object comes.
const NEXT_CONFIG_TRY: &str = "next try within 15s or when an object of the pod changes";

/// The trouble as the waiting containers show it.
pub fn trouble_text(trouble: Trouble, message: &str) -> String {
    let message = steady(message);
    let next = trouble.next_try();
    match trouble {
        Trouble::Sandbox => format!("{SANDBOX_FAILED}: {message}; {next}"),
        Trouble::Volumes => format!("{message}; {next}"),
    }
}

/// The failure as its waiting container shows it, with the next try. A part that sets the time of
/// the next try itself tells it itself; what follows a failed hook is the crash-loop wait's to tell.
pub fn waiting_message(failure: &StartFailure) -> String {
    let message = steady(&failure.message);
    match failure.retry_at {
        Some(_) => message,
        None if failure.reason == reason::POST_START_HOOK_ERROR => message,
        None if failure.reason == reason::CREATE_CONTAINER_CONFIG_ERROR => {
            format!("{message}; {NEXT_CONFIG_TRY}")
        }
        None => format!("{message}; {NEXT_TRY}"),
    }
}

/// The text without the ids that are other ones at each try: 64 hexadecimal digits for sandboxes
/// and containers, `cni-` and a UUID for network namespaces. Digests and other UUIDs stay.
pub fn steady(text: &str) -> String {
    let is_id = |c: char| c == '-' || c.is_ascii_digit() || ('a'..='f').contains(&c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let inside = is_id(first);
        let end = rest.find(|c| is_id(c) != inside).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        let sandbox = run.len() == 64 && !run.contains('-') && !out.ends_with("sha256:");
        let namespace = run.len() == 37 && run.starts_with('-') && out.ends_with("cni");
        out.push_str(match inside && (sandbox || namespace) {
            true => "<id>",
            false => run,
        });
        rest = after;
    }
    out
}

const SANDBOX_FAILED: &str = "Failed to create pod sandbox";

/// The event about a step; `None` when there is nothing to tell, or somebody told it already.
/// Texts and reasons are the kubelet's (v1.36).
pub fn step_event(pod: &Pod, report: &StepReport, now: Timestamp) -> Option<ApiEvent> {
    let event = |warning, reason, message: String, container: Option<(ContainerKind, &str)>| {
        let path = container.map(|(kind, name)| container_field_path(kind, name));
        Some(ApiEvent { object: pod_reference(pod, path), warning, reason, message, at: now })
    };
    match report {
        // The images slice tells about its pulls itself.
        StepReport::SandboxMade | StepReport::Pulling { .. } => None,
        StepReport::SandboxFailed { message } => {
            let text = format!("{SANDBOX_FAILED}: {message}; {}", Trouble::Sandbox.next_try());
            event(true, event::FAILED_CREATE_POD_SANDBOX, text, None)
        }
        StepReport::VolumesFailed { message } => {
            let text = format!("{message}; {}", Trouble::Volumes.next_try());
            event(true, event::FAILED_MOUNT, text, None)
        }
        StepReport::Created { name, kind } => {
            event(false, event::CREATED, "Container created".to_owned(), Some((*kind, name)))
        }
        // The hook's beginning is told as the container's start, as the runtime has started it.
        StepReport::Started { name, kind } | StepReport::HookRunning { name, kind } => {
            event(false, event::STARTED, "Container started".to_owned(), Some((*kind, name)))
        }
        StepReport::HookEnded { fell_back, .. } => {
            fell_back.as_deref().map(|server| hook_fallback_event(pod, server, now))
        }
        // What the hook printed may be secret, and more people read events than statuses.
        StepReport::HookFailed { failure, .. } => {
            let text = "PostStartHook failed".to_owned();
            let container = Some((failure.kind, failure.name.as_str()));
            event(true, event::FAILED_POST_START_HOOK, text, container)
        }
        StepReport::StartFailed(failure) if failure.published => None,
        StepReport::StartFailed(failure) => {
            let text = format!("Error: {}", waiting_message(failure));
            event(true, event::FAILED, text, Some((failure.kind, &failure.name)))
        }
    }
}

/// The `Killing` event of a stop.
pub fn stop_event(pod: &Pod, stop: &StopContainer, now: Timestamp) -> ApiEvent {
    killing_event(pod, &stop.name, stop.cause, now)
}

/// The `Killing` event of a stop that begins with a hook.
pub fn pre_stop_event(pod: &Pod, hook: &PreStop, now: Timestamp) -> ApiEvent {
    killing_event(pod, &hook.name, hook.cause, now)
}

fn killing_event(pod: &Pod, name: &str, cause: StopCause, now: Timestamp) -> ApiEvent {
    let message = match cause {
        StopCause::PodTerminating | StopCause::SandboxChanged | StopCause::Orphaned => {
            format!("Stopping container {name}")
        }
        StopCause::DefinitionChanged => {
            format!("Container {name} definition changed, will be restarted")
        }
        StopCause::StateUnknown => {
            "Container is in unknown state, try killing it before restart".to_owned()
        }
        StopCause::ProbeFailed(kind) => {
            let kind = kind.as_str().to_lowercase();
            let spec = pod.container(name).map(|(_, spec)| spec);
            match spec.is_some_and(|spec| restarts_failed(pod, spec)) {
                true => format!("Container {name} failed {kind} probe, will be restarted"),
                false => format!("Container {name} failed {kind} probe"),
            }
        }
        StopCause::PostStartFailed => event::FAILED_POST_START_HOOK.to_owned(),
    };
    let kind = pod.container(name).map_or(ContainerKind::Regular, |(kind, _)| kind);
    let object = pod_reference(pod, Some(container_field_path(kind, name)));
    ApiEvent { object, warning: false, reason: event::KILLING, message, at: now }
}

/// A preStop hook has failed or was cut off; the container is ended all the same.
pub fn pre_stop_failed_event(pod: &Pod, container: &str, now: Timestamp) -> ApiEvent {
    let message = "PreStopHook failed".to_owned();
    let kind = pod.container(container).map_or(ContainerKind::Regular, |(kind, _)| kind);
    let object = pod_reference(pod, Some(container_field_path(kind, container)));
    ApiEvent { object, warning: true, reason: event::FAILED_PRE_STOP_HOOK, message, at: now }
}

/// An HTTPS hook was answered by `server` over plain HTTP.
pub fn hook_fallback_event(pod: &Pod, server: &str, now: Timestamp) -> ApiEvent {
    let message = format!(
        "request to HTTPS lifecycle hook {server} got HTTP response, retry with HTTP succeeded"
    );
    let object = pod_reference(pod, None);
    ApiEvent { object, warning: true, reason: event::LIFECYCLE_HTTP_FALLBACK, message, at: now }
}

/// Said once for each wait of a crash loop, with the end it follows.
pub fn back_off_event(pod: &Pod, held: &HeldBack, last: Option<&Exit>, now: Timestamp) -> ApiEvent {
    let container = &held.name;
    let mut message = format!(
        "Back-off restarting failed container {container} in pod {}_{}({})",
        pod.name(),
        pod.namespace(),
        pod.uid()
    );
    if let (Some(exit), Some(until)) = (last, held.until) {
        let wait = until.duration_since(exit.finished_at).as_secs();
        let (code, why) = (exit.code, exit.reason.as_str());
        // Writing to a string cannot fail.
        let _ = write!(
            message,
            ": it ended with exit code {code} ({why}), next start {wait}s after that"
        );
    }
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

pub fn network_text(message: &str) -> String {
    format!("network is not ready: {message}")
}

/// The pod waits for the node's network, which says `message`.
pub fn network_event(pod: &Pod, message: &str, now: Timestamp) -> ApiEvent {
    let message = network_text(message);
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
