//! Pure. The rules of our table, as typed data.

use std::sync::Arc;

use ipnet::IpNet;

use super::state::{ChainName, SetName};
use crate::input::Protocol;

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// What it checks and what it makes of the packet, in order; one that does not hold ends the
    /// rule.
    pub statements: Vec<Statement>,
    /// A remark for readers.
    pub comment: Option<Arc<str>>,
}

impl Rule {
    /// A rule without a comment.
    pub fn new(statements: impl Into<Vec<Statement>>) -> Self {
        Self { statements: statements.into(), comment: None }
    }

    /// The rule with a comment.
    #[must_use]
    pub fn comment(mut self, text: &str) -> Self {
        self.comment = Some(text.into());
        self
    }
}

/// Which end of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

/// A part of the key with which a packet is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// An address of the packet.
    Address(Side),
    /// Its transport protocol.
    Protocol,
    /// Its destination port, whatever the protocol.
    Port,
    /// Its destination port; holds for packets of that protocol only.
    PortOf(Protocol),
    /// A number below this one, drawn for each packet.
    Random(u32),
    /// The class in the priority.
    Priority,
    /// A number made of its source address, where the address itself would be too long.
    HashedSource,
}

/// A step of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Statement {
    /// Holds for packets that belong to no known connection.
    NewConnection,
    /// Holds for packets of connections with a translated destination.
    Translated,
    /// Holds for addresses within, or with `negated` outside of, a network.
    Address {
        /// Which address.
        side: Side,
        /// Whether it has to be outside.
        negated: bool,
        /// The network.
        net: IpNet,
    },
    /// Holds for addresses of this machine.
    LocalAddress(Side),
    /// Holds for packets that came in through an interface, or with `negated` through another or
    /// none.
    Interface {
        /// Whether it has to be another.
        negated: bool,
        /// Name, or a prefix with a closing `*`.
        name: Arc<str>,
    },
    /// Holds for packets of this protocol.
    Protocol(Protocol),
    /// Holds for packets with one of these bits in the mark.
    Marked(u32),
    /// Sets bits of the mark.
    SetMark(u32),
    /// Flips bits of the mark.
    FlipMark(u32),
    /// Holds for packets whose key is in the set.
    Member {
        /// What is looked up.
        key: Vec<Field>,
        /// Where.
        set: SetName,
    },
    /// Goes where the map sends the key; holds on if it is not there.
    VerdictMap {
        /// What is looked up.
        key: Vec<Field>,
        /// Where.
        map: SetName,
    },
    /// Replaces the destination by what the map has for the key, and ends the rules of this hook.
    /// Does not hold if the key is not there.
    Dnat {
        /// What is looked up.
        key: Vec<Field>,
        /// Where.
        map: SetName,
    },
    /// Holds for packets with a class of ours in the priority.
    Classified,
    /// Puts what the map has for the key into the priority. Does not hold if it is not there.
    Classify {
        /// What is looked up.
        key: Vec<Field>,
        /// Where.
        map: SetName,
    },
    /// Makes the class of an endpoint in the priority that of its service.
    ClassOfService,
    /// Takes the class off.
    Unclassify,
    /// Remembers for the client and the service of the class in the priority that class; starts
    /// the time anew if it is known.
    Remember {
        /// Seconds after which it is forgotten.
        seconds: u32,
    },
    /// Forgets what is remembered for the client and the service of the class in the priority.
    Forget,
    /// Replaces the source by an address of this machine, with a random port.
    Masquerade,
    /// Goes on in another chain and comes back if that decides nothing.
    Jump(ChainName),
    /// Goes on in another chain and does not come back.
    Goto(ChainName),
    /// Goes back to the calling chain.
    Return,
    /// Drops the packet silently.
    Drop,
    /// Drops the packet and answers `port unreachable`.
    Reject,
}
