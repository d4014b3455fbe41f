//! Pure. Whether the node has room for a pod: resources, pod count, host ports.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1 as api;

use crate::model::quantity::Quantity;
use crate::model::resources::{CPU, EPHEMERAL_STORAGE, MEMORY, PODS, pod_requests};
use crate::model::{Pod, is_sidecar};

/// A resource of which too little is left. Amounts are milli-CPU for cpu, whole units else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shortage {
    pub resource: String,
    pub requested: i128,
    pub used: i128,
    pub capacity: i128,
}

impl Shortage {
    /// How much has to become free; above 0.
    pub fn missing(&self) -> i128 {
        self.requested - (self.capacity - self.used)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Node didn't have enough resource: {}, requested: {}, used: {}, capacity: {}",
            self.resource, self.requested, self.used, self.capacity
        )
    }
}

/// What the pod asks for beyond what is left of the node's allocatable; empty when it fits, and
/// while the Node shows no allocatable. An extended resource that the Node does not advertise is
/// the cluster's business and not judged.
pub(super) fn shortages(pod: &Pod, admitted: &[Pod], node: &api::Node) -> Vec<Shortage> {
    let allocatable = node.status.as_ref().and_then(|status| status.allocatable.as_ref());
    let Some(allocatable) = allocatable else { return Vec::new() };
    let room = |name: &str| {
        allocatable.get(name).and_then(|text| Quantity::parse(&text.0).ok()).map(|q| whole(name, q))
    };
    let mut found = Vec::new();
    let count = i128::try_from(admitted.len()).unwrap_or(i128::MAX - 1);
    if let Some(capacity) = room(PODS).filter(|capacity| count + 1 > *capacity) {
        found.push(Shortage { resource: PODS.to_owned(), requested: 1, used: count, capacity });
    }
    let wanted = requests(pod);
    let taken: Vec<BTreeMap<String, i128>> = admitted.iter().map(requests).collect();
    // The order upstream checks in; other resources follow by name.
    let first = [CPU, MEMORY, EPHEMERAL_STORAGE];
    let rest = wanted.keys().map(String::as_str).filter(|name| !first.contains(name));
    for name in first.into_iter().chain(rest) {
        let requested = wanted.get(name).copied().unwrap_or(0);
        let capacity = room(name);
        if requested <= 0 || capacity.is_none() && is_extended(name) {
            continue;
        }
        let capacity = capacity.unwrap_or(0);
        let used = taken.iter().filter_map(|pod| pod.get(name)).sum();
        if used + requested > capacity {
            found.push(Shortage { resource: name.to_owned(), requested, used, capacity });
        }
    }
    found
}

/// How much of a resource ends with the pod.
pub(super) fn request(pod: &Pod, resource: &str) -> i128 {
    match resource {
        PODS => 1,
        _ => pod_requests(pod.spec()).get(resource).map_or(0, |amount| whole(resource, *amount)),
    }
}

/// A resource of somebody else's making: its name has a domain, which is not Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

/// The pod's requests in the unit admission counts in.
fn requests(pod: &Pod) -> BTreeMap<String, i128> {
    let counted = |(name, amount): (String, Quantity)| {
        let amount = whole(&name, amount);
        (name, amount)
    };
    pod_requests(pod.spec()).into_iter().map(counted).collect()
}

/// Milli-CPU for cpu, the whole value for everything else.
fn whole(name: &str, quantity: Quantity) -> i128 {
    if name == CPU { quantity.milli_value().into() } else { quantity.value().into() }
}

/// Whether no admitted pod has one of the pod's host ports.
pub(super) fn host_ports(pod: &Pod, admitted: &[Pod]) -> bool {
    let wanted = ports(pod);
    wanted.is_empty()
        || !admitted.iter().flat_map(ports).any(|taken| wanted.iter().any(|w| w.clashes(&taken)))
}

struct HostPort<'a> {
    ip: &'a str,
    protocol: &'a str,
    port: i32,
}

impl HostPort<'_> {
    fn clashes(&self, other: &Self) -> bool {
        const ANY: &str = "0.0.0.0";
        self.port == other.port
            && self.protocol == other.protocol
            && (self.ip == ANY || other.ip == ANY || self.ip == other.ip)
    }
}

/// Host ports of the containers that run all the pod's life: regular ones and sidecars.
fn ports(pod: &Pod) -> Vec<HostPort<'_>> {
    let init = pod.spec().init_containers.iter().flatten().filter(|c| is_sidecar(c));
    let containers = init.chain(&pod.spec().containers);
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    containers
        .flat_map(|container| container.ports.iter().flatten())
        .filter_map(|port| {
            let ip = port.host_ip.as_deref().filter(|_| given(&port.host_ip));
            let protocol = port.protocol.as_deref().filter(|_| given(&port.protocol));
            Some(HostPort {
                ip: ip.unwrap_or("0.0.0.0"),
                protocol: protocol.unwrap_or("TCP"),
                port: port.host_port.filter(|port| *port > 0)?,
            })
        })
        .collect()
}
