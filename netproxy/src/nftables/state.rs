//! Pure. Our table in one family, as typed data.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::rule::Rule;
use crate::config::IpFamily;
use crate::input::Protocol;

/// Name of the table in both families (kube-proxy, v1.36); the one name others may rely on.
pub const TABLE: &str = "kube-proxy";
/// Comment of the table (kube-proxy, v1.36).
pub const TABLE_COMMENT: &str = "rules for kube-proxy";

/// Name of a chain.
pub type ChainName = Arc<str>;

/// The elements of one set or map, in order.
pub type Elements = BTreeMap<Key, Entry>;

/// Everything in our table of one family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftState {
    /// Family of the table.
    pub family: IpFamily,
    /// Chains with their rules.
    pub chains: BTreeMap<ChainName, Chain>,
    /// Elements of sets and maps. A set without elements may be missing; all sets are declared.
    pub sets: BTreeMap<SetName, Elements>,
}

impl NftState {
    /// A table without chains and elements.
    pub fn empty(family: IpFamily) -> Self {
        Self { family, chains: BTreeMap::new(), sets: BTreeMap::new() }
    }

    /// The entry under a key.
    pub fn entry(&self, set: SetName, key: &Key) -> Option<&Entry> {
        self.sets.get(&set)?.get(key)
    }

    /// How many elements there are in all sets.
    pub fn element_count(&self) -> usize {
        self.sets.values().map(Elements::len).sum()
    }

    /// Puts an entry under a key, or takes it away.
    pub fn put(&mut self, set: SetName, key: Key, entry: Option<Entry>) {
        let elements = self.sets.entry(set).or_default();
        match entry {
            Some(entry) => elements.insert(key, entry),
            None => elements.remove(&key),
        };
        if elements.is_empty() {
            self.sets.remove(&set);
        }
    }
}

/// A chain of our table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    /// Where packets enter it; nothing for one that is only jumped to.
    pub hook: Option<Hook>,
    /// Rules in order.
    pub rules: Vec<Rule>,
}

/// What makes a chain a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Type of the chain.
    pub kind: ChainKind,
    /// Where it hooks in.
    pub point: HookPoint,
    /// Order among the chains there, lowest first.
    pub priority: i32,
}

/// Type of a base chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ChainKind {
    /// Sees every packet.
    Filter,
    /// Sees the first packet of a connection.
    Nat,
}

impl ChainKind {
    /// The word of nft.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

/// Where in the way of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum HookPoint {
    /// Came in from an interface.
    Prerouting,
    /// Is for this machine.
    Input,
    /// Is for another machine.
    Forward,
    /// Was sent by this machine.
    Output,
    /// Is about to leave.
    Postrouting,
}

impl HookPoint {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Prerouting, Self::Input, Self::Forward, Self::Output, Self::Postrouting];

    /// The word of nft.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// Sets and maps of the table. Those with names of kube-proxy hold the same as there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SetName {
    /// Cluster addresses of all services.
    ClusterIps,
    /// Addresses of the node on which node ports answer.
    NodePortIps,
    /// Local endpoints, for connections that come back to where they started.
    HairpinConnections,
    /// Load balancer addresses with source ranges.
    FirewallIps,
    /// Addresses of services without an endpoint to go to.
    NoEndpointServices,
    /// Node ports of services without an endpoint to go to.
    NoEndpointNodePorts,
    /// Cluster, external and load balancer addresses.
    ServiceIps,
    /// Node ports.
    ServiceNodePorts,
    /// External addresses of services with policy Local, for clients of the cluster.
    ShortCircuitServices,
    /// Node ports of services with policy Local, for clients of the cluster.
    ShortCircuitNodePorts,
    /// External addresses of services with policy Local, for all other clients.
    LocalServices,
    /// Node ports of services with policy Local, for all other clients.
    LocalNodePorts,
    /// Endpoints behind an address, numbered from 0.
    Endpoints(Protocol),
    /// Endpoints of this node behind an address.
    LocalEndpoints(Protocol),
    /// Endpoints behind a node port.
    NodePortEndpoints(Protocol),
    /// Endpoints of this node behind a node port.
    LocalNodePortEndpoints(Protocol),
    /// Class of the service behind an address.
    AffinityServices,
    /// Class of the service behind a node port.
    AffinityNodePorts,
    /// Classes of the endpoints of a class, numbered from 0.
    AffinityChoices,
    /// Classes of the endpoints of this node.
    LocalAffinityChoices,
    /// Endpoint of a class.
    AffinityEndpoints,
    /// Endpoint of a class, if it is on this node.
    LocalAffinityEndpoints,
    /// Class of the endpoint a client is tied to, written by the rules.
    Affinity,
}

impl SetName {
    /// All of them.
    pub const ALL: [Self; 31] = [
        Self::ClusterIps,
        Self::NodePortIps,
        Self::HairpinConnections,
        Self::FirewallIps,
        Self::NoEndpointServices,
        Self::NoEndpointNodePorts,
        Self::ServiceIps,
        Self::ServiceNodePorts,
        Self::ShortCircuitServices,
        Self::ShortCircuitNodePorts,
        Self::LocalServices,
        Self::LocalNodePorts,
        Self::Endpoints(Protocol::Tcp),
        Self::Endpoints(Protocol::Udp),
        Self::Endpoints(Protocol::Sctp),
        Self::LocalEndpoints(Protocol::Tcp),
        Self::LocalEndpoints(Protocol::Udp),
        Self::LocalEndpoints(Protocol::Sctp),
        Self::NodePortEndpoints(Protocol::Tcp),
        Self::NodePortEndpoints(Protocol::Udp),
        Self::NodePortEndpoints(Protocol::Sctp),
        Self::LocalNodePortEndpoints(Protocol::Tcp),
        Self::LocalNodePortEndpoints(Protocol::Udp),
        Self::LocalNodePortEndpoints(Protocol::Sctp),
        Self::AffinityServices,
        Self::AffinityNodePorts,
        Self::AffinityChoices,
        Self::LocalAffinityChoices,
        Self::AffinityEndpoints,
        Self::LocalAffinityEndpoints,
        Self::Affinity,
    ];

    /// The name in the table.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClusterIps => "cluster-ips",
            Self::NodePortIps => "nodeport-ips",
            Self::HairpinConnections => "hairpin-connections",
            Self::FirewallIps => "firewall-ips",
            Self::NoEndpointServices => "no-endpoint-services",
            Self::NoEndpointNodePorts => "no-endpoint-nodeports",
            Self::ServiceIps => "service-ips",
            Self::ServiceNodePorts => "service-nodeports",
            Self::ShortCircuitServices => "short-circuit-services",
            Self::ShortCircuitNodePorts => "short-circuit-nodeports",
            Self::LocalServices => "local-services",
            Self::LocalNodePorts => "local-nodeports",
            Self::Endpoints(Protocol::Tcp) => "endpoints-tcp",
            Self::Endpoints(Protocol::Udp) => "endpoints-udp",
            Self::Endpoints(Protocol::Sctp) => "endpoints-sctp",
            Self::LocalEndpoints(Protocol::Tcp) => "local-endpoints-tcp",
            Self::LocalEndpoints(Protocol::Udp) => "local-endpoints-udp",
            Self::LocalEndpoints(Protocol::Sctp) => "local-endpoints-sctp",
            Self::NodePortEndpoints(Protocol::Tcp) => "nodeport-endpoints-tcp",
            Self::NodePortEndpoints(Protocol::Udp) => "nodeport-endpoints-udp",
            Self::NodePortEndpoints(Protocol::Sctp) => "nodeport-endpoints-sctp",
            Self::LocalNodePortEndpoints(Protocol::Tcp) => "local-nodeport-endpoints-tcp",
            Self::LocalNodePortEndpoints(Protocol::Udp) => "local-nodeport-endpoints-udp",
            Self::LocalNodePortEndpoints(Protocol::Sctp) => "local-nodeport-endpoints-sctp",
            Self::AffinityServices => "affinity-services",
            Self::AffinityNodePorts => "affinity-nodeports",
            Self::AffinityChoices => "affinity-choices",
            Self::LocalAffinityChoices => "local-affinity-choices",
            Self::AffinityEndpoints => "affinity-endpoints",
            Self::LocalAffinityEndpoints => "local-affinity-endpoints",
            Self::Affinity => "affinity",
        }
    }

    /// The set of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|set| set.name() == name)
    }

    /// Whether the kernel fills it, not we.
    pub const fn is_dynamic(self) -> bool {
        matches!(self, Self::Affinity)
    }
}

impl fmt::Display for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An address with protocol and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Front {
    /// Address.
    pub address: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Port.
    pub port: u16,
}

/// The key of an element. Each set has keys of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// An address.
    Address(IpAddr),
    /// An address with protocol and port.
    Front(Front),
    /// A port of the node.
    NodePort(Protocol, u16),
    /// One of the endpoints behind an address. The protocol is that of the set.
    Nth(Front, u32),
    /// One of the endpoints behind a port of the node. The protocol is that of the set.
    NodePortNth(Protocol, u16, u32),
    /// An endpoint that talks to itself: its address twice.
    Hairpin(IpAddr),
    /// A class.
    Class(Class),
    /// One of the endpoints of a class.
    ClassNth(Class, u32),
}

impl Key {
    /// The key that comes before all others.
    pub const FIRST: Self = Self::Address(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
}

/// What a map has for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Nothing: the element of a set.
    Member,
    /// The packet is dropped.
    Drop,
    /// The packet goes on in this chain.
    Goto(ChainName),
    /// Address and port.
    Target(IpAddr, u16),
    /// A class.
    Class(Class),
}

/// An element without its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What the key stands for.
    pub value: Value,
    /// A remark for readers, at most [`COMMENT_LENGTH`] bytes.
    pub comment: Option<Arc<str>>,
}

/// The longest comment of an element or rule in bytes (limit of libnftnl).
pub const COMMENT_LENGTH: usize = 127;

/// A service with affinity, or one of its endpoints, in the form of a traffic class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class {
    /// Number of the service; its highest bit is set, which sets our classes apart from those of
    /// traffic control that people give by hand.
    pub service: u16,
    /// Number of the endpoint in the service; 0 for the service itself.
    pub endpoint: u16,
}

impl Class {
    /// The bit of the packet priority that all our classes have and no other should.
    pub const BIT: u32 = 0x8000_0000;

    /// The class of the service itself.
    #[must_use]
    pub const fn of_service(self) -> Self {
        Self { service: self.service, endpoint: 0 }
    }
}

impl fmt::Display for Class {
    /// Hexadecimal numbers with a colon between, as nft prints them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{:x}", self.service, self.endpoint)
    }
}
