//! Netfilter rules as values.
//!
//! A rule is the same value whether it was planned or read back from the kernel; that is what
//! makes comparing, tracing and a second start without writes possible.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::input::Protocol;

/// Name of a chain; at most 28 bytes, the limit of xtables.
pub type ChainName = Arc<str>;

/// The rules of one chain, shared between plans.
pub type Chain = Arc<[Arc<Rule>]>;

/// The tables with chains of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Table {
    /// `mangle`.
    Mangle,
    /// `filter`.
    Filter,
    /// `nat`.
    Nat,
}

impl Table {
    /// All of them, in the order they are written.
    pub const ALL: [Self; 3] = [Self::Mangle, Self::Filter, Self::Nat];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mangle => "mangle",
            Self::Filter => "filter",
            Self::Nat => "nat",
        }
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A chain in its table.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ChainKey {
    /// Table.
    pub table: Table,
    /// Name.
    pub name: ChainName,
}

impl ChainKey {
    /// The chain of that name in that table.
    pub fn new(table: Table, name: impl Into<ChainName>) -> Self {
        Self { table, name: name.into() }
    }
}

impl fmt::Display for ChainKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.table, self.name)
    }
}

/// A rule in a built-in chain that leads to one of ours. It has to exist somewhere in its chain;
/// one that is missing is put first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jump {
    /// Table.
    pub table: Table,
    /// The built-in chain.
    pub from: &'static str,
    /// The rule.
    pub rule: Rule,
    /// Whether the kubelet wants the same rule, so that cleaning up must leave it.
    pub shared: bool,
}

/// All rules of one family: complete chains, and the jumps that lead to them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSet {
    /// The chains we own, with all their rules.
    pub chains: BTreeMap<ChainKey, Chain>,
    /// The jumps, in the order they are put first one after the other.
    pub jumps: Vec<Jump>,
}

impl RuleSet {
    /// How many rules the chains have together.
    pub fn rule_count(&self) -> usize {
        self.chains.values().map(|chain| chain.len()).sum()
    }
}

/// One rule: every part that is present has to match, then the target applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Rule {
    /// Source address.
    pub source: Option<Address>,
    /// Destination address.
    pub destination: Option<Address>,
    /// Incoming interface.
    pub in_interface: Option<Interface>,
    /// Transport protocol.
    pub protocol: Option<Protocol>,
    /// Match modules, in the order they are loaded.
    pub matches: Vec<Match>,
    /// What happens; nothing for a rule that only counts or comments.
    pub target: Option<Target>,
}

/// An address match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Address {
    /// Whether addresses outside match.
    pub negated: bool,
    /// The network.
    pub net: IpNet,
}

/// An interface match.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    /// Whether other interfaces match.
    pub negated: bool,
    /// Name, or a prefix with a closing `+`.
    pub name: Arc<str>,
}

/// One match module with its options.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Match {
    /// A remark; always matches.
    Comment(Arc<str>),
    /// The module of the transport protocol, with the destination port if one is asked for.
    Transport {
        /// Protocol.
        protocol: Protocol,
        /// Destination port.
        destination_port: Option<u16>,
    },
    /// Connection state.
    ConnState {
        /// Whether other states match.
        negated: bool,
        /// The states.
        states: ConnStates,
    },
    /// Packet mark.
    Mark {
        /// Whether other marks match.
        negated: bool,
        /// Value under the mask.
        value: u32,
        /// Mask.
        mask: u32,
    },
    /// An address of this machine.
    LocalAddress(Side),
    /// A share of the packets.
    Random(Probability),
    /// Clients seen in the list within the time; older ones are dropped from it.
    RecentlySeen {
        /// Name of the list.
        list: Arc<str>,
        /// Time in seconds.
        seconds: u32,
    },
    /// Puts the client into the list; always matches.
    RememberClient {
        /// Name of the list.
        list: Arc<str>,
    },
    /// Counts in the counter object of that name; always matches.
    Accounting {
        /// Name of the object.
        name: Arc<str>,
    },
    /// Something we never write, as it was printed.
    Foreign(Arc<str>),
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// A set of connection states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ConnStates(u8);

impl ConnStates {
    /// State names in the order iptables prints them.
    const NAMES: [&'static str; 7] =
        ["INVALID", "NEW", "RELATED", "ESTABLISHED", "UNTRACKED", "SNAT", "DNAT"];
    /// Not a part of any connection.
    pub const INVALID: Self = Self(1);
    /// First packet of a connection.
    pub const NEW: Self = Self(1 << 1);
    /// Belongs to another connection.
    pub const RELATED: Self = Self(1 << 2);
    /// Belongs to a known connection.
    pub const ESTABLISHED: Self = Self(1 << 3);
    /// The destination was translated.
    pub const DNAT: Self = Self(1 << 6);

    /// The states of both sets.
    pub const fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether the sets share a state.
    pub const fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::NAMES.iter().position(|known| *known == name).map(|bit| Self(1 << bit))
    }
}

impl fmt::Display for ConnStates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Self::NAMES.iter().enumerate().filter(|(bit, _)| self.0 & (1 << bit) != 0);
        for (position, (_, name)) in names.enumerate() {
            if position > 0 {
                f.write_str(",")?;
            }
            f.write_str(name)?;
        }
        Ok(())
    }
}

/// A probability as the kernel keeps it: in parts of 2^31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Probability(u32);

impl Probability {
    /// Fixed point one, 2^31.
    const ONE: f64 = 2_147_483_648.0;

    /// One of `choices`, which must not be 0; rounded to ten decimals first, as kube-proxy
    /// writes it, so that the kernel ends up with the same number.
    pub fn one_of(choices: usize) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 endpoints")]
        let share = 1.0 / choices.max(1) as f64;
        Self::from_share((share * 1e10).round() / 1e10)
    }

    /// The probability nearest to `share`, which is cut to 0 to 1.
    pub fn from_share(share: f64) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the clamp keeps the product within 0 and 2^31"
        )]
        let fixed = (share.clamp(0.0, 1.0) * Self::ONE).round() as u32;
        Self(fixed)
    }

    /// As a number from 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.0) / Self::ONE
    }
}

impl fmt::Display for Probability {
    /// Eleven decimals, as iptables-save prints it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.11}", self.share())
    }
}

/// What a rule does with a packet.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Goes on in another chain and comes back if that decides nothing.
    Jump(ChainName),
    /// Goes back to the calling chain.
    Return,
    /// Lets the packet through.
    Accept,
    /// Drops it silently.
    Drop,
    /// Drops it and answers `port unreachable`.
    Reject,
    /// Replaces the bits of the mark that `mask` names, then flips those of `value`
    /// (`--set-xmark`).
    SetXmark {
        /// Bits to flip.
        value: u32,
        /// Bits to clear before.
        mask: u32,
    },
    /// Replaces the source by an address of this machine.
    Masquerade {
        /// Whether source ports are chosen at random.
        random_fully: bool,
    },
    /// Replaces the destination.
    Dnat(SocketAddr),
}

#[cfg(test)]
mod tests;
