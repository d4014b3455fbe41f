//! Pure. Which entries are stale.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};

use super::boundary::Flow;
use crate::model::endpoint::{Endpoint, EndpointState};
use crate::model::service_port::ServicePort;

/// Ways into one UDP service port, and who may answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UdpTargets {
    /// Cluster, external and load balancer addresses with the port.
    pub addresses: Vec<SocketAddr>,
    /// Port on the node's addresses.
    pub node_port: Option<u16>,
    /// Endpoints that answer, whether they take new connections or not.
    pub endpoints: HashSet<SocketAddr>,
}

impl UdpTargets {
    /// The targets of a service port with these endpoints.
    pub fn new(port: &ServicePort, endpoints: &[Endpoint]) -> Self {
        let ways = [port.cluster_ip].into_iter();
        let ways = ways.chain(port.external_ips.iter().copied());
        let ways = ways.chain(port.load_balancer_ips.iter().copied());
        Self {
            addresses: ways.map(|address| SocketAddr::new(address, port.port)).collect(),
            node_port: port.node_port,
            endpoints: endpoints
                .iter()
                .filter(|endpoint| endpoint.state != EndpointState::Down)
                .map(|endpoint| SocketAddr::new(endpoint.address, endpoint.port))
                .collect(),
        }
    }
}

/// The flows to a service port that none of its endpoints answers.
///
/// A flow that was never translated is stale once there is an endpoint it could go to. A
/// destination on `local_addresses` with a node port counts as that service port.
pub fn stale_flows<'a>(
    flows: &[Flow],
    targets: impl IntoIterator<Item = &'a UdpTargets>,
    local_addresses: &[IpAddr],
) -> Vec<Flow> {
    let mut by_address: HashMap<SocketAddr, &UdpTargets> = HashMap::new();
    let mut by_node_port: HashMap<u16, &UdpTargets> = HashMap::new();
    for target in targets {
        by_address.extend(target.addresses.iter().map(|address| (*address, target)));
        by_node_port.extend(target.node_port.map(|port| (port, target)));
    }
    let local: HashSet<&IpAddr> = local_addresses.iter().collect();
    let is_stale = |flow: &&Flow| {
        let target = by_address.get(&flow.destination).or_else(|| {
            let node_port = by_node_port.get(&flow.destination.port())?;
            local.contains(&flow.destination.ip()).then_some(node_port)
        });
        target.is_some_and(|target| {
            let translated = flow.answered_by != flow.destination;
            !target.endpoints.contains(&flow.answered_by)
                && (translated || !target.endpoints.is_empty())
        })
    };
    flows.iter().filter(is_stale).copied().collect()
}

#[cfg(test)]
mod tests;
