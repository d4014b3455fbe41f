//! Pure. Follows the first packet of a connection through rules, rule by rule.
//!
//! Where chance decides, every way is followed, with its share of the packets. What cannot be
//! known is never guessed: a rule of somebody else is noted and passed by, and where an interface
//! decides that nobody named, both ways are followed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::live::Policies;
use crate::input::Protocol;
use crate::iptables::parse::LiveTables;
use crate::rules::chains::{FIREWALL, is_owned};
use crate::rules::ruleset::{
    Address, ChainKey, ChainName, ConnStates, Interface, Jump, Match, Rule, Side, Table, Target,
};

/// The first packet of a connection.
#[derive(Clone, Debug)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Destination port.
    pub port: u16,
    /// Protocol.
    pub protocol: Protocol,
    /// Interface it comes in through, empty when nobody knows which; nothing for one that the
    /// machine sends itself.
    pub interface: Option<Arc<str>>,
    /// Addresses of the machine.
    pub local_addresses: Vec<IpAddr>,
    /// Affinity lists that know the source.
    pub known_in: Vec<Arc<str>>,
}

/// Where a packet ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// At this endpoint.
    Endpoint(SocketAddr),
    /// Where it was sent to.
    Unchanged,
    /// Nowhere; the sender is told.
    Rejected,
    /// Nowhere.
    Dropped,
}

/// What a rule did to the packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Went on in another chain.
    Jump(ChainName),
    /// Went back to the calling chain.
    Return,
    /// Ended the chains of this table.
    Accept,
    /// Ended the packet.
    Drop,
    /// Ended the packet and told the sender.
    Reject,
    /// Changed the mark to this.
    Mark(u32),
    /// Replaces the source by an address of this machine.
    Masquerade,
    /// Replaced the destination.
    Dnat(SocketAddr),
    /// Nothing: a rule without a target.
    Nothing,
    /// The policy of a built-in chain ended the packet.
    Policy,
    /// The policy of a built-in chain ends the packet unless a rule of somebody else accepts it.
    PolicyUnlessAccepted,
    /// A rule of somebody else that may match; what it does is unknown.
    Unknown,
}

/// A rule that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its chain.
    pub chain: ChainKey,
    /// Its place in the chain, from 1.
    pub number: usize,
    /// The rule.
    pub rule: Arc<Rule>,
    /// What it did.
    pub effect: Effect,
}

/// Something nobody knows that a way depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assumption {
    /// Interface, or a prefix with a closing `+`.
    pub interface: Arc<str>,
    /// Whether the packet came in through it.
    pub through: bool,
}

/// One way a packet can take.
#[derive(Clone, Debug, PartialEq)]
pub struct Way {
    /// Share of the packets, 0 to 1, given its assumptions.
    pub share: f64,
    /// The rules taken, in order.
    pub steps: Vec<Step>,
    /// What it depends on.
    pub assumed: Vec<Assumption>,
    /// Where it ends.
    pub verdict: Verdict,
    /// Whether the source is replaced.
    pub masqueraded: bool,
}

impl Way {
    /// The rule that ended the packet, or chose the endpoint.
    pub fn decided_by(&self) -> Option<&Step> {
        self.steps.iter().rev().find(|step| {
            matches!(step.effect, Effect::Drop | Effect::Reject | Effect::Policy | Effect::Dnat(_))
        })
    }
}

/// A flaw of the rules themselves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A rule leads to a chain that is not there.
    MissingChain(ChainKey),
    /// Chains lead to each other in a circle.
    Loop(ChainKey),
    /// A rule of one of our chains is none that the proxy writes.
    Unreadable(ChainKey, Arc<str>),
}

/// All ways of a packet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Walk {
    /// The ways.
    pub ways: Vec<Way>,
    /// Flaws met.
    pub flaws: Vec<Flaw>,
}

/// The rules a packet goes through.
#[derive(Clone, Copy)]
pub struct Ruleset<'a> {
    /// Chains and rules.
    pub tables: &'a LiveTables,
    /// What becomes of a packet at the end of a built-in chain; accepted where nothing is said.
    pub policies: Option<&'a Policies>,
    /// The jumps that are ours; every other rule of a chain that is not ours is unknown. Nothing
    /// when all rules are ours.
    pub jumps: Option<&'a [Jump]>,
}

/// Jumps that deep are a loop. The longest way of ours has six.
const MAX_DEPTH: usize = 16;

#[derive(Clone)]
struct Track {
    destination: SocketAddr,
    mark: u32,
    translated: bool,
    masqueraded: bool,
    share: f64,
    steps: Vec<Step>,
    assumed: Vec<Assumption>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Ran off the end, or returned.
    Through,
    Accepted,
    Dropped,
    Rejected,
}

enum Hit {
    No,
    /// With this probability.
    Yes(f64),
    /// Depends on whether the packet came through this interface, or only if it did not.
    If(Assumption),
    Unknown,
}

impl Packet {
    /// All ways through the rules.
    pub fn walk(&self, rules: Ruleset<'_>) -> Walk {
        let mut walker = Walker { packet: self, rules, flaws: Vec::new() };
        let start = Track {
            destination: SocketAddr::new(self.destination, self.port),
            mark: 0,
            translated: false,
            masqueraded: false,
            share: 1.0,
            steps: Vec::new(),
            assumed: Vec::new(),
        };
        let first = if self.interface.is_some() { "PREROUTING" } else { "OUTPUT" };
        let mut ways = Vec::new();
        for (track, end) in walker.built_in(Table::Nat, first, start) {
            if end == End::Dropped {
                ways.push(track.way(Verdict::Dropped));
                continue;
            }
            let is_local = self.local_addresses.contains(&track.destination.ip());
            let hook = match (&self.interface, is_local) {
                (None, _) => "OUTPUT",
                (Some(_), true) => "INPUT",
                (Some(_), false) => "FORWARD",
            };
            for (track, end) in walker.built_in(Table::Filter, hook, track) {
                match end {
                    End::Dropped => ways.push(track.way(Verdict::Dropped)),
                    End::Rejected => ways.push(track.way(Verdict::Rejected)),
                    End::Through | End::Accepted if hook == "INPUT" => ways.push(track.delivered()),
                    End::Through | End::Accepted => {
                        let left = walker.built_in(Table::Nat, "POSTROUTING", track);
                        ways.extend(left.into_iter().map(|(track, _)| track.delivered()));
                    }
                }
            }
        }
        Walk { ways, flaws: walker.flaws }
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.local_addresses.contains(&address)
    }

    /// Whether the rule matches.
    fn meets(&self, rule: &Rule, track: &Track) -> Hit {
        let within = |address: &Option<Address>, ip: IpAddr| {
            address.is_none_or(|address| address.net.contains(&ip) != address.negated)
        };
        let fits = within(&rule.source, self.source)
            && within(&rule.destination, track.destination.ip())
            && rule.protocol.is_none_or(|protocol| protocol == self.protocol);
        if !fits {
            return Hit::No;
        }
        let mut share = 1.0;
        for part in &rule.matches {
            match self.part(part, track) {
                Hit::Yes(more) => share *= more,
                other => return other,
            }
        }
        match &rule.in_interface {
            None => Hit::Yes(share),
            Some(wanted) => self.arrives(wanted, track, share),
        }
    }

    fn arrives(&self, wanted: &Interface, track: &Track, share: f64) -> Hit {
        let Some(name) = &self.interface else {
            return if wanted.negated { Hit::Yes(share) } else { Hit::No };
        };
        if name.is_empty() {
            let known = track.assumed.iter().find(|known| known.interface == wanted.name);
            return match known {
                Some(known) if known.through == wanted.negated => Hit::No,
                Some(_) => Hit::Yes(share),
                None => {
                    Hit::If(Assumption { interface: wanted.name.clone(), through: !wanted.negated })
                }
            };
        }
        let same = match wanted.name.strip_suffix('+') {
            Some(prefix) => name.starts_with(prefix),
            None => *name == wanted.name,
        };
        if same == wanted.negated { Hit::No } else { Hit::Yes(share) }
    }

    fn part(&self, part: &Match, track: &Track) -> Hit {
        let fits = match part {
            Match::Comment(_) | Match::RememberClient { .. } | Match::Accounting { .. } => true,
            Match::Random(probability) => return Hit::Yes(probability.share()),
            Match::Transport { protocol, destination_port } => {
                *protocol == self.protocol
                    && destination_port.is_none_or(|port| port == track.destination.port())
            }
            Match::ConnState { negated, states } => {
                let dnat = if track.translated { ConnStates::DNAT } else { ConnStates::default() };
                states.meets(ConnStates::NEW.or(dnat)) != *negated
            }
            Match::Mark { negated, value, mask } => (track.mark & mask == *value) != *negated,
            Match::LocalAddress(Side::Source) => self.is_local(self.source),
            Match::LocalAddress(Side::Destination) => self.is_local(track.destination.ip()),
            Match::RecentlySeen { list, .. } => self.known_in.contains(list),
            Match::Foreign(_) => return Hit::Unknown,
        };
        if fits { Hit::Yes(1.0) } else { Hit::No }
    }
}

struct Walker<'a> {
    packet: &'a Packet,
    rules: Ruleset<'a>,
    flaws: Vec<Flaw>,
}

impl Walker<'_> {
    /// All ways through a built-in chain, its policy included.
    fn built_in(&mut self, table: Table, chain: &'static str, track: Track) -> Vec<(Track, End)> {
        let key = ChainKey::new(table, chain);
        let mut ended = self.chain(&key, track, 0);
        if !self.rules.policies.is_some_and(|policies| policies.dropping.contains(&key)) {
            return ended;
        }
        for (track, end) in ended.iter_mut().filter(|(_, end)| *end == End::Through) {
            let unknown = |step: &Step| step.chain == key && step.effect == Effect::Unknown;
            let effect = if track.steps.iter().any(unknown) {
                Effect::PolicyUnlessAccepted
            } else {
                *end = End::Dropped;
                Effect::Policy
            };
            let rule = Arc::new(Rule { target: Some(Target::Drop), ..Rule::default() });
            let number = self.rules.tables.chains.get(&key).map_or(0, Vec::len) + 1;
            track.steps.push(Step { chain: key.clone(), number, rule, effect });
        }
        ended
    }

    /// All ways through a chain.
    fn chain(&mut self, key: &ChainKey, track: Track, depth: usize) -> Vec<(Track, End)> {
        let tables = self.rules.tables;
        let Some(rules) = tables.chains.get(key) else {
            if key.name.starts_with("KUBE-") {
                self.flaws.push(Flaw::MissingChain(key.clone()));
            }
            return vec![(track, End::Through)];
        };
        if depth >= MAX_DEPTH {
            self.flaws.push(Flaw::Loop(key.clone()));
            return vec![(track, End::Through)];
        }
        let mut ended = Vec::new();
        let mut running = vec![track];
        for (position, rule) in rules.iter().enumerate() {
            let mut next = Vec::with_capacity(running.len());
            for mut track in running {
                let step = |effect| Step {
                    chain: key.clone(),
                    number: position + 1,
                    rule: Arc::clone(rule),
                    effect,
                };
                match self.hit(key, rule, &track) {
                    Hit::No => {
                        next.push(track);
                        continue;
                    }
                    Hit::Unknown => {
                        track.steps.push(step(Effect::Unknown));
                        next.push(track);
                        continue;
                    }
                    Hit::If(assumption) => {
                        let mut other = track.clone();
                        let through = !assumption.through;
                        other.assumed.push(Assumption { through, ..assumption.clone() });
                        next.push(other);
                        track.assumed.push(assumption);
                    }
                    Hit::Yes(share) => {
                        if share < 1.0 {
                            let mut other = track.clone();
                            other.share *= 1.0 - share;
                            next.push(other);
                            track.share *= share;
                        }
                    }
                }
                match &rule.target {
                    Some(Target::Jump(target)) => {
                        track.steps.push(step(Effect::Jump(target.clone())));
                        let target = ChainKey { table: key.table, name: target.clone() };
                        for (track, end) in self.chain(&target, track, depth + 1) {
                            if end == End::Through {
                                next.push(track);
                            } else {
                                ended.push((track, end));
                            }
                        }
                    }
                    target => {
                        let (effect, end) = track.apply(target.as_ref());
                        track.steps.push(step(effect));
                        match end {
                            Some(end) => ended.push((track, end)),
                            None => next.push(track),
                        }
                    }
                }
            }
            running = next;
        }
        ended.extend(running.into_iter().map(|track| (track, End::Through)));
        ended
    }

    fn hit(&mut self, key: &ChainKey, rule: &Rule, track: &Track) -> Hit {
        let hit = self.packet.meets(rule, track);
        match hit {
            Hit::No => hit,
            _ if self.is_foreign(key, rule) => Hit::Unknown,
            Hit::Unknown => {
                if let Some(Match::Foreign(words)) = rule.matches.first() {
                    self.flaws.push(Flaw::Unreadable(key.clone(), words.clone()));
                }
                hit
            }
            known => known,
        }
    }

    /// Whether the rule is somebody else's: in a chain that is not ours, and no jump to one of ours
    /// or to the one shared with the kubelet.
    fn is_foreign(&self, key: &ChainKey, rule: &Rule) -> bool {
        let Some(jumps) = self.rules.jumps else { return false };
        let shared = |name: &str| name == FIREWALL;
        if is_owned(key) || shared(&key.name) {
            return false;
        }
        if let Some(Target::Jump(to)) = &rule.target
            && (shared(to) || is_owned(&ChainKey { table: key.table, name: to.clone() }))
        {
            return false;
        }
        !jumps.iter().any(|jump| {
            jump.table == key.table && jump.from == &*key.name && jump.rule.equivalent(rule)
        })
    }
}

impl Track {
    /// What a target other than a jump does, and the end if it is one.
    fn apply(&mut self, target: Option<&Target>) -> (Effect, Option<End>) {
        match target {
            None | Some(Target::Jump(_)) => (Effect::Nothing, None),
            Some(Target::Accept) => (Effect::Accept, Some(End::Accepted)),
            Some(Target::Drop) => (Effect::Drop, Some(End::Dropped)),
            Some(Target::Reject) => (Effect::Reject, Some(End::Rejected)),
            Some(Target::Return) => (Effect::Return, Some(End::Through)),
            Some(Target::SetXmark { value, mask }) => {
                self.mark = (self.mark & !mask) ^ value;
                (Effect::Mark(self.mark), None)
            }
            Some(Target::Masquerade { .. }) => {
                self.masqueraded = true;
                (Effect::Masquerade, Some(End::Accepted))
            }
            Some(Target::Dnat(to)) => {
                self.destination = *to;
                self.translated = true;
                (Effect::Dnat(*to), Some(End::Accepted))
            }
        }
    }

    fn delivered(self) -> Way {
        let verdict = match self.translated {
            true => Verdict::Endpoint(self.destination),
            false => Verdict::Unchanged,
        };
        self.way(verdict)
    }

    fn way(self, verdict: Verdict) -> Way {
        Way {
            share: self.share,
            steps: self.steps,
            assumed: self.assumed,
            verdict,
            masqueraded: self.masqueraded,
        }
    }
}

#[cfg(test)]
mod tests;
