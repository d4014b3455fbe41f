//! Pure. Settings and facts about the node, boiled down for one family.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::ruleset::{Interface, Rule};
use crate::config::{IpFamily, LocalTraffic, NodePortAddresses, ProxyConfig};
use crate::input::NodeFacts;
use crate::model::traffic_policy::Topology;
use crate::nfacct::AccountingObjects;

/// What planning needs to know beside services and endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleContext {
    /// Family of all addresses.
    pub family: IpFamily,
    /// Where this node is.
    pub topology: Topology,
    /// The node's primary address.
    pub node_ip: Option<IpAddr>,
    /// How traffic of local pods is recognised, if at all.
    pub detector: Option<Detector>,
    /// How masquerading is asked for and done.
    pub masquerading: Masquerading,
    /// Where NodePorts answer.
    pub node_ports: NodePortDestinations,
    /// Whether NodePorts answer on loopback addresses.
    pub loopback: Loopback,
    /// Networks of cluster addresses, of both families; empty when not known. Only nftables stops
    /// packets to addresses in them that no service has.
    pub service_cidrs: Vec<IpNet>,
    /// The counters that rules may count in.
    pub counters: AccountingObjects,
    /// Whether forwarded packets that conntrack calls invalid are dropped.
    pub drop_invalid: bool,
    /// Whether the rules of each endpoint carry comments.
    pub endpoint_comments: bool,
}

/// Settings of masquerading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masquerading {
    /// The bit of the packet mark that asks for it.
    pub mark: u32,
    /// Whether all traffic to cluster addresses is masqueraded.
    pub all: bool,
    /// Whether source ports are chosen at random; from iptables 1.6.2 on.
    pub random_fully: bool,
}

/// Recognises traffic that pods of the cluster sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Detector {
    /// By source address.
    Source(IpNet),
    /// By incoming interface; the name may end in `+`.
    Interface(std::sync::Arc<str>),
}

impl Detector {
    /// The rule narrowed to local traffic.
    pub(super) fn only_local(&self, rule: Rule) -> Rule {
        self.narrow(rule, false)
    }

    /// The rule narrowed to all other traffic.
    pub(super) fn only_foreign(&self, rule: Rule) -> Rule {
        self.narrow(rule, true)
    }

    fn narrow(&self, mut rule: Rule, negated: bool) -> Rule {
        match self {
            Self::Source(net) if negated => rule.source_outside(*net),
            Self::Source(net) => rule.source_within(*net),
            Self::Interface(name) => {
                rule.in_interface = Some(Interface { negated, name: name.clone() });
                rule
            }
        }
    }
}

/// Addresses on which NodePorts answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodePortDestinations {
    /// Every local address, loopback as [`Loopback`] says.
    All,
    /// These.
    Only(Vec<IpAddr>),
}

/// Whether NodePorts answer on loopback addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loopback {
    /// They do; needs `route_localnet`, and a rule against its side effects.
    Open,
    /// They do not.
    Closed,
}

/// The loopback addresses of IPv4.
pub(super) fn loopback_v4() -> IpNet {
    IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8))
}

/// What the machine told about itself, next to the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineFacts<'a> {
    /// Addresses of all interfaces.
    pub local_addresses: &'a [IpAddr],
    /// Whether iptables knows `--random-fully`.
    pub random_fully: bool,
    /// Whether conntrack is told to be liberal about TCP (`nf_conntrack_tcp_be_liberal`).
    pub liberal_conntrack: bool,
}

impl RuleContext {
    /// The context for one family, with comments and without counters.
    pub fn new(
        config: &ProxyConfig,
        family: IpFamily,
        node: &NodeFacts,
        machine: MachineFacts<'_>,
    ) -> Self {
        let configured = config.node_ips.iter().copied().find(|address| family.has(*address));
        let node_ip = configured.or_else(|| node.address(family == IpFamily::V6));
        let loopback = loopback(config, family);
        Self {
            family,
            topology: Topology { node_name: config.node_name.clone(), zone: node.zone.clone() },
            node_ip,
            detector: detector(config, family, node),
            masquerading: Masquerading {
                mark: 1 << config.masquerade_bit,
                all: config.masquerade_all,
                random_fully: machine.random_fully,
            },
            node_ports: destinations(config, family, node_ip, loopback, machine.local_addresses),
            loopback,
            service_cidrs: Vec::new(),
            counters: AccountingObjects::default(),
            drop_invalid: !machine.liberal_conntrack,
            endpoint_comments: true,
        }
    }

    /// The same with rules that count in these counters.
    pub const fn with_counters(mut self, counters: AccountingObjects) -> Self {
        self.counters = counters;
        self
    }

    /// The same with these networks of cluster addresses.
    #[must_use]
    pub fn with_service_cidrs(mut self, service_cidrs: &[IpNet]) -> Self {
        self.service_cidrs = service_cidrs.to_vec();
        self
    }
}

/// Whether NodePorts answer on loopback: only in IPv4, if allowed, and if the configured
/// addresses include loopback ones.
pub fn loopback(config: &ProxyConfig, family: IpFamily) -> Loopback {
    let covered = match &config.node_port_addresses {
        NodePortAddresses::All => true,
        NodePortAddresses::Primary => false,
        NodePortAddresses::Within(nets) | NodePortAddresses::PrimaryAnd(nets) => {
            nets.iter().any(|net| {
                let loopback = loopback_v4();
                net.contains(&loopback) || loopback.contains(net)
            })
        }
    };
    if family == IpFamily::V4 && config.localhost_node_ports && covered {
        Loopback::Open
    } else {
        Loopback::Closed
    }
}

fn detector(config: &ProxyConfig, family: IpFamily, node: &NodeFacts) -> Option<Detector> {
    let of_family = |nets: &[IpNet]| {
        nets.iter().find(|net| family.has(net.addr())).copied().map(Detector::Source)
    };
    match &config.local_traffic {
        LocalTraffic::ClusterCidrs(nets) => of_family(nets),
        LocalTraffic::NodeCidrs => of_family(&node.pod_cidrs),
        LocalTraffic::Bridge(name) => Some(Detector::Interface(name.clone())),
        LocalTraffic::InterfacePrefix(prefix) => {
            Some(Detector::Interface(format!("{prefix}+").into()))
        }
    }
}

fn destinations(
    config: &ProxyConfig,
    family: IpFamily,
    node_ip: Option<IpAddr>,
    loopback: Loopback,
    local: &[IpAddr],
) -> NodePortDestinations {
    match &config.node_port_addresses {
        NodePortAddresses::All => NodePortDestinations::All,
        NodePortAddresses::Primary => NodePortDestinations::Only(node_ip.into_iter().collect()),
        NodePortAddresses::Within(nets) | NodePortAddresses::PrimaryAnd(nets) => {
            let of_family: Vec<&IpNet> = nets.iter().filter(|net| family.has(net.addr())).collect();
            if of_family.iter().any(|net| net.prefix_len() == 0) {
                return NodePortDestinations::All;
            }
            let mut matching: Vec<IpAddr> = local
                .iter()
                .filter(|address| of_family.iter().any(|net| net.contains(*address)))
                .filter(|address| loopback == Loopback::Open || !address.is_loopback())
                .copied()
                .collect();
            if matches!(config.node_port_addresses, NodePortAddresses::PrimaryAnd(_)) {
                matching.extend(node_ip);
            }
            matching.sort_unstable();
            matching.dedup();
            NodePortDestinations::Only(matching)
        }
    }
}

#[cfg(test)]
mod tests;
