//! Pure. Whether the node has room for a pod: resources, pod count, host ports.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;

use super::AdmitDecision;
use crate::model::Pod;
use crate::model::quantity::Quantity;
use crate::model::resources::pod_requests;
use crate::reason::admission as reason;

/// Refuses a pod that asks for more of something than is left of the node's allocatable. A
/// resource the node does not advertise at all is not judged here, as upstream.
pub(super) fn resources(pod: &Pod, admitted: &[Pod], node: &api::Node) -> Option<AdmitDecision> {
    let status = node.status.as_ref()?;
    let allocatable = status.allocatable.as_ref()?;
    let room = |name: &str| {
        allocatable.get(name).and_then(|text| Quantity::parse(&text.0).ok()).map(|q| whole(name, q))
    };
    let count = i128::try_from(admitted.len()).unwrap_or(i128::MAX);
    if let Some(pods) = room("pods").filter(|pods| count + 1 > *pods) {
        return Some(short(reason::OUT_OF_PODS, "pods", 1, count, pods));
    }
    let wanted = requests(pod);
    let mut used: BTreeMap<String, i128> = BTreeMap::new();
    for other in admitted {
        for (name, amount) in requests(other) {
            *used.entry(name).or_default() += amount;
        }
    }
    // The order upstream checks in; other resources follow by name.
    let first = ["cpu", "memory", "ephemeral-storage"];
    let rest = wanted.keys().map(String::as_str).filter(|name| !first.contains(name));
    first.into_iter().chain(rest).find_map(|name| {
        let (asked, have) = (*wanted.get(name)?, room(name)?);
        let used = used.get(name).copied().unwrap_or(0);
        (asked > 0 && used + asked > have)
            .then(|| short(&format!("OutOf{name}"), name, asked, used, have))
    })
}

fn short(reason: &str, name: &str, asked: i128, used: i128, have: i128) -> AdmitDecision {
    AdmitDecision::reject(
        reason,
        format!(
            "Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {have}"
        ),
    )
}

/// The pod's requests in the unit admission counts in.
fn requests(pod: &Pod) -> BTreeMap<String, i128> {
    pod_requests(pod.spec())
        .into_iter()
        .map(|(name, q)| {
            let n = whole(&name, q);
            (name, n)
        })
        .collect()
}

/// Milli-CPU for cpu, the whole value for everything else.
fn whole(name: &str, quantity: Quantity) -> i128 {
    if name == "cpu" { quantity.milli_value().into() } else { quantity.value().into() }
}

/// Refuses a pod whose host port is taken by an admitted pod.
pub(super) fn host_ports(pod: &Pod, admitted: &[Pod], _node: &api::Node) -> Option<AdmitDecision> {
    let wanted = ports(pod);
    let taken: Vec<HostPort> = admitted.iter().flat_map(ports).collect();
    wanted.iter().any(|port| taken.iter().any(|other| port.clashes(other))).then(|| {
        AdmitDecision::reject(
            reason::NODE_PORTS,
            "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports",
        )
    })
}

struct HostPort {
    ip: String,
    protocol: String,
    port: i32,
}

impl HostPort {
    fn clashes(&self, other: &Self) -> bool {
        let any = |ip: &str| ip.is_empty() || ip == "0.0.0.0" || ip == "::";
        self.port == other.port
            && self.protocol == other.protocol
            && (any(&self.ip) || any(&other.ip) || self.ip == other.ip)
    }
}

fn ports(pod: &Pod) -> Vec<HostPort> {
    let containers = pod.spec().containers.iter();
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let number = port.host_port.filter(|port| *port > 0)?;
            Some(HostPort {
                ip: port.host_ip.clone().unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
                port: number,
            })
        })
        .collect()
}
