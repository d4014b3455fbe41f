//! Pure. The ways into services, and the chains that elements lead to.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use data_encoding::BASE32;
use ipnet::IpNet;
use sha2::{Digest, Sha256};

use super::rule::{Field, Rule, Side, Statement};
use super::state::{Chain, ChainName, Elements, Entry, Key, SetName, Value};
use crate::config::IpFamily;
use crate::input::{Protocol, TrafficPolicy};
use crate::rules::{Detector, NodePortDestinations, RuleContext};

/// What the table depends on beside services and endpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableContext {
    /// Family of the table.
    pub family: IpFamily,
    /// The node's primary address.
    pub node_ip: Option<IpAddr>,
    /// How traffic of local pods is recognised, if at all.
    pub detector: Option<Detector>,
    /// The bit of the packet mark that asks for masquerading.
    pub mark: u32,
    /// Whether all traffic to cluster addresses is masqueraded.
    pub masquerade_all: bool,
    /// Where node ports answer; never on loopback.
    pub node_ports: NodePortDestinations,
    /// Networks of cluster addresses of the family; empty when not known.
    pub service_cidrs: Vec<IpNet>,
}

impl TableContext {
    /// What of the settings and facts about the node concerns the table.
    pub fn new(context: &RuleContext) -> Self {
        let service_cidrs = context.service_cidrs.iter();
        let mut service_cidrs: Vec<IpNet> =
            service_cidrs.filter(|net| context.family.has(net.addr())).copied().collect();
        service_cidrs.sort_unstable();
        service_cidrs.dedup();
        let node_ports = match &context.node_ports {
            NodePortDestinations::All => NodePortDestinations::All,
            NodePortDestinations::Only(addresses) => NodePortDestinations::Only(
                addresses.iter().filter(|address| !address.is_loopback()).copied().collect(),
            ),
        };
        Self {
            family: context.family,
            node_ip: context.node_ip,
            detector: context.detector.clone(),
            mark: context.masquerading.mark,
            masquerade_all: context.masquerading.all,
            node_ports,
            service_cidrs,
        }
    }

    /// The elements that are there without any service.
    pub fn elements(&self) -> BTreeMap<SetName, Elements> {
        let NodePortDestinations::Only(addresses) = &self.node_ports else {
            return BTreeMap::new();
        };
        let entry = Entry { value: Value::Member, comment: None };
        let elements: Elements =
            addresses.iter().map(|address| (Key::Address(*address), entry.clone())).collect();
        if elements.is_empty() {
            return BTreeMap::new();
        }
        BTreeMap::from([(SetName::NodePortIps, elements)])
    }
}

/// A way into a service: which address was used, and which endpoints it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Path {
    /// Cluster address with policy Cluster.
    ClusterIp,
    /// Cluster address with policy Local.
    LocalClusterIp,
    /// External or load balancer address with policy Cluster.
    External,
    /// Node port with policy Cluster.
    NodePort,
    /// External address with policy Local, from inside the cluster.
    ShortCircuit,
    /// Node port with policy Local, from inside the cluster.
    ShortCircuitNodePort,
    /// External address with policy Local, from outside.
    Local,
    /// Node port with policy Local, from outside.
    LocalNodePort,
}

/// Where a path finds what it needs.
#[derive(Clone, Copy, Debug)]
pub struct PathSets {
    /// Leads to the chain of the path.
    pub dispatch: SetName,
    /// Holds its endpoints.
    pub endpoints: SetName,
    /// Holds the class of its service.
    pub classes: SetName,
    /// Holds the classes of its endpoints.
    pub choices: SetName,
    /// Holds the endpoints of those classes.
    pub targets: SetName,
}

impl Path {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::ClusterIp,
        Self::LocalClusterIp,
        Self::External,
        Self::NodePort,
        Self::ShortCircuit,
        Self::ShortCircuitNodePort,
        Self::Local,
        Self::LocalNodePort,
    ];

    /// The beginning of its chain names.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIp => "cluster-ip",
            Self::LocalClusterIp => "local-cluster-ip",
            Self::External => "external",
            Self::NodePort => "nodeport",
            Self::ShortCircuit => "short-circuit",
            Self::ShortCircuitNodePort => "short-circuit-nodeport",
            Self::Local => "local",
            Self::LocalNodePort => "local-nodeport",
        }
    }

    /// Whether packets are told apart by a port of the node instead of an address.
    pub const fn is_node_port(self) -> bool {
        matches!(self, Self::NodePort | Self::ShortCircuitNodePort | Self::LocalNodePort)
    }

    /// Which endpoints it leads to.
    pub const fn policy(self) -> TrafficPolicy {
        match self {
            Self::LocalClusterIp | Self::Local | Self::LocalNodePort => TrafficPolicy::Local,
            _ => TrafficPolicy::Cluster,
        }
    }

    /// Where it finds what it needs for this protocol.
    pub const fn sets(self, protocol: Protocol) -> PathSets {
        let local = matches!(self.policy(), TrafficPolicy::Local);
        let dispatch = match self {
            Self::ClusterIp | Self::LocalClusterIp | Self::External => SetName::ServiceIps,
            Self::NodePort => SetName::ServiceNodePorts,
            Self::ShortCircuit => SetName::ShortCircuitServices,
            Self::ShortCircuitNodePort => SetName::ShortCircuitNodePorts,
            Self::Local => SetName::LocalServices,
            Self::LocalNodePort => SetName::LocalNodePorts,
        };
        let endpoints = match (self.is_node_port(), local) {
            (false, false) => SetName::Endpoints(protocol),
            (false, true) => SetName::LocalEndpoints(protocol),
            (true, false) => SetName::NodePortEndpoints(protocol),
            (true, true) => SetName::LocalNodePortEndpoints(protocol),
        };
        let (choices, targets) = affinity_sets(local);
        let classes = if self.is_node_port() {
            SetName::AffinityNodePorts
        } else {
            SetName::AffinityServices
        };
        PathSets { dispatch, endpoints, classes, choices, targets }
    }
}

const fn affinity_sets(local: bool) -> (SetName, SetName) {
    if local {
        (SetName::LocalAffinityChoices, SetName::LocalAffinityEndpoints)
    } else {
        (SetName::AffinityChoices, SetName::AffinityEndpoints)
    }
}

/// A chain that is there because an element leads to it. Services share it where they agree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SharedChain {
    /// Chooses one of that many endpoints.
    Balance {
        /// The way in.
        path: Path,
        /// Protocol of the service port.
        protocol: Protocol,
        /// Number of endpoints, at least 1.
        count: u32,
        /// Seconds for which the choice holds for a client, if it does.
        affinity: Option<u32>,
    },
    /// Sends known clients to their endpoint.
    Known {
        /// Whether to endpoints of this node only.
        local: bool,
        /// Protocol of the service port.
        protocol: Protocol,
        /// Seconds for which the choice holds for a client.
        seconds: u32,
    },
    /// Drops what comes from elsewhere than these networks.
    Firewall(Arc<[IpNet]>),
}

impl SharedChain {
    /// The chain that this one needs.
    pub fn needs(&self) -> Option<Self> {
        match self {
            Self::Balance { path, protocol, affinity: Some(seconds), .. } => Some(Self::Known {
                local: path.policy() == TrafficPolicy::Local,
                protocol: *protocol,
                seconds: *seconds,
            }),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(&self) -> ChainName {
        match self {
            Self::Balance { path, protocol, count, affinity } => {
                let (path, protocol) = (path.name(), protocol.name());
                match affinity {
                    None => format!("{path}-{protocol}-{count}").into(),
                    Some(seconds) => format!("{path}-{protocol}-{count}-affinity-{seconds}").into(),
                }
            }
            Self::Known { local, protocol, seconds } => {
                let scope = if *local { "local-" } else { "" };
                format!("{scope}affinity-{}-{seconds}", protocol.name()).into()
            }
            Self::Firewall(ranges) => {
                let mut hash = Sha256::new();
                for range in &**ranges {
                    hash.update(range.to_string());
                    hash.update(" ");
                }
                // Eight characters of base32 tell as many lists apart as upstream's names do
                // services.
                let hash = BASE32.encode(&hash.finalize());
                format!("firewall-{}", hash.get(..8).unwrap_or(&hash)).into()
            }
        }
    }

    /// Its rules.
    pub fn chain(&self, context: &TableContext) -> Chain {
        let rules = match self {
            Self::Balance { path, protocol, count, affinity } => {
                let mut rules: Vec<Rule> = masquerade_rule(*path, context).into_iter().collect();
                match affinity {
                    None => rules.push(Rule::new([Statement::Dnat {
                        key: numbered(*path, *protocol, *count),
                        map: path.sets(*protocol).endpoints,
                    }])),
                    Some(seconds) => {
                        let sticky = Sticky { path: *path, protocol: *protocol, seconds: *seconds };
                        let known = self.needs().map(|chain| chain.name());
                        rules.extend(sticky.rules(*count, known, context.family));
                    }
                }
                rules
            }
            Self::Known { local, protocol, seconds } => known_rules(*local, *protocol, *seconds),
            Self::Firewall(ranges) => firewall_rules(ranges, context.family),
        };
        Chain { hook: None, rules }
    }
}

/// A path with session affinity.
struct Sticky {
    path: Path,
    protocol: Protocol,
    seconds: u32,
}

impl Sticky {
    /// The rules that choose one of that many endpoints, or go to the one that is known.
    fn rules(&self, count: u32, known: Option<ChainName>, family: IpFamily) -> Vec<Rule> {
        let sets = self.path.sets(self.protocol);
        // nft 1.0 cannot write keys of more than 16 bytes to a map.
        let client = match family {
            IpFamily::V4 => Field::Address(Side::Source),
            IpFamily::V6 => Field::HashedSource,
        };
        let remembered =
            Statement::Classify { key: vec![client, Field::Priority], map: SetName::Affinity };
        let choice = Statement::Classify {
            key: vec![Field::Priority, Field::Random(count)],
            map: sets.choices,
        };
        let class = Statement::Classify { key: keyed(self.path), map: sets.classes };
        vec![
            Rule::new([class]),
            Rule::new(
                std::iter::once(remembered).chain(known.map(Statement::Jump)).collect::<Vec<_>>(),
            ),
            // Remembering fails when the map is full; the next rule has to follow all the same.
            Rule::new([choice, Statement::Remember { seconds: self.seconds }]),
            to_class(self.protocol, sets.targets),
        ]
    }
}

fn to_class(protocol: Protocol, map: SetName) -> Rule {
    Rule::new([Statement::Protocol(protocol), Statement::Dnat { key: vec![Field::Priority], map }])
}

/// The rules for a client with the class of its endpoint in the priority.
fn known_rules(local: bool, protocol: Protocol, seconds: u32) -> Vec<Rule> {
    vec![
        Rule::new([Statement::Remember { seconds }]),
        to_class(protocol, affinity_sets(local).1),
        // Only a gone endpoint gets here. The kernel never changes what it remembers, so it has to
        // be forgotten first.
        Rule::new([Statement::Forget]),
        Rule::new([Statement::ClassOfService]),
    ]
}

fn firewall_rules(ranges: &[IpNet], family: IpFamily) -> Vec<Rule> {
    let allowed = ranges.iter().filter(|net| family.has(net.addr())).map(|net| {
        let from = Statement::Address { side: Side::Source, negated: false, net: *net };
        Rule::new([from, Statement::Return])
    });
    allowed.chain([Rule::new([Statement::Drop])]).collect()
}

/// The key of a packet on a path.
pub(super) fn keyed(path: Path) -> Vec<Field> {
    let address = (!path.is_node_port()).then_some(Field::Address(Side::Destination));
    address.into_iter().chain([Field::Protocol, Field::Port]).collect()
}

/// The key of one of the endpoints of a packet on a path. nft 1.0 takes the protocol of what is
/// looked up for that of the packet, so each protocol has its own map.
fn numbered(path: Path, protocol: Protocol, count: u32) -> Vec<Field> {
    let address = (!path.is_node_port()).then_some(Field::Address(Side::Destination));
    address.into_iter().chain([Field::PortOf(protocol), Field::Random(count)]).collect()
}

/// Asks for masquerading on a path, where it is needed.
fn masquerade_rule(path: Path, context: &TableContext) -> Option<Rule> {
    let mark = Statement::SetMark(context.mark);
    match path {
        Path::External | Path::NodePort => Some(Rule::new([mark])),
        Path::ClusterIp | Path::LocalClusterIp if context.masquerade_all => Some(Rule::new([mark])),
        Path::ClusterIp | Path::LocalClusterIp => {
            context.detector.as_ref().map(|detector| Rule::new([from_pod(detector, true), mark]))
        }
        Path::ShortCircuit | Path::ShortCircuitNodePort | Path::Local | Path::LocalNodePort => None,
    }
}

/// Holds for packets of local pods, or with `negated` for all others.
pub(super) fn from_pod(detector: &Detector, negated: bool) -> Statement {
    match detector {
        Detector::Source(net) => Statement::Address { side: Side::Source, negated, net: *net },
        Detector::Interface(name) => {
            // The `+` of iptables is the `*` of nft.
            let name = match name.strip_suffix('+') {
                Some(prefix) => format!("{prefix}*").into(),
                None => name.clone(),
            };
            Statement::Interface { negated, name }
        }
    }
}
