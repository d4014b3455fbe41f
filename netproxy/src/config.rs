//! Configuration of the proxy: validated values, as the rest of the crate uses them.
//!
//! **What.** The parts of KubeProxyConfiguration that decide about rules and their timing.
//! **Owns.** Nothing; built once at start.
//! **Invariants.** [`ProxyConfig::problems`] is empty for every configuration that is run.
//! **Source.** `kubeproxy.config.k8s.io/v1alpha1` and its defaults, v1.36.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

pub mod conntrack;
pub mod file;
mod mode;

pub use conntrack::ConntrackSettings;
pub use mode::{BindFailures, ModeSettings, ProxyMode};

/// IP family; the proxy plans and writes each on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum IpFamily {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl IpFamily {
    /// The family of an address.
    pub const fn of(address: IpAddr) -> Self {
        if address.is_ipv6() { Self::V6 } else { Self::V4 }
    }

    /// Whether the address is of this family.
    pub fn has(self, address: IpAddr) -> bool {
        Self::of(address) == self
    }

    /// The name as in metric labels and health answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// The network that holds every address of the family.
    pub fn everything(self) -> IpNet {
        match self {
            Self::V4 => IpNet::V4(ipnet::Ipv4Net::default()),
            Self::V6 => IpNet::V6(ipnet::Ipv6Net::default()),
        }
    }
}

impl std::fmt::Display for IpFamily {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// How traffic of pods of this node's cluster is recognised (`detectLocalMode`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocalTraffic {
    /// By source address in these networks, at most one per family. A family without a network
    /// has no detection.
    ClusterCidrs(Vec<IpNet>),
    /// By source address in the node's own `spec.podCIDRs`.
    NodeCidrs,
    /// By this incoming interface.
    Bridge(Arc<str>),
    /// By incoming interfaces whose name starts so.
    InterfacePrefix(Arc<str>),
}

/// On which addresses of the node NodePorts answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum NodePortAddresses {
    /// On all local addresses.
    #[default]
    All,
    /// On the node's primary address of each family.
    Primary,
    /// On local addresses within these networks.
    Within(Vec<IpNet>),
    /// On the node's primary address of each family, and on local addresses within these networks.
    PrimaryAnd(Vec<IpNet>),
}

impl NodePortAddresses {
    /// The listed networks; empty where local addresses are not matched with any.
    pub fn networks(&self) -> &[IpNet] {
        match self {
            Self::All | Self::Primary => &[],
            Self::Within(networks) | Self::PrimaryAnd(networks) => networks,
        }
    }
}

/// Configuration of the proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProxyConfig {
    /// Which back end writes the rules.
    pub mode: ProxyMode,
    /// Name of the Node; endpoints with this `nodeName` are local.
    pub node_name: Arc<str>,
    /// Node addresses, at most one per family; a family without one takes it from the Node object.
    pub node_ips: Vec<IpAddr>,
    /// How pod traffic is recognised.
    pub local_traffic: LocalTraffic,
    /// Where NodePorts answer.
    pub node_port_addresses: NodePortAddresses,
    /// Masquerade everything sent to cluster addresses.
    pub masquerade_all: bool,
    /// Let NodePorts answer on IPv4 loopback addresses.
    pub localhost_node_ports: bool,
    /// Which bit of the packet mark asks for masquerading, 0 to 31.
    pub masquerade_bit: u8,
    /// Least time between the starts of two syncs.
    pub min_sync_period: Duration,
    /// Time between checks for lost rules, and the longest time until a failed sync is retried.
    pub sync_period: Duration,
    /// What takes the place of the five settings of the same names in nftables mode.
    pub nftables: ModeSettings,
    /// What follows when a server of the proxy finds its port taken.
    pub bind_failures: BindFailures,
    /// Size and timeouts of connection tracking.
    pub conntrack: ConntrackSettings,
    /// Where the health of the proxy is served; nothing when switched off.
    pub healthz_bind_address: Option<SocketAddr>,
    /// Where the metrics are served; nothing when switched off.
    pub metrics_bind_address: Option<SocketAddr>,
}

impl ProxyConfig {
    /// The defaults of kube-proxy v1.36 in iptables mode, for the node of that name.
    pub fn new(node_name: impl Into<Arc<str>>) -> Self {
        Self {
            mode: ProxyMode::default(),
            node_name: node_name.into(),
            node_ips: Vec::new(),
            local_traffic: LocalTraffic::ClusterCidrs(Vec::new()),
            node_port_addresses: NodePortAddresses::All,
            masquerade_all: false,
            localhost_node_ports: true,
            masquerade_bit: 14,
            min_sync_period: Duration::from_secs(1),
            sync_period: Duration::from_secs(30),
            nftables: ModeSettings::nftables(),
            bind_failures: BindFailures::default(),
            conntrack: ConntrackSettings::default(),
            healthz_bind_address: Some(SocketAddr::from(([0, 0, 0, 0], 10256))),
            metrics_bind_address: Some(SocketAddr::from(([127, 0, 0, 1], 10249))),
        }
    }

    /// The configuration with the settings of nftables mode in force.
    pub fn in_nftables_mode(mut self) -> Self {
        let settings = self.nftables.clone();
        self.masquerade_all = settings.masquerade_all;
        self.masquerade_bit = settings.masquerade_bit;
        self.min_sync_period = settings.min_sync_period;
        self.sync_period = settings.sync_period;
        self.node_port_addresses = settings.node_port_addresses;
        // They never do in this mode, and what would let them in is not to be switched on.
        self.localhost_node_ports = false;
        self
    }

    /// Everything that is wrong with the configuration; empty when it can be run.
    pub fn problems(&self) -> Vec<ConfigProblem> {
        let mut problems = Vec::new();
        if self.node_name.is_empty() {
            problems.push(ConfigProblem::NoNodeName);
        }
        if self.masquerade_bit > 31 {
            problems.push(ConfigProblem::MasqueradeBit(self.masquerade_bit));
        }
        if self.sync_period.is_zero() {
            problems.push(ConfigProblem::NoSyncPeriod);
        }
        if self.min_sync_period > self.sync_period {
            problems.push(ConfigProblem::SyncPeriods {
                min: self.min_sync_period,
                max: self.sync_period,
            });
        }
        for family in [IpFamily::V4, IpFamily::V6] {
            if self.node_ips.iter().filter(|address| family.has(**address)).count() > 1 {
                problems.push(ConfigProblem::NodeIps(family));
            }
        }
        problems.extend(self.local_traffic.problems());
        problems
    }
}

impl LocalTraffic {
    fn problems(&self) -> Vec<ConfigProblem> {
        match self {
            Self::ClusterCidrs(cidrs) => [IpFamily::V4, IpFamily::V6]
                .into_iter()
                .filter(|family| cidrs.iter().filter(|cidr| family.has(cidr.addr())).count() > 1)
                .map(ConfigProblem::ClusterCidrs)
                .collect(),
            Self::NodeCidrs => Vec::new(),
            Self::Bridge(name) | Self::InterfacePrefix(name) => {
                // 15 is the longest name of a Linux network interface.
                let usable = !name.is_empty()
                    && name.len() <= 15
                    && !name.chars().any(|c| c.is_whitespace() || c == '/' || c == '"');
                if usable { Vec::new() } else { vec![ConfigProblem::Interface(name.clone())] }
            }
        }
    }
}

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// No node name.
    #[error("node name is empty")]
    NoNodeName,
    /// Not a bit of the mark.
    #[error("masquerade bit {0} is not between 0 and 31")]
    MasqueradeBit(u8),
    /// The sync period is zero.
    #[error("sync period is zero")]
    NoSyncPeriod,
    /// The periods contradict each other.
    #[error("minimum sync period {min:?} is longer than sync period {max:?}")]
    SyncPeriods {
        /// Configured minimum.
        min: Duration,
        /// Configured period.
        max: Duration,
    },
    /// Two addresses of one family.
    #[error("more than one {0} node address")]
    NodeIps(IpFamily),
    /// Two networks of one family.
    #[error("more than one {0} cluster CIDR")]
    ClusterCidrs(IpFamily),
    /// Not the name of a network interface.
    #[error("{0:?} is not the name of a network interface")]
    Interface(Arc<str>),
}

#[cfg(test)]
mod tests;
