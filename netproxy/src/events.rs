//! What the proxy tells its users beside logs and metrics.
//!
//! **What.** Typed events; whoever runs the proxy publishes them as Kubernetes Events.
//! **Invariants.** Publishing never waits and never fails; the same trouble is told once, until it
//! is over.
//! **Source.** Reasons are those of kube-proxy v1.36 where it has such an event.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::backend::Finding;
use crate::input::ObjectKey;

/// A Service as an event points to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceRef {
    /// Namespace and name.
    pub key: ObjectKey,
    /// Identity over time; empty when not known.
    pub uid: Arc<str>,
}

/// Something to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProxyEvent {
    /// The proxy begins its work on the node.
    Starting,
    /// The health of the proxy cannot be served.
    HealthServerFailed {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: String,
    },
    /// The metrics cannot be served.
    MetricsServerFailed {
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: String,
    },
    /// The health check node port of a service cannot be served.
    ServiceHealthServerFailed {
        /// The service.
        service: ServiceRef,
        /// Where.
        address: SocketAddr,
        /// Why.
        cause: String,
    },
    /// The rules of a service are refused.
    ServiceRefused {
        /// The service.
        service: ServiceRef,
        /// The whole message.
        message: String,
    },
    /// A service claims what another one has.
    ServiceOverlap {
        /// The service that does without.
        service: ServiceRef,
        /// The whole message.
        message: String,
    },
    /// The other flavour of iptables holds rules as ours.
    OtherFlavour {
        /// The whole message.
        message: String,
    },
}

impl ProxyEvent {
    /// The event for a finding; `uid` names the identity of a service.
    pub fn of_finding(finding: &Finding, uid: impl Fn(&ObjectKey) -> Arc<str>) -> Self {
        let message = finding.to_string();
        let service = |key: &ObjectKey| ServiceRef { key: key.clone(), uid: uid(key) };
        match finding {
            Finding::Refused { service: key, .. } => {
                Self::ServiceRefused { service: service(key), message }
            }
            Finding::Overlap { second, .. } => {
                Self::ServiceOverlap { service: service(&second.service), message }
            }
            Finding::OtherFlavour { .. } => Self::OtherFlavour { message },
        }
    }
}

/// Takes events.
pub trait ProxyEvents: Send + Sync {
    /// Publishes one. Never waits.
    fn publish(&self, event: ProxyEvent);
}

/// Nobody to tell.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoEvents;

impl ProxyEvents for NoEvents {
    fn publish(&self, _: ProxyEvent) {}
}
