//! Pure. Service to service ports.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::config::IpFamily;
use crate::input::{
    Metadata, ObjectKey, Parsed, Protocol, Service, ServiceType, SessionAffinity, TrafficPolicy,
};

/// Label that hands a service to another proxy; its value does not matter.
const SERVICE_PROXY_NAME: &str = "service.kubernetes.io/service-proxy-name";
/// Seconds of `ClientIP` affinity when the object names none (API default, v1.36).
const AFFINITY_SECONDS: u32 = 10_800;

/// Identity of a service port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServicePortName {
    /// The service.
    pub service: ObjectKey,
    /// Name of the port; empty when it has none.
    pub port: Arc<str>,
    /// Protocol.
    pub protocol: Protocol,
}

impl fmt::Display for ServicePortName {
    /// `namespace/name`, and `:port` if the port has a name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.service)?;
        if !self.port.is_empty() {
            write!(f, ":{}", self.port)?;
        }
        Ok(())
    }
}

/// One port of a service in one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// Identity.
    pub name: ServicePortName,
    /// Cluster address.
    pub cluster_ip: IpAddr,
    /// Port on the cluster, external and load balancer addresses.
    pub port: u16,
    /// Port on the node addresses.
    pub node_port: Option<u16>,
    /// External addresses of the family.
    pub external_ips: Vec<IpAddr>,
    /// Load balancer addresses of the family that the node has to answer for.
    pub load_balancer_ips: Vec<IpAddr>,
    /// Who may use the load balancer addresses; empty means everybody.
    pub source_ranges: Vec<IpNet>,
    /// Endpoints for traffic to the cluster address.
    pub internal_policy: TrafficPolicy,
    /// Endpoints for traffic from outside; `Cluster` when there is no way in from outside.
    pub external_policy: TrafficPolicy,
    /// Seconds for which a client address sticks to its endpoint.
    pub affinity_seconds: Option<u32>,
    /// TCP port on which load balancers ask for local endpoints.
    pub health_check_node_port: Option<u16>,
}

impl ServicePort {
    /// Whether there is a way in other than the cluster address.
    pub fn externally_accessible(&self) -> bool {
        self.node_port.is_some()
            || !self.external_ips.is_empty()
            || !self.load_balancer_ips.is_empty()
    }

    /// Whether some way in uses endpoints of this node only.
    pub fn uses_local_endpoints(&self) -> bool {
        self.internal_policy == TrafficPolicy::Local || self.external_policy == TrafficPolicy::Local
    }

    /// Whether some way in uses endpoints of the whole cluster.
    pub fn uses_cluster_endpoints(&self) -> bool {
        self.internal_policy != TrafficPolicy::Local || self.externally_accessible()
    }
}

/// Whether a service with this metadata is left to somebody else. Its slices do not say.
pub fn is_foreign(metadata: &Metadata) -> bool {
    metadata.labels.contains_key(SERVICE_PROXY_NAME)
}

/// The ports of a service in one family, in the order of the object.
///
/// Empty for a headless or `ExternalName` service and for one without an address of the family.
pub fn service_ports(service: &Service, family: IpFamily) -> Vec<ServicePort> {
    let spec = &service.spec;
    if spec.service_type == ServiceType::ExternalName || is_foreign(&service.metadata) {
        return Vec::new();
    }
    let Some(cluster_ip) = cluster_ip(service, family) else { return Vec::new() };
    let external_ips = of_family(spec.external_ips.iter(), family);
    let load_balancer_ips = load_balancer_ips(service, family);
    let source_ranges: Vec<IpNet> = spec
        .load_balancer_source_ranges
        .iter()
        .filter_map(Parsed::valid)
        .filter(|range| family.has(range.addr()))
        .copied()
        .collect();
    let affinity_seconds = (spec.session_affinity == SessionAffinity::ClientIp).then(|| {
        spec.session_affinity_config.client_ip.timeout_seconds.unwrap_or(AFFINITY_SECONDS)
    });
    let health_check_node_port = (spec.service_type == ServiceType::LoadBalancer
        && spec.external_traffic_policy == TrafficPolicy::Local)
        .then_some(spec.health_check_node_port)
        .filter(|port| *port != 0);
    let key = service.metadata.key();
    let ports = spec.ports.iter().filter(|port| port.port != 0).filter_map(|port| {
        let mut service_port = ServicePort {
            name: ServicePortName {
                service: key.clone(),
                port: port.name.clone(),
                protocol: *port.protocol.valid()?,
            },
            cluster_ip,
            port: port.port,
            node_port: Some(port.node_port).filter(|port| *port != 0),
            external_ips: external_ips.clone(),
            load_balancer_ips: load_balancer_ips.clone(),
            source_ranges: source_ranges.clone(),
            internal_policy: spec.internal_traffic_policy,
            external_policy: spec.external_traffic_policy,
            affinity_seconds,
            health_check_node_port,
        };
        if !service_port.externally_accessible() {
            service_port.external_policy = TrafficPolicy::Cluster;
        }
        Some(service_port)
    });
    ports.collect()
}

/// Texts of the object that should be addresses, networks or protocols and are not.
pub fn unreadable(service: &Service) -> Vec<Arc<str>> {
    let spec = &service.spec;
    let ingress = service.status.load_balancer.ingress.iter().filter_map(|entry| entry.ip.as_ref());
    let addresses = spec.external_ips.iter().chain(&spec.cluster_ips).chain(ingress);
    let mut found: Vec<Arc<str>> = addresses.filter_map(Parsed::invalid).cloned().collect();
    // `None` is the word for a headless service.
    found.retain(|text| !matches!(&**text, "None" | ""));
    found.extend(spec.load_balancer_source_ranges.iter().filter_map(Parsed::invalid).cloned());
    found.extend(spec.ports.iter().filter_map(|port| port.protocol.invalid()).cloned());
    found
}

fn cluster_ip(service: &Service, family: IpFamily) -> Option<IpAddr> {
    let spec = &service.spec;
    if spec.cluster_ips.is_empty() {
        of_family(spec.cluster_ip.iter(), family).into_iter().next()
    } else {
        of_family(spec.cluster_ips.iter(), family).into_iter().next()
    }
}

fn of_family<'a>(
    addresses: impl Iterator<Item = &'a Parsed<IpAddr>>,
    family: IpFamily,
) -> Vec<IpAddr> {
    addresses.filter_map(Parsed::valid).filter(|address| family.has(**address)).copied().collect()
}

/// Addresses in `Proxy` mode are reached through the load balancer itself, also from inside.
fn load_balancer_ips(service: &Service, family: IpFamily) -> Vec<IpAddr> {
    if service.spec.service_type != ServiceType::LoadBalancer {
        return Vec::new();
    }
    let entries = service.status.load_balancer.ingress.iter();
    let vips = entries.filter(|entry| entry.ip_mode.as_deref().is_none_or(|mode| mode == "VIP"));
    of_family(vips.filter_map(|entry| entry.ip.as_ref()), family)
}

#[cfg(test)]
mod tests;
