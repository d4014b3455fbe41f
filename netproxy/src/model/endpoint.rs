//! Pure. One endpoint of a service port.

use std::net::IpAddr;
use std::net::SocketAddr;
use std::sync::Arc;

use crate::input::Conditions;

/// What an endpoint may be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EndpointState {
    /// Takes new connections.
    Ready,
    /// Is being deleted but still answers: used when no ready one is left (KEP-1669).
    Draining,
    /// Answers, but asks for no connections.
    Serving,
    /// Answers nothing.
    Down,
}

impl EndpointState {
    /// The state told by the conditions of a slice. An absent `ready` or `serving` means yes, an
    /// absent `terminating` means no.
    pub fn of(conditions: Conditions) -> Self {
        let serving = conditions.serving.unwrap_or(true);
        let terminating = conditions.terminating.unwrap_or(false);
        match (conditions.ready.unwrap_or(true), serving, terminating) {
            (true, _, _) => Self::Ready,
            (false, true, true) => Self::Draining,
            (false, true, false) => Self::Serving,
            (false, false, _) => Self::Down,
        }
    }
}

/// One endpoint of a service port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// Whether it runs on this node.
    pub is_local: bool,
    /// What it may be used for.
    pub state: EndpointState,
    /// Zones that should use it; empty when there is no hint.
    pub zone_hints: Vec<Arc<str>>,
    /// Nodes that should use it; empty when there is no hint.
    pub node_hints: Vec<Arc<str>>,
}

impl Endpoint {
    /// `ip:port`, or `[ip]:port` for IPv6; the text behind chain names, comments and the order.
    pub fn text(&self) -> String {
        SocketAddr::new(self.address, self.port).to_string()
    }
}
