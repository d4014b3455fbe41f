//! Services, slices and nodes with as few words as possible.

use std::net::IpAddr;
use std::sync::Arc;

use crate::config::IpFamily;
use crate::input::{
    AddressType, Conditions, EndpointSlice, Hint, IngressIp, Metadata, NodeAddressKind, NodeFacts,
    ObjectKey, Parsed, Protocol, Service, ServiceChange, ServiceSpecPort, ServiceType,
    SessionAffinity, SliceEndpoint, SlicePort, TrafficPolicy, parse_cidr, parse_ip,
};

/// The node that builders call local.
pub const LOCAL_NODE: &str = "node-1";
/// The node of all other endpoints.
pub const OTHER_NODE: &str = "node-2";

fn ip(text: &str) -> IpAddr {
    parse_ip(text).unwrap_or_else(|| panic!("{text} is no address"))
}

fn key(text: &str) -> ObjectKey {
    let (namespace, name) = text.split_once('/').unwrap_or(("default", text));
    ObjectKey::new(namespace, name)
}

/// A ClusterIP service `namespace/name` without addresses and ports.
pub fn service(name: &str) -> ServiceBuilder {
    let ObjectKey { namespace, name } = key(name);
    let metadata = Metadata { namespace, name, ..Metadata::default() };
    ServiceBuilder(Service { metadata, ..Service::default() })
}

/// Builds a service.
#[derive(Clone, Debug)]
pub struct ServiceBuilder(Service);

impl ServiceBuilder {
    /// Adds a cluster address.
    #[must_use]
    pub fn cluster_ip(mut self, address: &str) -> Self {
        self.0.spec.cluster_ips.push(Parsed::Valid(ip(address)));
        self
    }

    /// Adds a port; an empty name for none.
    #[must_use]
    pub fn port(mut self, name: &str, protocol: Protocol, port: u16) -> Self {
        let protocol = Parsed::Valid(protocol);
        self.0.spec.ports.push(ServiceSpecPort { name: name.into(), protocol, port, node_port: 0 });
        self
    }

    /// Gives the last port a node port.
    #[must_use]
    pub fn node_port(mut self, node_port: u16) -> Self {
        if let Some(port) = self.0.spec.ports.last_mut() {
            port.node_port = node_port;
        }
        if self.0.spec.service_type == ServiceType::ClusterIp {
            self.0.spec.service_type = ServiceType::NodePort;
        }
        self
    }

    /// Adds an external address.
    #[must_use]
    pub fn external_ip(mut self, address: &str) -> Self {
        self.0.spec.external_ips.push(Parsed::Valid(ip(address)));
        self
    }

    /// Adds a load balancer address.
    #[must_use]
    pub fn load_balancer_ip(mut self, address: &str) -> Self {
        self.0.spec.service_type = ServiceType::LoadBalancer;
        let entry = IngressIp { ip: Some(Parsed::Valid(ip(address))), ip_mode: None };
        self.0.status.load_balancer.ingress.push(entry);
        self
    }

    /// Adds a source range.
    #[must_use]
    pub fn source_range(mut self, range: &str) -> Self {
        let range = parse_cidr(range).unwrap_or_else(|| panic!("{range} is no network"));
        self.0.spec.load_balancer_source_ranges.push(Parsed::Valid(range));
        self
    }

    /// Uses only endpoints of the node for traffic from outside.
    #[must_use]
    pub fn external_local(mut self) -> Self {
        self.0.spec.external_traffic_policy = TrafficPolicy::Local;
        self
    }

    /// Uses only endpoints of the node for traffic to the cluster address.
    #[must_use]
    pub fn internal_local(mut self) -> Self {
        self.0.spec.internal_traffic_policy = TrafficPolicy::Local;
        self
    }

    /// Ties clients to endpoints for that many seconds.
    #[must_use]
    pub fn affinity(mut self, seconds: u32) -> Self {
        self.0.spec.session_affinity = SessionAffinity::ClientIp;
        self.0.spec.session_affinity_config.client_ip.timeout_seconds = Some(seconds);
        self
    }

    /// Sets the health check node port.
    #[must_use]
    pub fn health_check(mut self, port: u16) -> Self {
        self.0.spec.health_check_node_port = port;
        self
    }

    /// Sets a label.
    #[must_use]
    pub fn label(mut self, name: &str, value: &str) -> Self {
        self.0.metadata.labels.insert(name.into(), value.into());
        self
    }

    /// Changes anything else.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Service)) -> Self {
        change(&mut self.0);
        self
    }

    /// The service.
    pub fn build(self) -> Service {
        self.0
    }

    /// The service as a change.
    pub fn applied(self) -> ServiceChange {
        ServiceChange::ServiceApplied(Box::new(self.0))
    }
}

/// An IPv4 slice of the service `namespace/name`, itself named `name-1`, without anything in it.
pub fn slice(service: &str) -> SliceBuilder {
    let ObjectKey { namespace, name } = key(service);
    let labels = [(Arc::from("kubernetes.io/service-name"), name.clone())].into();
    let name = format!("{name}-1").into();
    let metadata = Metadata { namespace, name, labels, ..Metadata::default() };
    SliceBuilder(EndpointSlice {
        metadata,
        address_type: AddressType::Ipv4,
        ..EndpointSlice::default()
    })
}

/// Builds a slice.
#[derive(Clone, Debug)]
pub struct SliceBuilder(EndpointSlice);

impl SliceBuilder {
    /// Changes the name.
    #[must_use]
    pub fn named(mut self, name: &str) -> Self {
        self.0.metadata.name = name.into();
        self
    }

    /// Adds a port.
    #[must_use]
    pub fn port(mut self, name: &str, protocol: Protocol, port: u16) -> Self {
        let port = SlicePort { name: Some(name.into()), protocol: Parsed::Valid(protocol), port };
        self.0.ports.push(port);
        self
    }

    /// Adds a ready endpoint on another node; its address decides the type of the slice.
    #[must_use]
    pub fn endpoint(self, address: &str) -> Self {
        self.endpoint_on(address, OTHER_NODE)
    }

    /// Adds a ready endpoint on the local node.
    #[must_use]
    pub fn local(self, address: &str) -> Self {
        self.endpoint_on(address, LOCAL_NODE)
    }

    fn endpoint_on(mut self, address: &str, node: &str) -> Self {
        let address = ip(address);
        self.0.address_type = match IpFamily::of(address) {
            IpFamily::V4 => AddressType::Ipv4,
            IpFamily::V6 => AddressType::Ipv6,
        };
        self.0.endpoints.push(SliceEndpoint {
            address: Some(Parsed::Valid(address)),
            node_name: Some(node.into()),
            ..SliceEndpoint::default()
        });
        self
    }

    /// Sets the conditions of the last endpoint.
    #[must_use]
    #[expect(clippy::fn_params_excessive_bools, reason = "the three conditions of the API")]
    pub fn conditions(self, ready: bool, serving: bool, terminating: bool) -> Self {
        self.last(|endpoint| {
            endpoint.conditions = Conditions {
                ready: Some(ready),
                serving: Some(serving),
                terminating: Some(terminating),
            };
        })
    }

    /// Hints the last endpoint at a zone.
    #[must_use]
    pub fn for_zone(self, zone: &str) -> Self {
        self.last(|endpoint| endpoint.hints.for_zones.push(Hint { name: zone.into() }))
    }

    /// Hints the last endpoint at a node.
    #[must_use]
    pub fn for_node(self, node: &str) -> Self {
        self.last(|endpoint| endpoint.hints.for_nodes.push(Hint { name: node.into() }))
    }

    /// Changes anything else.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut EndpointSlice)) -> Self {
        change(&mut self.0);
        self
    }

    fn last(mut self, change: impl FnOnce(&mut SliceEndpoint)) -> Self {
        if let Some(endpoint) = self.0.endpoints.last_mut() {
            change(endpoint);
        }
        self
    }

    /// The slice.
    pub fn build(self) -> EndpointSlice {
        self.0
    }

    /// The slice as a change.
    pub fn applied(self) -> ServiceChange {
        ServiceChange::SliceApplied(Box::new(self.0))
    }
}

/// The local node with these internal addresses.
pub fn node(addresses: &[&str]) -> NodeFacts {
    NodeFacts {
        name: LOCAL_NODE.into(),
        addresses: addresses.iter().map(|text| (NodeAddressKind::Internal, ip(text))).collect(),
        ..NodeFacts::default()
    }
}
