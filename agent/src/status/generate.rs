//! Pure. A pod's whole status from what is seen of it.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::addresses::{has_network, set_addresses};
use super::conditions::{ConditionInput, conditions};
use super::phase::{Phase, phase};
use super::statuses::Statuses;
use crate::model::Pod;
use crate::model::qos::qos_class;
use crate::podplan::{HeldBack, Observation};
use crate::podworker::{EndCause, Lifecycle};
use crate::reason;

#[cfg(test)]
mod tests;

const DEADLINE_MESSAGE: &str = "Pod was active on the node longer than the specified deadline";
const PREEMPTED_MESSAGE: &str = "Pod was preempted by Kubelet to accommodate a critical pod.";

/// Everything a status is made from.
pub struct StatusInput<'a> {
    pub pod: &'a Pod,
    pub seen: &'a Observation,
    /// Containers that are not running, with the reason to publish.
    pub waiting: &'a [HeldBack],
    /// Why none of the pod's containers can be made, in words for users.
    pub trouble: Option<&'a str>,
    /// Addresses of the node, primary family first; empty while unknown.
    pub host_ips: &'a [IpAddr],
}

impl StatusInput<'_> {
    /// Nothing of the pod runs or will run.
    pub(super) fn has_ended(&self) -> bool {
        let stage = &self.seen.lifecycle;
        matches!(stage, Lifecycle::Terminated { .. } | Lifecycle::Finished { .. })
    }
}

/// The status to publish. A terminal phase, and what explains it, appears only once the pod is
/// `Terminated` or `Finished`, that is when nothing of it runs, and then never changes.
pub fn generate(input: &StatusInput<'_>) -> api::PodStatus {
    let previous = &input.seen.previous;
    let cause = input.seen.lifecycle.end_cause();
    if let Some(EndCause::Rejected { reason, message }) = cause {
        return rejected(input, reason, message);
    }
    let statuses = Statuses::of(input);
    let ended = input.has_ended();
    let settled = previous.phase.as_deref().and_then(Phase::parse).filter(|old| old.is_terminal());
    let phase = settled.unwrap_or_else(|| published_phase(input, &statuses, cause));
    let conditions = conditions(&ConditionInput {
        pod: input.pod,
        phase,
        statuses: &statuses,
        sandbox_ready: !ended && has_network(input),
        disruption: match cause {
            Some(EndCause::Preempted { .. }) if ended => Some(PREEMPTED_MESSAGE),
            _ => None,
        },
        previous: previous.conditions.as_deref().unwrap_or_default(),
        now: input.seen.now,
    });
    let has = |list: &Vec<api::ContainerStatus>| !list.is_empty();
    let mut status = api::PodStatus {
        phase: Some(phase.as_str().to_owned()),
        conditions: Some(conditions),
        init_container_statuses: Some(statuses.init).filter(has),
        container_statuses: Some(statuses.regular),
        ephemeral_container_statuses: Some(statuses.ephemeral).filter(has),
        ..carried_on(input)
    };
    let why = match cause.filter(|_| ended && settled.is_none()) {
        Some(EndCause::DeadlineExceeded) => Some((reason::DEADLINE_EXCEEDED, DEADLINE_MESSAGE)),
        Some(EndCause::Preempted { message }) => {
            Some((reason::event::PREEMPTING, message.as_str()))
        }
        _ => None,
    };
    if let Some((reason, message)) = why {
        status.reason = Some(reason.to_owned());
        status.message = Some(message.to_owned());
    }
    set_addresses(&mut status, input);
    status
}

/// Fields that the containers have no say in.
fn carried_on(input: &StatusInput<'_>) -> api::PodStatus {
    let previous = &input.seen.previous;
    let qos = || qos_class(input.pod.spec()).as_str().to_owned();
    api::PodStatus {
        observed_generation: (input.pod.generation() > 0).then(|| input.pod.generation()),
        qos_class: Some(previous.qos_class.clone().unwrap_or_else(qos)),
        reason: previous.reason.clone(),
        message: previous.message.clone(),
        start_time: previous.start_time.clone().or(Some(Time(input.seen.now))),
        ..api::PodStatus::default()
    }
}

/// The phase of a pod whose end is not published yet. One that still has something to end does not
/// show how it will end.
fn published_phase(
    input: &StatusInput<'_>,
    statuses: &Statuses,
    cause: Option<&EndCause>,
) -> Phase {
    let computed = phase(input.pod, statuses, input.has_ended());
    match (input.has_ended(), cause) {
        (true, Some(EndCause::DeadlineExceeded | EndCause::Preempted { .. })) => Phase::Failed,
        (true, _) if computed.is_terminal() => computed,
        (true, _) => Phase::Failed,
        (false, _) if !computed.is_terminal() => computed,
        (false, _) if statuses.any_regular_ran() => Phase::Running,
        (false, _) => Phase::Pending,
    }
}

/// The status of a pod that admission refused: Failed, and nothing of it ever ran.
fn rejected(input: &StatusInput<'_>, reason: &str, message: &str) -> api::PodStatus {
    let previous = &input.seen.previous;
    let mut status = api::PodStatus {
        phase: Some(Phase::Failed.as_str().to_owned()),
        conditions: previous.conditions.clone(),
        init_container_statuses: previous.init_container_statuses.clone(),
        container_statuses: previous.container_statuses.clone(),
        ephemeral_container_statuses: previous.ephemeral_container_statuses.clone(),
        ..carried_on(input)
    };
    status.reason = Some(reason.to_owned());
    status.message = Some(format!("Pod was rejected: {message}"));
    set_addresses(&mut status, input);
    status
}
