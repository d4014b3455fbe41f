//! Pure. A pod's whole status from what is seen of it.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::conditions;
use super::container_status::{ContainerView, container_status};
use super::phase::{Phase, phase};
use crate::model::{Pod, RuntimePod, SandboxState};
use crate::podplan::HeldBack;
use crate::podworker::{EndCause, Lifecycle};
use crate::reason;

#[cfg(test)]
mod tests;

/// Everything a status is made from.
pub struct StatusInput<'a> {
    pub pod: &'a Pod,
    pub lifecycle: &'a Lifecycle,
    pub runtime: &'a RuntimePod,
    /// Containers that are not running, with the reason to publish.
    pub waiting: &'a [HeldBack],
    /// The status published last, or the API copy after a restart of noded.
    pub previous: &'a api::PodStatus,
    /// Addresses of the node, primary family first; empty while unknown.
    pub host_ips: &'a [IpAddr],
    pub now: Timestamp,
}

/// The status to publish. A terminal phase appears only once the pod is `Terminated` or
/// `Finished`, that is when nothing of it runs, and then never changes.
pub fn generate(input: &StatusInput<'_>) -> api::PodStatus {
    let previous_phase = input.previous.phase.as_deref().and_then(Phase::parse);
    let cause = match input.lifecycle {
        Lifecycle::Waiting | Lifecycle::Syncing => None,
        Lifecycle::Terminating { cause, .. }
        | Lifecycle::Terminated { cause }
        | Lifecycle::Finished { cause } => Some(cause),
    };
    let ended =
        matches!(input.lifecycle, Lifecycle::Terminated { .. } | Lifecycle::Finished { .. });
    if let Some(EndCause::Rejected { reason, message }) = cause {
        return rejected(input, reason, message);
    }
    let statuses = container_statuses(input, ended);
    let phase = match previous_phase.filter(|phase| phase.is_terminal()) {
        Some(terminal) => terminal,
        None => published_phase(input, &statuses, cause, ended),
    };
    let sandbox_ready = !ended && has_network(input);
    let conditions = conditions(
        input.pod,
        phase,
        &statuses,
        sandbox_ready,
        input.previous.conditions.as_deref().unwrap_or_default(),
        input.now,
    );
    let mut status = api::PodStatus {
        phase: Some(phase.as_str().to_owned()),
        conditions: Some(conditions),
        container_statuses: Some(statuses),
        start_time: input.previous.start_time.clone().or(Some(Time(input.now))),
        ..carried_on(input)
    };
    if matches!(cause, Some(EndCause::DeadlineExceeded)) {
        status.reason = Some(reason::DEADLINE_EXCEEDED.to_owned());
        status.message =
            Some("Pod was active on the node longer than the specified deadline".to_owned());
    }
    set_addresses(&mut status, input);
    status
}

/// Fields of the previous status that nothing here decides.
fn carried_on(input: &StatusInput<'_>) -> api::PodStatus {
    let previous = input.previous;
    api::PodStatus {
        observed_generation: (input.pod.generation() > 0).then(|| input.pod.generation()),
        qos_class: previous
            .qos_class
            .clone()
            .or_else(|| Some(crate::model::qos::qos_class(input.pod.spec()).as_str().to_owned())),
        reason: previous.reason.clone(),
        message: previous.message.clone(),
        nominated_node_name: previous.nominated_node_name.clone(),
        resize: previous.resize.clone(),
        resource_claim_statuses: previous.resource_claim_statuses.clone(),
        ephemeral_container_statuses: previous.ephemeral_container_statuses.clone(),
        init_container_statuses: previous.init_container_statuses.clone(),
        ..api::PodStatus::default()
    }
}

fn published_phase(
    input: &StatusInput<'_>,
    statuses: &[api::ContainerStatus],
    cause: Option<&EndCause>,
    ended: bool,
) -> Phase {
    let computed = phase(input.pod, statuses, ended);
    if ended {
        return match cause {
            Some(EndCause::DeadlineExceeded) => Phase::Failed,
            _ if computed.is_terminal() => computed,
            _ => Phase::Failed,
        };
    }
    if computed.is_terminal() { Phase::Running } else { computed }
}

fn container_statuses(input: &StatusInput<'_>, ended: bool) -> Vec<api::ContainerStatus> {
    let previous = input.previous.container_statuses.as_deref().unwrap_or_default();
    let restarts = input.pod.restart_policy() == "Always"
        && matches!(input.lifecycle, Lifecycle::Waiting | Lifecycle::Syncing);
    let mut statuses: Vec<_> = input
        .pod
        .spec()
        .containers
        .iter()
        .map(|spec| {
            container_status(&ContainerView {
                spec,
                runtime: input.runtime,
                held_back: input.waiting.iter().find(|held| held.name == spec.name),
                previous: previous.iter().find(|status| status.name == spec.name),
                ended,
                restarts,
            })
        })
        .collect();
    statuses.sort_by(|a, b| a.name.cmp(&b.name));
    statuses
}

fn has_network(input: &StatusInput<'_>) -> bool {
    input.runtime.newest_sandbox().is_some_and(|sandbox| {
        sandbox.state == SandboxState::Ready && (sandbox.host_network || !sandbox.ips.is_empty())
    })
}

fn set_addresses(status: &mut api::PodStatus, input: &StatusInput<'_>) {
    let previous = input.previous;
    if input.host_ips.is_empty() {
        status.host_ip.clone_from(&previous.host_ip);
        status.host_ips.clone_from(&previous.host_ips);
    } else {
        status.host_ip = Some(input.host_ips[0].to_string());
        let ips = input.host_ips.iter().map(|ip| api::HostIP { ip: ip.to_string() });
        status.host_ips = Some(ips.collect());
    }
    let sandbox = input.runtime.newest_sandbox();
    let ips: &[IpAddr] = match sandbox {
        Some(sandbox) if sandbox.host_network => input.host_ips,
        Some(sandbox) => &sandbox.ips,
        None => &[],
    };
    if ips.is_empty() {
        status.pod_ip.clone_from(&previous.pod_ip);
        status.pod_ips.clone_from(&previous.pod_ips);
        return;
    }
    // The pod's primary address has the family of the node's primary address.
    let primary_is_v4 = input.host_ips.first().is_none_or(IpAddr::is_ipv4);
    let mut ordered: Vec<IpAddr> = ips.to_vec();
    ordered.sort_by_key(|ip| ip.is_ipv4() != primary_is_v4);
    status.pod_ip = Some(ordered[0].to_string());
    status.pod_ips = Some(ordered.iter().map(|ip| api::PodIP { ip: ip.to_string() }).collect());
}

/// The status of a pod that admission refused: Failed, and nothing of it ever ran.
fn rejected(input: &StatusInput<'_>, reason: &str, message: &str) -> api::PodStatus {
    let previous = input.previous;
    let mut status = api::PodStatus {
        phase: Some(Phase::Failed.as_str().to_owned()),
        start_time: previous.start_time.clone().or(Some(Time(input.now))),
        conditions: previous.conditions.clone(),
        container_statuses: previous.container_statuses.clone(),
        ..carried_on(input)
    };
    status.reason = Some(reason.to_owned());
    status.message = Some(format!("Pod was rejected: {message}"));
    set_addresses(&mut status, input);
    status
}
