//! Pure. Addresses of a pod and of its node.

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;

use super::generate::StatusInput;
use crate::model::SandboxState;

/// Fills in the addresses. One that is not known now stays what it was.
pub(super) fn set_addresses(status: &mut api::PodStatus, input: &StatusInput<'_>) {
    let previous = &input.seen.previous;
    if input.host_ips.is_empty() {
        status.host_ip.clone_from(&previous.host_ip);
        status.host_ips.clone_from(&previous.host_ips);
    } else {
        status.host_ip = Some(input.host_ips[0].to_string());
        let ips = input.host_ips.iter().map(|ip| api::HostIP { ip: ip.to_string() });
        status.host_ips = Some(ips.collect());
    }
    let ips: &[IpAddr] = match input.seen.runtime.newest_sandbox() {
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

/// Whether there is a ready sandbox with its network.
pub(super) fn has_network(input: &StatusInput<'_>) -> bool {
    input.seen.runtime.newest_sandbox().is_some_and(|sandbox| {
        sandbox.state == SandboxState::Ready && (sandbox.host_network || !sandbox.ips.is_empty())
    })
}
