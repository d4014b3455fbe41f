//! What the proxy is told about the cluster.
//!
//! **What.** Slim copies of Service, EndpointSlice and the own Node, and the stream of changes to
//! them.
//! **Owns.** Nothing.
//! **Reads.** Kubernetes JSON, through serde: unknown fields are ignored, `null` counts as absent.
//! **Invariants.** A value the API server let through but we cannot read (an odd address) is kept
//! as [`Parsed::Invalid`], so that one bad endpoint never hides the others of its object.
//! **Source.** `core/v1` Service, `discovery.k8s.io/v1` EndpointSlice, v1.36.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

mod address;
mod metadata;
mod node;
mod service;
mod slice;

pub use address::{Parsed, parse_cidr, parse_ip};
pub use metadata::{Metadata, ObjectKey};
pub use node::{NodeAddressKind, NodeEligibility, NodeFacts};
pub use service::{
    AffinityConfig, ClientIpConfig, IngressIp, LoadBalancerStatus, Protocol, Service, ServiceSpec,
    ServiceSpecPort, ServiceStatus, ServiceType, SessionAffinity, TrafficPolicy,
};
pub use slice::{AddressType, Conditions, EndpointSlice, Hint, Hints, SliceEndpoint, SlicePort};

/// The kinds of object the proxy follows; each is listed, watched and re-listed on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    /// `v1` Service.
    Services,
    /// `discovery.k8s.io/v1` EndpointSlice.
    EndpointSlices,
    /// The Node this proxy runs on.
    Node,
}

/// One step of the followed state.
///
/// A list is told as `Restart(kind)`, every object as applied, then `Synced(kind)`: whatever was
/// known of that kind and not applied in between is gone. Between two lists objects are applied
/// and deleted one by one. No rule is written before all three kinds were `Synced` once.
#[derive(Clone, Debug, PartialEq)]
pub enum ServiceChange {
    /// A list of this kind begins.
    Restart(ObjectKind),
    /// The service exists and looks like this.
    ServiceApplied(Box<Service>),
    /// The service is gone.
    ServiceDeleted(ObjectKey),
    /// The slice exists and looks like this.
    SliceApplied(Box<EndpointSlice>),
    /// The slice is gone.
    SliceDeleted(ObjectKey),
    /// The own Node looks like this.
    NodeApplied(Box<NodeFacts>),
    /// The own Node object is gone; the facts known last stay in use.
    NodeDeleted,
    /// All networks that addresses of Services come from (ServiceCIDR), a whole list each time.
    /// Nothing waits for it: old clusters have no such objects.
    ServiceCidrsApplied(Vec<IpNet>),
    /// The list of this kind is complete.
    Synced(ObjectKind),
    /// These addresses of pods on this node take no traffic, whatever the slices still say; told
    /// whole each time. For who knows of pods before the API does.
    LocalDown(Arc<BTreeSet<IpAddr>>),
}

#[cfg(test)]
mod tests;
