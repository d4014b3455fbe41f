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

/// Whether load balancers should send new connections to the node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NodeEligibility {
    /// They should; also while nothing is known of the Node.
    #[default]
    Eligible,
    /// The Node has a deletion timestamp.
    Deleting,
    /// The cluster autoscaler has marked the Node with the taint
    /// `ToBeDeletedByClusterAutoscaler` (KEP-3836).
    ToBeDeleted,
    /// There is no such Node.
    Missing,
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
    /// Whether load balancers should use the node; no rule depends on it.
    pub eligibility: NodeEligibility,
}

impl NodeFacts {
    /// The first address of the family, internal ones before others.
    pub fn address(&self, ipv6: bool) -> Option<IpAddr> {
        let of_family = || self.addresses.iter().filter(|(_, address)| address.is_ipv6() == ipv6);
        of_family().min_by_key(|(kind, _)| *kind).map(|(_, address)| *address)
    }

    /// Whether rules made from these facts would be the same.
    pub fn same_for_rules(&self, other: &Self) -> bool {
        let eligibility = self.eligibility;
        *self == Self { eligibility, ..other.clone() }
    }
}
