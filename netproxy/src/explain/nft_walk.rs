//! Pure. Follows the first packet of a connection through an nftables table, rule by rule.
//!
//! Where chance decides, every way is followed with its share; where an interface decides that
//! nobody named, both ways are.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::walk::{Assumption, Packet, Verdict};
use crate::nftables::NftState;
use crate::nftables::render_rule::RuleText;
use crate::nftables::rule::{Field, Rule, Side, Statement};
use crate::nftables::state::{Chain, ChainName, Class, Front, HookPoint, Key, SetName, Value};

/// Class of the endpoint that a client is tied to, by client and class of the service.
pub type Remembered = BTreeMap<(IpAddr, Class), Class>;

/// All ways of a packet.
#[derive(Clone, Debug, Default)]
pub struct NftWalk {
    /// The ways.
    pub ways: Vec<NftWay>,
    /// Flaws of the table that were met.
    pub flaws: Vec<String>,
}

/// One way that a packet may take.
#[derive(Clone, Debug)]
pub struct NftWay {
    /// Where it ends.
    pub verdict: Verdict,
    /// Whether the source is replaced.
    pub masqueraded: bool,
    /// How probable it is, given what it assumes.
    pub share: f64,
    /// What it depends on.
    pub assumed: Vec<Assumption>,
    /// The rules that did something, in order.
    pub steps: Vec<NftStep>,
    /// What is remembered of clients afterwards.
    pub remembered: Remembered,
    /// Whether it leaves with a class of ours in its priority.
    pub classified: bool,
}

/// A rule that did something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NftStep {
    /// Its chain.
    pub chain: ChainName,
    /// Its place in the chain, from 1.
    pub number: usize,
    /// The rule as nft prints it.
    pub rule: String,
    /// The remark of the element that was found, or of the rule.
    pub comment: Option<String>,
    /// What it did.
    pub effect: String,
}

/// Follows a packet through a table that remembers these clients.
pub fn walk_table(packet: &Packet, state: &NftState, remembered: &Remembered) -> NftWalk {
    let mut tracer = Tracer { state, packet, flaws: Vec::new() };
    let ways = tracer.ways(remembered);
    NftWalk { ways, flaws: tracer.flaws }
}

struct Tracer<'s> {
    state: &'s NftState,
    packet: &'s Packet,
    flaws: Vec<String>,
}

/// The rule that is looked at.
#[derive(Clone, Copy)]
struct Place<'s> {
    chain: &'s ChainName,
    number: usize,
    rule: &'s Rule,
    depth: usize,
}

/// What a packet carries through the chains.
#[derive(Clone, Debug)]
struct Carried {
    destination: SocketAddr,
    mark: u32,
    class: Option<Class>,
    translated: bool,
    masqueraded: bool,
    share: f64,
    assumed: Vec<Assumption>,
    steps: Vec<NftStep>,
    remembered: Remembered,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// On to the next statement.
    Statement,
    /// On to the next rule.
    Rule,
    /// Back to the calling chain.
    Return,
    /// Through all rules of the hook with this type of chain.
    Accept,
    Drop,
    Reject,
}

/// Jumps that deep are a loop.
const MAX_DEPTH: usize = 16;

impl<'s> Tracer<'s> {
    fn ways(&mut self, remembered: &Remembered) -> Vec<NftWay> {
        let packet = self.packet;
        let start = Carried {
            destination: SocketAddr::new(packet.destination, packet.port),
            mark: 0,
            class: None,
            translated: false,
            masqueraded: false,
            share: 1.0,
            assumed: Vec::new(),
            steps: Vec::new(),
            remembered: remembered.clone(),
        };
        let mut ways = Vec::new();
        let first = match packet.interface {
            Some(_) => HookPoint::Prerouting,
            None => HookPoint::Output,
        };
        for carried in self.hook(first, start, &mut ways) {
            let here = is_local(packet, carried.destination.ip());
            let then: &[HookPoint] = match (first, here) {
                (HookPoint::Output, _) => &[HookPoint::Postrouting],
                (_, true) => &[HookPoint::Input],
                (_, false) => &[HookPoint::Forward, HookPoint::Postrouting],
            };
            let mut running = vec![carried];
            for point in then {
                let mut next = Vec::new();
                for carried in running {
                    next.extend(self.hook(*point, carried, &mut ways));
                }
                running = next;
            }
            // What stays here has no use for a priority.
            let leaves = then.contains(&HookPoint::Postrouting);
            for mut carried in running {
                carried.class = carried.class.filter(|_| leaves);
                ways.push(ended(carried, None));
            }
        }
        ways
    }

    /// All base chains of a hook in order; stopped packets go to `ways`, the others come back.
    fn hook(&mut self, point: HookPoint, carried: Carried, ways: &mut Vec<NftWay>) -> Vec<Carried> {
        let state = self.state;
        let mut base: Vec<(i32, &ChainName, &Chain)> = state
            .chains
            .iter()
            .filter_map(|(name, chain)| {
                let hook = chain.hook.filter(|hook| hook.point == point)?;
                Some((hook.priority, name, chain))
            })
            .collect();
        base.sort_by_key(|(priority, ..)| *priority);
        let mut running = vec![carried];
        for (_, name, chain) in base {
            let mut next = Vec::new();
            for carried in running {
                for (carried, flow) in self.chain(name, chain, carried, 0) {
                    match flow {
                        Flow::Drop => ways.push(ended(carried, Some(Verdict::Dropped))),
                        Flow::Reject => ways.push(ended(carried, Some(Verdict::Rejected))),
                        _ => next.push(carried),
                    }
                }
            }
            running = next;
        }
        running
    }

    fn chain(
        &mut self,
        name: &'s ChainName,
        chain: &'s Chain,
        carried: Carried,
        depth: usize,
    ) -> Vec<(Carried, Flow)> {
        let mut ended = Vec::new();
        let mut running = vec![carried];
        for (position, rule) in chain.rules.iter().enumerate() {
            let place = Place { chain: name, number: position + 1, rule, depth };
            let mut next = Vec::new();
            for carried in running {
                for (carried, flow) in self.rule(place, carried) {
                    match flow {
                        Flow::Statement | Flow::Rule => next.push(carried),
                        _ => ended.push((carried, flow)),
                    }
                }
            }
            running = next;
        }
        ended.extend(running.into_iter().map(|carried| (carried, Flow::Return)));
        ended
    }

    fn rule(&mut self, place: Place<'s>, carried: Carried) -> Vec<(Carried, Flow)> {
        let mut ended = Vec::new();
        let mut running = vec![carried];
        for statement in &place.rule.statements {
            let mut next = Vec::new();
            for carried in running {
                for (carried, flow) in self.statement(place, statement, carried) {
                    match flow {
                        Flow::Statement => next.push(carried),
                        _ => ended.push((carried, flow)),
                    }
                }
            }
            running = next;
        }
        ended.extend(running.into_iter().map(|carried| (carried, Flow::Rule)));
        ended
    }

    fn statement(
        &mut self,
        place: Place<'s>,
        statement: &'s Statement,
        mut carried: Carried,
    ) -> Vec<(Carried, Flow)> {
        let flow = match statement {
            Statement::VerdictMap { key, map } => {
                return self.verdict_map(place, key, *map, carried);
            }
            Statement::Jump(chain) => return self.go(place, chain, carried, None, false),
            Statement::Goto(chain) => return self.go(place, chain, carried, None, true),
            Statement::Dnat { key, map } | Statement::Classify { key, map } => {
                return self.mapped(place, key, *map, carried);
            }
            Statement::Interface { negated, name } => {
                return self.interface(*negated, name, carried);
            }
            Statement::Return => Flow::Return,
            Statement::Drop => {
                self.note(place, &mut carried, None, "dropped".to_owned());
                Flow::Drop
            }
            Statement::Reject => {
                self.note(place, &mut carried, None, "rejected".to_owned());
                Flow::Reject
            }
            Statement::Masquerade => {
                carried.masqueraded = true;
                self.note(place, &mut carried, None, "masqueraded".to_owned());
                Flow::Accept
            }
            Statement::Member { key, set } => {
                let found = self.keys(&carried, key).pop();
                holds(found.is_some_and(|(key, _)| self.state.entry(*set, &key).is_some()))
            }
            other => {
                let before = carried.mark;
                let flow = change_or_check(self.packet, other, &mut carried);
                if carried.mark != before {
                    let effect = format!("mark becomes {:#x}", carried.mark);
                    self.note(place, &mut carried, None, effect);
                }
                flow
            }
        };
        vec![(carried, flow)]
    }

    fn note(&self, place: Place<'_>, carried: &mut Carried, comment: Option<&str>, effect: String) {
        carried.steps.push(NftStep {
            chain: place.chain.clone(),
            number: place.number,
            rule: RuleText { rule: place.rule, family: self.state.family }.to_string(),
            comment: comment.or(place.rule.comment.as_deref()).map(str::to_owned),
            effect,
        });
    }

    fn verdict_map(
        &mut self,
        place: Place<'s>,
        key: &[Field],
        map: SetName,
        mut carried: Carried,
    ) -> Vec<(Carried, Flow)> {
        let state = self.state;
        let found = self.keys(&carried, key).pop();
        let Some(entry) = found.and_then(|(key, _)| state.entry(map, &key)) else {
            return vec![(carried, Flow::Rule)];
        };
        match &entry.value {
            Value::Goto(chain) => self.go(place, chain, carried, entry.comment.as_deref(), true),
            Value::Drop => {
                let comment = entry.comment.as_deref();
                self.note(place, &mut carried, comment, "dropped".to_owned());
                vec![(carried, Flow::Drop)]
            }
            _ => vec![(carried, Flow::Rule)],
        }
    }

    fn go(
        &mut self,
        place: Place<'s>,
        name: &str,
        mut carried: Carried,
        comment: Option<&str>,
        for_good: bool,
    ) -> Vec<(Carried, Flow)> {
        self.note(place, &mut carried, comment, format!("to {name}"));
        let back = if for_good { Flow::Return } else { Flow::Statement };
        let state = self.state;
        let Some((name, chain)) = state.chains.get_key_value(name) else {
            self.flaws.push(format!("chain {name} is not there"));
            return vec![(carried, back)];
        };
        if place.depth + 1 >= MAX_DEPTH {
            self.flaws.push(format!("chains lead in a circle at {name}"));
            return vec![(carried, back)];
        }
        let mut ended = self.chain(name, chain, carried, place.depth + 1);
        for (_, flow) in &mut ended {
            if *flow == Flow::Return {
                *flow = back;
            }
        }
        ended
    }

    /// An interface that nobody named splits the way, once for each name.
    fn interface(&self, negated: bool, name: &ChainName, carried: Carried) -> Vec<(Carried, Flow)> {
        let interface = self.packet.interface.as_deref();
        if interface == Some("") {
            if let Some(known) = carried.assumed.iter().find(|known| known.interface == *name) {
                let flow = holds(known.through != negated);
                return vec![(carried, flow)];
            }
            let assume = |through| {
                let mut carried = carried.clone();
                carried.assumed.push(Assumption { interface: name.clone(), through });
                (carried, holds(through != negated))
            };
            return vec![assume(true), assume(false)];
        }
        let interface = interface.unwrap_or_default();
        let same = match name.strip_suffix('*') {
            Some(prefix) => interface.starts_with(prefix),
            None => interface == &**name,
        };
        vec![(carried, holds(same != negated))]
    }

    /// Translates or classifies with what the map has for each key that chance may draw.
    fn mapped(
        &mut self,
        place: Place<'s>,
        key: &[Field],
        map: SetName,
        mut carried: Carried,
    ) -> Vec<(Carried, Flow)> {
        if map == SetName::Affinity {
            let client = carried.class.map(|class| (self.packet.source, class));
            let known = client.and_then(|client| carried.remembered.get(&client).copied());
            carried.class = known.or(carried.class);
            return vec![(carried, holds(known.is_some()))];
        }
        let keys = self.keys(&carried, key);
        if keys.is_empty() {
            return vec![(carried, Flow::Rule)];
        }
        let mut found = Vec::with_capacity(keys.len());
        for (key, share) in keys {
            let mut carried = Carried { share: carried.share * share, ..carried.clone() };
            let entry = self.state.entry(map, &key);
            let flow = match entry.map(|entry| &entry.value) {
                Some(Value::Target(address, port)) => {
                    carried.destination = SocketAddr::new(*address, *port);
                    carried.translated = true;
                    let effect = format!("DNAT to {}", carried.destination);
                    let comment = entry.and_then(|entry| entry.comment.as_deref());
                    self.note(place, &mut carried, comment, effect);
                    Flow::Accept
                }
                Some(Value::Class(class)) => {
                    carried.class = Some(*class);
                    Flow::Statement
                }
                _ => Flow::Rule,
            };
            found.push((carried, flow));
        }
        found
    }

    /// The keys that chance may draw, with their probabilities; none when the packet has none of
    /// that kind.
    fn keys(&mut self, carried: &Carried, fields: &[Field]) -> Vec<(Key, f64)> {
        let (fields, count) = match fields.split_last() {
            Some((Field::Random(count), fields)) => (fields, Some(*count)),
            _ => (fields, None),
        };
        let Some(fixed) = fixed_key(self.packet, carried, fields) else { return Vec::new() };
        let Some(count) = count else { return vec![(fixed, 1.0)] };
        let numbered = |index| {
            Some(match fixed {
                Key::Front(front) => Key::Nth(front, index),
                Key::NodePort(protocol, port) => Key::NodePortNth(protocol, port, index),
                Key::Class(class) => Key::ClassNth(class, index),
                _ => return None,
            })
        };
        let share = 1.0 / f64::from(count.max(1));
        (0..count).filter_map(|index| Some((numbered(index)?, share))).collect()
    }
}

/// Statements that look at nothing but the packet.
fn change_or_check(packet: &Packet, statement: &Statement, carried: &mut Carried) -> Flow {
    match statement {
        Statement::Translated => return holds(carried.translated),
        Statement::Address { side, negated, net } => {
            return holds(net.contains(&address(packet, carried, *side)) != *negated);
        }
        Statement::LocalAddress(side) => {
            return holds(is_local(packet, address(packet, carried, *side)));
        }
        Statement::Protocol(protocol) => return holds(packet.protocol == *protocol),
        Statement::Marked(bits) => return holds(carried.mark & bits != 0),
        Statement::Classified => return holds(carried.class.is_some()),
        Statement::SetMark(bits) => carried.mark |= bits,
        Statement::FlipMark(bits) => carried.mark ^= bits,
        Statement::ClassOfService => carried.class = carried.class.map(Class::of_service),
        Statement::Unclassify => carried.class = None,
        Statement::Remember { .. } => {
            if let Some(class) = carried.class {
                // The kernel starts the time anew, but never changes what it remembers.
                let client = (packet.source, class.of_service());
                carried.remembered.entry(client).or_insert(class);
            }
        }
        Statement::Forget => {
            if let Some(class) = carried.class {
                carried.remembered.remove(&(packet.source, class.of_service()));
            }
        }
        // The first packet is new, and the others were followed before.
        _ => {}
    }
    Flow::Statement
}

fn is_local(packet: &Packet, address: IpAddr) -> bool {
    address.is_loopback() || packet.local_addresses.contains(&address)
}

fn holds(condition: bool) -> Flow {
    if condition { Flow::Statement } else { Flow::Rule }
}

fn ended(carried: Carried, verdict: Option<Verdict>) -> NftWay {
    let through = if carried.translated {
        Verdict::Endpoint(carried.destination)
    } else {
        Verdict::Unchanged
    };
    NftWay {
        verdict: verdict.unwrap_or(through),
        masqueraded: carried.masqueraded,
        share: carried.share,
        assumed: carried.assumed,
        steps: carried.steps,
        remembered: carried.remembered,
        classified: carried.class.is_some(),
    }
}

fn address(packet: &Packet, carried: &Carried, side: Side) -> IpAddr {
    match side {
        Side::Source => packet.source,
        Side::Destination => carried.destination.ip(),
    }
}

/// The key without the number that chance draws.
fn fixed_key(packet: &Packet, carried: &Carried, fields: &[Field]) -> Option<Key> {
    let protocol = packet.protocol;
    let port = carried.destination.port();
    let front = Front { address: carried.destination.ip(), protocol, port };
    Some(match fields {
        [Field::Address(Side::Destination)] => Key::Address(front.address),
        [Field::Address(Side::Destination), Field::Protocol, Field::Port] => Key::Front(front),
        [Field::Address(Side::Destination), Field::PortOf(of)] if *of == protocol => {
            Key::Front(front)
        }
        [Field::Protocol, Field::Port] => Key::NodePort(protocol, port),
        [Field::PortOf(of)] if *of == protocol => Key::NodePort(protocol, port),
        [Field::Address(Side::Source), Field::Address(_)] if packet.source == front.address => {
            Key::Hairpin(front.address)
        }
        [Field::Priority] => Key::Class(carried.class?),
        _ => return None,
    })
}
