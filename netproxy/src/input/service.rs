//! Service, as far as the proxy needs it.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::address::{FromText, Parsed, null_as_default};
use super::metadata::Metadata;

/// Transport protocol of a service port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP; also when the object names none.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl Protocol {
    /// The name in lower case, as in rules and in the hash of chain names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    /// The protocol of that lower-case name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "tcp" => Some(Self::Tcp),
            "udp" => Some(Self::Udp),
            "sctp" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromText for Protocol {
    fn from_text(text: &str) -> Option<Self> {
        match text {
            "" | "TCP" => Some(Self::Tcp),
            "UDP" => Some(Self::Udp),
            "SCTP" => Some(Self::Sctp),
            _ => None,
        }
    }
}

impl Default for Parsed<Protocol> {
    fn default() -> Self {
        Self::Valid(Protocol::Tcp)
    }
}

/// `spec.type`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ServiceType {
    /// `ClusterIP`, and every word we do not know.
    #[default]
    ClusterIp,
    /// `NodePort`.
    NodePort,
    /// `LoadBalancer`.
    LoadBalancer,
    /// `ExternalName`: a DNS alias, never proxied.
    ExternalName,
}

impl<'de> Deserialize<'de> for ServiceType {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match &*std::borrow::Cow::<'de, str>::deserialize(deserializer)? {
            "NodePort" => Self::NodePort,
            "LoadBalancer" => Self::LoadBalancer,
            "ExternalName" => Self::ExternalName,
            _ => Self::ClusterIp,
        })
    }
}

/// `internalTrafficPolicy` and `externalTrafficPolicy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TrafficPolicy {
    /// All endpoints; also for an absent or unknown word.
    #[default]
    Cluster,
    /// Only endpoints on this node.
    Local,
}

impl<'de> Deserialize<'de> for TrafficPolicy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match &*std::borrow::Cow::<'de, str>::deserialize(deserializer)? {
            "Local" => Self::Local,
            _ => Self::Cluster,
        })
    }
}

/// `spec.sessionAffinity`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SessionAffinity {
    /// Each connection is balanced anew.
    #[default]
    None,
    /// A client address sticks to its endpoint.
    ClientIp,
}

impl<'de> Deserialize<'de> for SessionAffinity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match &*std::borrow::Cow::<'de, str>::deserialize(deserializer)? {
            "ClientIP" => Self::ClientIp,
            _ => Self::None,
        })
    }
}

/// A Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Service {
    /// `metadata`.
    #[serde(deserialize_with = "null_as_default")]
    pub metadata: Metadata,
    /// `spec`.
    #[serde(deserialize_with = "null_as_default")]
    pub spec: ServiceSpec,
    /// `status`.
    #[serde(deserialize_with = "null_as_default")]
    pub status: ServiceStatus,
}

/// `spec` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpec {
    /// Kind of service.
    #[serde(rename = "type", deserialize_with = "null_as_default")]
    pub service_type: ServiceType,
    /// The primary cluster address; used when `cluster_ips` is empty. `None` means headless.
    #[serde(rename = "clusterIP", deserialize_with = "null_as_default")]
    pub cluster_ip: Option<Parsed<IpAddr>>,
    /// Cluster addresses, at most one per family.
    #[serde(rename = "clusterIPs", deserialize_with = "null_as_default")]
    pub cluster_ips: Vec<Parsed<IpAddr>>,
    /// Ports.
    #[serde(deserialize_with = "null_as_default")]
    pub ports: Vec<ServiceSpecPort>,
    /// Addresses that somebody else routes to this node.
    #[serde(rename = "externalIPs", deserialize_with = "null_as_default")]
    pub external_ips: Vec<Parsed<IpAddr>>,
    /// Endpoints for traffic from outside.
    #[serde(deserialize_with = "null_as_default")]
    pub external_traffic_policy: TrafficPolicy,
    /// Endpoints for traffic to the cluster address.
    #[serde(deserialize_with = "null_as_default")]
    pub internal_traffic_policy: TrafficPolicy,
    /// Whether clients stick to an endpoint.
    #[serde(deserialize_with = "null_as_default")]
    pub session_affinity: SessionAffinity,
    /// For how long they do.
    #[serde(deserialize_with = "null_as_default")]
    pub session_affinity_config: AffinityConfig,
    /// Who may use the load balancer addresses; empty means everybody.
    #[serde(deserialize_with = "null_as_default")]
    pub load_balancer_source_ranges: Vec<Parsed<IpNet>>,
    /// TCP port on which the node tells load balancers about local endpoints; 0 means none.
    #[serde(deserialize_with = "null_as_default")]
    pub health_check_node_port: u16,
    /// Whether there is a selector, so that the endpoints are those of pods.
    #[serde(rename = "selector", deserialize_with = "is_filled")]
    pub has_selector: bool,
    /// Whether not ready endpoints count as ready. The slice controller already marks them so.
    #[serde(deserialize_with = "null_as_default")]
    pub publish_not_ready_addresses: bool,
    /// `PreferClose`, `PreferSameZone` or `PreferSameNode`. Acted on through the hints of slices.
    #[serde(deserialize_with = "null_as_default")]
    pub traffic_distribution: Option<Arc<str>>,
}

/// Whether a map is there and has entries.
fn is_filled<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let map = Option::<BTreeMap<Cow<'de, str>, IgnoredAny>>::deserialize(deserializer)?;
    Ok(map.is_some_and(|map| !map.is_empty()))
}

/// One of `spec.ports`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceSpecPort {
    /// Name; empty when the only port has none.
    #[serde(deserialize_with = "null_as_default")]
    pub name: Arc<str>,
    /// Protocol.
    #[serde(deserialize_with = "null_as_default")]
    pub protocol: Parsed<Protocol>,
    /// Port on the service addresses.
    #[serde(deserialize_with = "null_as_default")]
    pub port: u16,
    /// Port on the node addresses; 0 means none.
    #[serde(deserialize_with = "null_as_default")]
    pub node_port: u16,
}

/// `spec.sessionAffinityConfig`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AffinityConfig {
    /// Settings of `ClientIP` affinity.
    #[serde(rename = "clientIP", deserialize_with = "null_as_default")]
    pub client_ip: ClientIpConfig,
}

/// `spec.sessionAffinityConfig.clientIP`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ClientIpConfig {
    /// Seconds without traffic after which a client is balanced anew.
    #[serde(deserialize_with = "null_as_default")]
    pub timeout_seconds: Option<u32>,
}

/// `status` of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ServiceStatus {
    /// What the load balancer controller wrote.
    #[serde(deserialize_with = "null_as_default")]
    pub load_balancer: LoadBalancerStatus,
}

/// `status.loadBalancer`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct LoadBalancerStatus {
    /// Ways in.
    #[serde(deserialize_with = "null_as_default")]
    pub ingress: Vec<IngressIp>,
}

/// One of `status.loadBalancer.ingress`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct IngressIp {
    /// The address; absent for an entry that has only a host name.
    #[serde(deserialize_with = "null_as_default")]
    pub ip: Option<Parsed<IpAddr>>,
    /// `VIP` (also when absent) or `Proxy`.
    #[serde(deserialize_with = "null_as_default")]
    pub ip_mode: Option<Arc<str>>,
}
