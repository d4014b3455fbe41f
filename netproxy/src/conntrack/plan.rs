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

/// Tells stale flows from others.
///
/// A flow is stale when it goes to a service port and none of its endpoints answers it; one that
/// was never translated, only once there is an endpoint it could go to.
#[derive(Clone, Debug, Default)]
pub struct StaleTest<'a> {
    by_address: HashMap<SocketAddr, &'a UdpTargets>,
    by_node_port: HashMap<u16, &'a UdpTargets>,
    node_port_addresses: HashSet<IpAddr>,
    loopback: bool,
}

impl<'a> StaleTest<'a> {
    /// The test for flows to these targets, with node ports on these addresses. A loopback
    /// address among them stands for all loopback addresses of its family.
    pub fn new(
        targets: impl IntoIterator<Item = &'a UdpTargets>,
        node_port_addresses: &[IpAddr],
    ) -> Self {
        let mut test = Self {
            node_port_addresses: node_port_addresses.iter().copied().collect(),
            loopback: node_port_addresses.iter().any(IpAddr::is_loopback),
            ..Self::default()
        };
        for target in targets {
            test.by_address.extend(target.addresses.iter().map(|address| (*address, target)));
            test.by_node_port.extend(target.node_port.map(|port| (port, target)));
        }
        test
    }

    /// Whether no flow at all can be stale.
    pub fn is_empty(&self) -> bool {
        self.by_address.is_empty() && self.by_node_port.is_empty()
    }

    /// Whether the flow is stale.
    pub fn is_stale(&self, flow: &Flow) -> bool {
        let target = self.by_address.get(&flow.destination).or_else(|| {
            let target = self.by_node_port.get(&flow.destination.port())?;
            self.answers_node_ports(flow.destination.ip()).then_some(target)
        });
        target.is_some_and(|target| {
            let translated = flow.answered_by != flow.destination;
            !target.endpoints.contains(&flow.answered_by)
                && (translated || !target.endpoints.is_empty())
        })
    }

    fn answers_node_ports(&self, address: IpAddr) -> bool {
        self.node_port_addresses.contains(&address) || (self.loopback && address.is_loopback())
    }
}

#[cfg(test)]
mod tests;
