//! Pure. The back end that is asked for, and what is set for each of them apart.

use std::time::Duration;

use super::NodePortAddresses;

/// `mode`: which back end writes the rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyMode {
    /// Through iptables; also when the file names no mode (kube-proxy, v1.36).
    #[default]
    Iptables,
    /// Through a table of our own in nftables.
    Nftables,
    /// Whichever the machine is fit for; kube-proxy has no such mode.
    Auto,
}

impl ProxyMode {
    /// The mode of that word; the empty word is the default. Nothing for any other.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "" | "iptables" => Some(Self::Iptables),
            "nftables" => Some(Self::Nftables),
            "auto" => Some(Self::Auto),
            _ => None,
        }
    }

    /// The word in the file and at `/proxyMode`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
            Self::Auto => "auto",
        }
    }
}

/// `bindAddressHardFail`: what follows when a server of the proxy finds its port taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BindFailures {
    /// It tries again; the rules matter more.
    #[default]
    Retry,
    /// The proxy ends.
    Fatal,
}

/// What the sections `iptables` and `nftables` of the file set, each for its own mode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModeSettings {
    /// Masquerade everything sent to cluster addresses.
    pub masquerade_all: bool,
    /// Which bit of the packet mark asks for masquerading, 0 to 31.
    pub masquerade_bit: u8,
    /// Least time between the starts of two syncs.
    pub min_sync_period: Duration,
    /// Time between checks for lost rules, and the longest time until a failed sync is retried.
    pub sync_period: Duration,
    /// Where NodePorts answer.
    pub node_port_addresses: NodePortAddresses,
}

impl ModeSettings {
    /// The defaults of kube-proxy v1.36 in iptables mode.
    pub const fn iptables() -> Self {
        Self {
            masquerade_all: false,
            masquerade_bit: 14,
            min_sync_period: Duration::from_secs(1),
            sync_period: Duration::from_secs(30),
            node_port_addresses: NodePortAddresses::All,
        }
    }

    /// The defaults of kube-proxy v1.36 in nftables mode.
    pub fn nftables() -> Self {
        Self { node_port_addresses: NodePortAddresses::Primary, ..Self::iptables() }
    }
}
