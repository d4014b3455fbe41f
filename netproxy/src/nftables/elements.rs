//! Pure. The elements of one service port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::affinity::ServiceClasses;
use super::base_chains::{EXTERNAL_LOCAL, NODE_PORT_LOCAL, REJECT};
use super::layout::{Path, SharedChain, TableContext};
use super::state::{COMMENT_LENGTH, ChainName, Entry, Front, Key, SetName, Value};
use crate::input::TrafficPolicy;
use crate::model::endpoint::Endpoint;
use crate::model::port_facts::PortFacts;

/// What one service port adds to the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceElements {
    /// Its elements.
    pub elements: BTreeMap<(SetName, Key), Entry>,
    /// The shared chains they lead to.
    pub chains: BTreeSet<SharedChain>,
}

/// The elements of one service port. `classes` holds its numbers if it has session affinity;
/// without them its clients are spread anew with each connection.
pub fn plan_service_port(
    facts: &PortFacts,
    classes: Option<&ServiceClasses>,
    context: &TableContext,
) -> ServiceElements {
    let port = &facts.port;
    let mut planner = Planner {
        facts,
        sticky: port.affinity_seconds.zip(classes),
        comment: comment(&port.name.to_string()),
        found: ServiceElements::default(),
    };
    planner.put(SetName::ClusterIps, Key::Address(port.cluster_ip), Value::Member);
    planner.cluster_ip();
    let addresses: BTreeSet<IpAddr> =
        port.external_ips.iter().chain(&port.load_balancer_ips).copied().collect();
    for address in addresses {
        let front = Front { address, protocol: port.name.protocol, port: port.port };
        planner.external(Way::Address(front));
    }
    if let Some(node_port) = port.node_port {
        planner.external(Way::NodePort(node_port));
    }
    planner.firewall(context);
    planner.classes();
    planner.hairpin();
    planner.found
}

/// What a client sends its packets to.
#[derive(Clone, Copy)]
enum Way {
    Address(Front),
    NodePort(u16),
}

struct Planner<'a> {
    facts: &'a PortFacts,
    /// Seconds and numbers of session affinity.
    sticky: Option<(u32, &'a ServiceClasses)>,
    comment: Arc<str>,
    found: ServiceElements,
}

impl<'a> Planner<'a> {
    fn put(&mut self, set: SetName, key: Key, value: Value) {
        self.found.elements.insert((set, key), Entry { value, comment: None });
    }

    fn put_named(&mut self, set: SetName, key: Key, value: Value) {
        let entry = Entry { value, comment: Some(self.comment.clone()) };
        self.found.elements.insert((set, key), entry);
    }

    fn cluster_ip(&mut self) {
        let port = &self.facts.port;
        let address = port.cluster_ip;
        let front = Front { address, protocol: port.name.protocol, port: port.port };
        let path = match port.internal_policy {
            TrafficPolicy::Cluster => Path::ClusterIp,
            TrafficPolicy::Local => Path::LocalClusterIp,
        };
        if self.facts.has_internal() {
            self.lead(Way::Address(front), path);
        } else {
            self.refuse(Way::Address(front));
        }
    }

    /// A way in from outside of the cluster, which clients inside may use too.
    fn external(&mut self, way: Way) {
        if self.facts.uses_external() {
            let (cluster, inside, outside, fork) = match way {
                Way::Address(_) => {
                    (Path::External, Path::ShortCircuit, Path::Local, EXTERNAL_LOCAL)
                }
                Way::NodePort(_) => (
                    Path::NodePort,
                    Path::ShortCircuitNodePort,
                    Path::LocalNodePort,
                    NODE_PORT_LOCAL,
                ),
            };
            match self.facts.port.external_policy {
                TrafficPolicy::Cluster => self.lead(way, cluster),
                TrafficPolicy::Local => {
                    let key = self.key(way);
                    let fork = Value::Goto(ChainName::from(fork));
                    self.put_named(cluster.sets(self.facts.port.name.protocol).dispatch, key, fork);
                    self.lead(way, inside);
                    if self.facts.has_external() {
                        self.lead(way, outside);
                    }
                }
            }
        }
        if !self.facts.has_external() {
            self.refuse(way);
        }
    }

    fn key(&self, way: Way) -> Key {
        match way {
            Way::Address(front) => Key::Front(front),
            Way::NodePort(port) => Key::NodePort(self.facts.port.name.protocol, port),
        }
    }

    fn nth_key(&self, way: Way, index: u32) -> Key {
        match way {
            Way::Address(front) => Key::Nth(front, index),
            Way::NodePort(port) => Key::NodePortNth(self.facts.port.name.protocol, port, index),
        }
    }

    /// Elements from a way in to the endpoints of its policy.
    fn lead(&mut self, way: Way, path: Path) {
        let sets = path.sets(self.facts.port.name.protocol);
        let endpoints: Vec<&Endpoint> = self.usable(path.policy());
        let count = numbered(&endpoints).count();
        let Some(count) = u32::try_from(count).ok().filter(|count| *count > 0) else { return };
        let chain = SharedChain::Balance {
            path,
            protocol: self.facts.port.name.protocol,
            count,
            affinity: self.sticky.map(|(seconds, _)| seconds),
        };
        let verdict = Value::Goto(chain.name());
        self.found.chains.insert(chain);
        let key = self.key(way);
        if matches!(sets.dispatch, SetName::ServiceIps | SetName::ServiceNodePorts) {
            self.put_named(sets.dispatch, key, verdict);
        } else {
            self.put(sets.dispatch, key, verdict);
        }
        if let Some((_, classes)) = self.sticky {
            self.put(sets.classes, key, Value::Class(classes.class));
        } else {
            for (index, endpoint) in numbered(&endpoints) {
                let target = Value::Target(endpoint.address, endpoint.port);
                self.put(sets.endpoints, self.nth_key(way, index), target);
            }
        }
    }

    /// The endpoints of a policy; with affinity only those that have a number.
    fn usable(&self, policy: TrafficPolicy) -> Vec<&'a Endpoint> {
        let all = self.facts.endpoints_for(policy);
        match self.sticky {
            None => all.collect(),
            Some((_, classes)) => {
                all.filter(|endpoint| classes.endpoint(socket(endpoint)).is_some()).collect()
            }
        }
    }

    /// Packets to a way in that leads nowhere. A client is told when there is no endpoint at all.
    /// When endpoints only miss on this node the packet is dropped: a load balancer that has not
    /// noticed yet may get through elsewhere.
    fn refuse(&mut self, way: Way) {
        let verdict =
            if self.facts.used.any { Value::Drop } else { Value::Goto(ChainName::from(REJECT)) };
        let set = match way {
            Way::Address(_) => SetName::NoEndpointServices,
            Way::NodePort(_) => SetName::NoEndpointNodePorts,
        };
        self.put_named(set, self.key(way), verdict);
    }

    /// Source ranges before the load balancer addresses.
    fn firewall(&mut self, context: &TableContext) {
        if !self.facts.uses_firewall() {
            return;
        }
        let port = &self.facts.port;
        let mut ranges: BTreeSet<IpNet> = port.source_ranges.iter().map(IpNet::trunc).collect();
        // What the node sends to a load balancer address may have that address as its source.
        let node = |range: &IpNet| context.node_ip.is_some_and(|node| range.contains(&node));
        if ranges.iter().any(node) {
            ranges.extend(port.load_balancer_ips.iter().copied().map(IpNet::from));
        }
        let chain = SharedChain::Firewall(ranges.into_iter().collect());
        for address in &port.load_balancer_ips {
            let front = Front { address: *address, protocol: port.name.protocol, port: port.port };
            let verdict = Value::Goto(chain.name());
            self.put(SetName::FirewallIps, Key::Front(front), verdict);
        }
        self.found.chains.insert(chain);
    }

    /// The numbered endpoints of a service port with affinity.
    fn classes(&mut self) {
        let Some((_, classes)) = self.sticky else { return };
        if !self.facts.used.any {
            return;
        }
        for (policy, path) in [
            (TrafficPolicy::Cluster, Path::ClusterIp),
            (TrafficPolicy::Local, Path::LocalClusterIp),
        ] {
            let sets = path.sets(self.facts.port.name.protocol);
            let endpoints = self.usable(policy);
            for (index, endpoint) in numbered(&endpoints) {
                let Some(class) = classes.endpoint(socket(endpoint)) else { continue };
                let target = Value::Target(endpoint.address, endpoint.port);
                self.put(sets.choices, Key::ClassNth(classes.class, index), Value::Class(class));
                self.put(sets.targets, Key::Class(class), target);
            }
        }
        let known: Vec<SharedChain> =
            self.found.chains.iter().filter_map(SharedChain::needs).collect();
        self.found.chains.extend(known);
    }

    /// A connection that comes back to where it started is masqueraded, for the answer would not
    /// pass here otherwise. It can only start on this node.
    fn hairpin(&mut self) {
        let reachable = self.facts.used.reachable.iter();
        let endpoints: Vec<&Endpoint> = reachable
            .filter_map(|position| self.facts.endpoints.get(*position))
            .filter(|endpoint| endpoint.is_local)
            .collect();
        for endpoint in endpoints {
            let key = Key::Hairpin(endpoint.address);
            self.put(SetName::HairpinConnections, key, Value::Member);
        }
    }
}

fn numbered<'e>(endpoints: &[&'e Endpoint]) -> impl Iterator<Item = (u32, &'e Endpoint)> {
    (0..).zip(endpoints.iter().copied())
}

/// Address and port of an endpoint.
pub(super) fn socket(endpoint: &Endpoint) -> SocketAddr {
    SocketAddr::new(endpoint.address, endpoint.port)
}

/// A comment of at most the length that nft takes.
fn comment(title: &str) -> Arc<str> {
    match title.char_indices().find(|(index, _)| *index > COMMENT_LENGTH - 4) {
        Some((cut, _)) if title.len() > COMMENT_LENGTH => {
            format!("{}...", title.get(..cut).unwrap_or_default()).into()
        }
        _ => title.into(),
    }
}

#[cfg(test)]
mod tests;
