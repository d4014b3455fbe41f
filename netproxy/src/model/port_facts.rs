//! Pure. A service port with its endpoints and what every back end derives from them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::endpoint::{Endpoint, EndpointState};
use super::service_port::ServicePort;
use super::traffic_policy::{Categories, Topology, categorize};
use crate::input::TrafficPolicy;

/// A service port with its endpoints, sorted out by use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortFacts {
    /// The service port.
    pub port: ServicePort,
    /// Its endpoints, usable or not, by address and port as texts.
    pub endpoints: Vec<Endpoint>,
    /// Which of them are used, and for what.
    pub used: Categories,
}

impl PortFacts {
    /// The facts as seen from the node that `topology` tells of.
    pub fn new(port: ServicePort, endpoints: Vec<Endpoint>, topology: &Topology) -> Self {
        let used = categorize(&port, &endpoints, topology);
        Self { port, endpoints, used }
    }

    /// Whether the cluster address leads to an endpoint.
    pub fn has_internal(&self) -> bool {
        self.has_endpoints_for(self.port.internal_policy)
    }

    /// Whether traffic from outside finds an endpoint.
    pub fn has_external(&self) -> bool {
        self.has_endpoints_for(self.port.external_policy)
    }

    /// Whether traffic from outside is treated on its own. It is even without a local endpoint
    /// under policy Local, for clients inside the cluster.
    pub fn uses_external(&self) -> bool {
        self.used.any && self.port.externally_accessible()
    }

    /// Whether source ranges stand before the load balancer addresses.
    pub fn uses_firewall(&self) -> bool {
        self.used.any
            && !self.port.load_balancer_ips.is_empty()
            && !self.port.source_ranges.is_empty()
    }

    /// The endpoints for ways in with this policy.
    pub fn endpoints_for(&self, policy: TrafficPolicy) -> impl Iterator<Item = &Endpoint> {
        let positions = match policy {
            TrafficPolicy::Cluster => &self.used.cluster,
            TrafficPolicy::Local => &self.used.local,
        };
        positions.iter().filter_map(|position| self.endpoints.get(*position))
    }

    /// The addresses of this node that take new connections; their number is what health check
    /// node ports tell load balancers.
    pub fn local_ready_addresses(&self) -> BTreeSet<IpAddr> {
        let local = self.endpoints.iter().filter(|endpoint| endpoint.is_local);
        let ready = local.filter(|endpoint| endpoint.state == EndpointState::Ready);
        ready.map(|endpoint| endpoint.address).collect()
    }

    fn has_endpoints_for(&self, policy: TrafficPolicy) -> bool {
        self.used.any && (policy == TrafficPolicy::Cluster || !self.used.local.is_empty())
    }
}
