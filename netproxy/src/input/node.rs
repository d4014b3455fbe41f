//! The facts about the own Node.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

/// Kinds of node address, the preferred first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeAddressKind {
    /// `InternalIP`.
    Internal,
    /// `ExternalIP`.
    External,
}

/// What the proxy needs to know of its Node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// Name of the Node.
    pub name: Arc<str>,
    /// Label `topology.kubernetes.io/zone`, if set and not empty.
    pub zone: Option<Arc<str>>,
    /// `status.addresses` that are IP addresses, in the order of the Node.
    pub addresses: Vec<(NodeAddressKind, IpAddr)>,
    /// `spec.podCIDRs`, in the order of the Node.
    pub pod_cidrs: Vec<IpNet>,
}

impl NodeFacts {
    /// The first address of the family, internal ones before others.
    pub fn address(&self, ipv6: bool) -> Option<IpAddr> {
        let of_family = || self.addresses.iter().filter(|(_, address)| address.is_ipv6() == ipv6);
        of_family().min_by_key(|(kind, _)| *kind).map(|(_, address)| *address)
    }
}
