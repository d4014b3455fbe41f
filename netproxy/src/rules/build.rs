//! Pure. Putting a rule together, part by part, in the order iptables is told.

use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use super::ruleset::{Address, ChainName, Match, Rule, Target};
use crate::input::Protocol;

impl Rule {
    /// A rule that starts with a remark.
    pub(super) fn remark(text: impl Into<Arc<str>>) -> Self {
        Self::default().when(Match::Comment(text.into()))
    }

    /// Also needs this match.
    pub(super) fn when(mut self, part: Match) -> Self {
        self.matches.push(part);
        self
    }

    /// Also needs this protocol, and this destination port if there is one.
    pub(super) fn transport(mut self, protocol: Protocol, port: Option<u16>) -> Self {
        self.protocol = Some(protocol);
        self.when(Match::Transport { protocol, destination_port: port })
    }

    /// Counts in the counter object of that name what got this far.
    pub(super) fn counted_in(self, name: &str) -> Self {
        self.when(Match::Accounting { name: name.into() })
    }

    /// Also needs a source within the network.
    pub(super) fn source_within(mut self, net: IpNet) -> Self {
        self.source = Some(Address { negated: false, net });
        self
    }

    /// Also needs a source outside the network.
    pub(super) fn source_outside(mut self, net: IpNet) -> Self {
        self.source = Some(Address { negated: true, net });
        self
    }

    /// Also needs this destination.
    pub(super) fn destination(self, address: IpAddr) -> Self {
        self.destination_within(IpNet::from(address))
    }

    /// Also needs a destination within the network.
    pub(super) fn destination_within(mut self, net: IpNet) -> Self {
        self.destination = Some(Address { negated: false, net });
        self
    }

    /// Also needs a destination outside the network.
    pub(super) fn destination_outside(mut self, net: IpNet) -> Self {
        self.destination = Some(Address { negated: true, net });
        self
    }

    /// Ends in this target.
    pub(super) fn then(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Ends in another chain.
    pub(super) fn jump(self, chain: impl Into<ChainName>) -> Self {
        self.then(Target::Jump(chain.into()))
    }

    /// Whether both rules do the same to every packet.
    ///
    /// Some versions of iptables print the modules in another order than they were given, and
    /// leave out a protocol module without options, which says no more than the protocol does.
    pub fn equivalent(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        let parts = |rule: &Self| {
            let mut parts: Vec<Match> = rule.matches.clone();
            parts.retain(|part| !matches!(part, Match::Transport { destination_port: None, .. }));
            parts
        };
        let (mine, mut theirs) = (parts(self), parts(other));
        mine.iter().all(|part| {
            let found = theirs.iter().position(|candidate| candidate == part);
            found.map(|position| theirs.swap_remove(position)).is_some()
        }) && theirs.is_empty()
            && self.source == other.source
            && self.destination == other.destination
            && self.in_interface == other.in_interface
            && self.protocol == other.protocol
            && self.target == other.target
    }
}
