//! Pure. Follows the first packet of a connection through the rules.
//!
//! Where chance decides, every way is followed, so the outcome is the set of all possible fates.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::input::Protocol;
use crate::iptables::parse::LiveTables;
use crate::rules::RuleSet;
use crate::rules::ruleset::{Address, ChainKey, ConnStates, Match, Rule, Side, Table, Target};

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
    /// Interface it comes in through; nothing for one that the machine sends itself.
    pub interface: Option<Arc<str>>,
    /// Addresses of the machine.
    pub local_addresses: Vec<IpAddr>,
    /// Affinity lists that know the source.
    pub known_in: Vec<Arc<str>>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fate {
    /// Where it ends.
    pub verdict: Verdict,
    /// Whether its source is replaced.
    pub masqueraded: bool,
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

/// A rule set as it is live on a machine without other rules.
pub fn live_tables(rules: &RuleSet) -> LiveTables {
    let mut live = LiveTables::default();
    for (key, chain) in &rules.chains {
        live.chains.insert(key.clone(), chain.to_vec());
    }
    for jump in &rules.jumps {
        let chain = live.chains.entry(ChainKey::new(jump.table, jump.from)).or_default();
        chain.insert(0, Arc::new(jump.rule.clone()));
    }
    live
}

#[derive(Clone, Copy)]
struct State {
    destination: SocketAddr,
    mark: u32,
    translated: bool,
    masqueraded: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Ran off the end, or returned.
    Through,
    Accepted,
    Dropped,
    Rejected,
}

/// Jumps that deep are a loop.
const MAX_DEPTH: usize = 16;

impl Packet {
    /// All possible fates.
    pub fn fates(&self, tables: &LiveTables) -> BTreeSet<Fate> {
        let start = State {
            destination: SocketAddr::new(self.destination, self.port),
            mark: 0,
            translated: false,
            masqueraded: false,
        };
        let first = if self.interface.is_some() { "PREROUTING" } else { "OUTPUT" };
        let mut fates = BTreeSet::new();
        for (state, _) in self.walk(tables, Table::Nat, first, start, 0) {
            let is_local = self.local_addresses.contains(&state.destination.ip());
            let hook = match (&self.interface, is_local) {
                (None, _) => "OUTPUT",
                (Some(_), true) => "INPUT",
                (Some(_), false) => "FORWARD",
            };
            for (state, end) in self.walk(tables, Table::Filter, hook, state, 0) {
                match end {
                    End::Dropped => fates.insert(fate(Verdict::Dropped, state)),
                    End::Rejected => fates.insert(fate(Verdict::Rejected, state)),
                    End::Through | End::Accepted if hook == "INPUT" => {
                        fates.insert(fate(delivered(state), state))
                    }
                    End::Through | End::Accepted => {
                        let left = self.walk(tables, Table::Nat, "POSTROUTING", state, 0);
                        fates.extend(left.into_iter().map(|(s, _)| fate(delivered(s), s)));
                        true
                    }
                };
            }
        }
        fates
    }

    /// All ways through a chain.
    fn walk(
        &self,
        tables: &LiveTables,
        table: Table,
        chain: &str,
        state: State,
        depth: usize,
    ) -> Vec<(State, End)> {
        assert!(depth < MAX_DEPTH, "chains call each other in a loop at {chain}");
        let Some(rules) = tables.chains.get(&ChainKey::new(table, chain)) else {
            assert!(!chain.starts_with("KUBE-"), "{table} {chain} does not exist");
            return vec![(state, End::Through)];
        };
        let mut ended = Vec::new();
        let mut running = vec![state];
        for rule in rules {
            let mut next = Vec::new();
            for state in running {
                match self.matches(rule, state) {
                    Some(1.0) => {}
                    Some(_) => next.push(state),
                    None => {
                        next.push(state);
                        continue;
                    }
                }
                match &rule.target {
                    Some(Target::Jump(target)) => {
                        for (state, end) in self.walk(tables, table, target, state, depth + 1) {
                            if end == End::Through {
                                next.push(state);
                            } else {
                                ended.push((state, end));
                            }
                        }
                    }
                    Some(target) => match hit(target, state) {
                        (state, Some(end)) => ended.push((state, end)),
                        (state, None) => next.push(state),
                    },
                    None => next.push(state),
                }
            }
            running = next;
        }
        ended.extend(running.into_iter().map(|state| (state, End::Through)));
        ended
    }

    /// The probability that the rule matches; nothing when it cannot.
    fn matches(&self, rule: &Rule, state: State) -> Option<f64> {
        let within = |address: &Option<Address>, ip: IpAddr| {
            address.is_none_or(|address| address.net.contains(&ip) != address.negated)
        };
        let interface = rule.in_interface.as_ref().is_none_or(|wanted| {
            let name = self.interface.as_deref().unwrap_or_default();
            let same = match wanted.name.strip_suffix('+') {
                Some(prefix) => name.starts_with(prefix) && !name.is_empty(),
                None => name == &*wanted.name,
            };
            same != wanted.negated
        });
        let fits = within(&rule.source, self.source)
            && within(&rule.destination, state.destination.ip())
            && interface
            && rule.protocol.is_none_or(|protocol| protocol == self.protocol);
        if !fits {
            return None;
        }
        rule.matches.iter().try_fold(1.0, |sum, part| Some(sum * self.part(part, state)?))
    }

    fn part(&self, part: &Match, state: State) -> Option<f64> {
        let fits = match part {
            Match::Comment(_) | Match::RememberClient { .. } => true,
            Match::Random(probability) => return Some(probability.share()),
            Match::Transport { protocol, destination_port } => {
                *protocol == self.protocol
                    && destination_port.is_none_or(|port| port == state.destination.port())
            }
            Match::ConnState { negated, states } => {
                let dnat = if state.translated { ConnStates::DNAT } else { ConnStates::default() };
                states.meets(ConnStates::NEW.or(dnat)) != *negated
            }
            Match::Mark { negated, value, mask } => (state.mark & mask == *value) != *negated,
            Match::LocalAddress(Side::Source) => self.is_local(self.source),
            Match::LocalAddress(Side::Destination) => self.is_local(state.destination.ip()),
            Match::RecentlySeen { list, .. } => self.known_in.contains(list),
            Match::Foreign(words) => panic!("cannot follow foreign rule {words}"),
        };
        fits.then_some(1.0)
    }

    fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.local_addresses.contains(&address)
    }
}

/// What a target other than a jump does: the new state, and the end if it is one.
fn hit(target: &Target, mut state: State) -> (State, Option<End>) {
    let end = match target {
        Target::Accept => Some(End::Accepted),
        Target::Drop => Some(End::Dropped),
        Target::Reject => Some(End::Rejected),
        Target::Return => Some(End::Through),
        Target::SetXmark { value, mask } => {
            state.mark = (state.mark & !mask) ^ value;
            None
        }
        Target::Masquerade { .. } => {
            state.masqueraded = true;
            Some(End::Accepted)
        }
        Target::Dnat(to) => {
            state.destination = *to;
            state.translated = true;
            Some(End::Accepted)
        }
        Target::Jump(_) => None,
    };
    (state, end)
}

fn delivered(state: State) -> Verdict {
    if state.translated { Verdict::Endpoint(state.destination) } else { Verdict::Unchanged }
}

fn fate(verdict: Verdict, state: State) -> Fate {
    Fate { verdict, masqueraded: state.masqueraded }
}
