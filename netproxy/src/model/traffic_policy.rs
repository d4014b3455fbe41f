//! Pure. Which endpoints of a service port are used, and by whom.

use std::sync::Arc;

use super::endpoint::{Endpoint, EndpointState};
use super::service_port::ServicePort;

/// Where this node is, for endpoints with hints.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Topology {
    /// Name of the node.
    pub node_name: Arc<str>,
    /// Its zone, if known.
    pub zone: Option<Arc<str>>,
}

/// The endpoints of a service port, sorted out by use; positions in the given list, ascending.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Categories {
    /// For ways in with policy Cluster.
    pub cluster: Vec<usize>,
    /// For ways in with policy Local.
    pub local: Vec<usize>,
    /// Either of them.
    pub reachable: Vec<usize>,
    /// Whether there is any usable endpoint, here or elsewhere.
    pub any: bool,
}

/// Sorts out the endpoints of a service port (KEP-1669, KEP-2433, KEP-3015).
///
/// Ready endpoints come first; only where none is left are the draining ones used. Hints of the
/// slices narrow the ready endpoints of policy Cluster, never those of policy Local.
pub fn categorize(port: &ServicePort, endpoints: &[Endpoint], topology: &Topology) -> Categories {
    let mut found = Categories::default();
    if port.uses_cluster_endpoints() {
        let ready = positions(endpoints, |endpoint| endpoint.state == EndpointState::Ready);
        found.cluster = if ready.is_empty() {
            positions(endpoints, |endpoint| endpoint.state == EndpointState::Draining)
        } else {
            near(endpoints, ready, topology)
        };
        found.any = !found.cluster.is_empty();
    }
    if port.uses_local_endpoints() {
        let local = |state| {
            positions(endpoints, move |endpoint| endpoint.is_local && endpoint.state == state)
        };
        found.local = local(EndpointState::Ready);
        if found.local.is_empty() {
            found.local = local(EndpointState::Draining);
        }
        found.any |= endpoints.iter().any(|endpoint| {
            matches!(endpoint.state, EndpointState::Ready | EndpointState::Draining)
        });
    }
    found.reachable = found.cluster.iter().chain(&found.local).copied().collect();
    found.reachable.sort_unstable();
    found.reachable.dedup();
    found
}

fn positions(endpoints: &[Endpoint], wanted: impl Fn(&Endpoint) -> bool) -> Vec<usize> {
    endpoints
        .iter()
        .enumerate()
        .filter(|(_, endpoint)| wanted(endpoint))
        .map(|(position, _)| position)
        .collect()
}

/// The ready endpoints meant for this node, else those for its zone, else all of them. Hints
/// count only when every ready endpoint has some.
fn near(endpoints: &[Endpoint], ready: Vec<usize>, topology: &Topology) -> Vec<usize> {
    let narrowed = |hints: fn(&Endpoint) -> &[Arc<str>], name: &str| {
        let complete = ready.iter().all(|position| !hints(&endpoints[*position]).is_empty());
        let names_us =
            |position: &usize| hints(&endpoints[*position]).iter().any(|hint| **hint == *name);
        let mine: Vec<usize> = ready.iter().copied().filter(names_us).collect();
        (complete && !mine.is_empty()).then_some(mine)
    };
    narrowed(|endpoint| &endpoint.node_hints, &topology.node_name)
        .or_else(|| narrowed(|endpoint| &endpoint.zone_hints, topology.zone.as_ref()?))
        .unwrap_or(ready)
}

#[cfg(test)]
mod tests;
