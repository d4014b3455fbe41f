//! Pure. What becomes of one packet, by the plan and by the live rules.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::compare::ChainDifference;
use super::live::LiveState;
use super::nft_compare::table_name;
use super::nft_walk::{NftWay, Remembered, walk_table};
use super::plan::{FamilyPlan, PlannedPort, PlannedTable};
use super::walk::{Assumption, Effect, Flaw, Packet, Ruleset, Step, Verdict, Walk, Way};
use crate::config::IpFamily;
use crate::input::{Protocol, TrafficPolicy};
use crate::iptables::render::rule_text;
use crate::nftables::{LiveTable, NftState};
use crate::rules::ruleset::Match;
use crate::rules::{Detector, SharedChain};

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PacketReport {
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// Source address.
    pub source: IpAddr,
    /// Who that is.
    pub from: Origin,
    /// Destination address and port.
    pub destination: SocketAddr,
    /// Protocol, in lower case.
    pub protocol: &'static str,
    /// The service port it is sent to.
    pub service: Option<ServiceHit>,
    /// What is at the destination when no service port is.
    pub remark: Option<String>,
    /// The way through the planned rules.
    pub plan: Trace,
    /// The way through the live rules; nothing when they were not read.
    pub live: Option<Trace>,
    /// Why the live rules were not read.
    pub live_unread: Option<String>,
    /// Where the live rules on the way differ from the plan.
    pub differences: Vec<ChainDifference>,
    /// Entries of connection tracking from the source to the destination; nothing when they were
    /// not read.
    pub connections: Option<Vec<Connection>>,
}

/// Who sends a packet, as the proxy can tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Origin {
    /// This machine.
    Node,
    /// A pod of the cluster.
    Pod,
    /// Somebody else.
    Outside,
    /// Another machine or a pod: the proxy tells them apart by interface, or not at all.
    Elsewhere,
}

/// The service port that a destination belongs to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceHit {
    /// `namespace/name`, and `:port` if the port has a name.
    pub name: String,
    /// Which of its ways in.
    pub way: WayKind,
    /// `Cluster` or `Local`.
    pub policy: &'static str,
    /// How many endpoints it has, usable or not.
    pub endpoints: usize,
    /// Seconds for which a client address sticks to its endpoint.
    pub affinity_seconds: Option<u32>,
}

/// A way into a service port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WayKind {
    /// The cluster address.
    ClusterIp,
    /// An external address.
    ExternalIp,
    /// A load balancer address.
    LoadBalancerIp,
    /// A port on the node's addresses.
    NodePort,
}

impl WayKind {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::ClusterIp => "cluster IP",
            Self::ExternalIp => "external IP",
            Self::LoadBalancerIp => "load balancer IP",
            Self::NodePort => "node port",
        }
    }
}

/// The way of a packet through rules.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Trace {
    /// All ways it can take.
    pub ways: Vec<TracedWay>,
    /// Flaws of the rules that were met.
    pub flaws: Vec<String>,
    /// Rules of others on the way, whose effect is unknown.
    pub foreign_rules: usize,
}

/// One way of a packet.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracedWay {
    /// Share of the packets, 0 to 1.
    pub share: f64,
    /// What it takes for this way.
    pub when: Vec<String>,
    /// `endpoint`, `unchanged`, `rejected` or `dropped`.
    pub verdict: &'static str,
    /// The endpoint, for that verdict.
    pub endpoint: Option<SocketAddr>,
    /// Whether the source becomes an address of this machine.
    pub masqueraded: bool,
    /// Why it ends there, unless it ends at an endpoint.
    pub reason: Option<String>,
    /// The rules taken.
    pub steps: Vec<TracedStep>,
}

/// One rule taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TracedStep {
    /// Table.
    pub table: &'static str,
    /// Chain.
    pub chain: String,
    /// Place in the chain, from 1.
    pub number: usize,
    /// The rule as iptables-save prints it after `-A CHAIN`, or as nft prints it.
    pub rule: String,
    /// Its remark, if it has one.
    pub comment: Option<String>,
    /// What it did.
    pub effect: String,
    /// Whether it is somebody else's.
    pub foreign: bool,
}

/// An entry of connection tracking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Connection {
    /// Who sent the first packet.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub destination: SocketAddr,
    /// Who answers.
    pub answered_by: SocketAddr,
}

/// A packet that somebody asks about.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination.
    pub destination: SocketAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Interface it comes in through, if known.
    pub interface: Option<&'a str>,
    /// Addresses of the machine.
    pub local_addresses: &'a [IpAddr],
}

impl Question<'_> {
    /// Whether the address belongs to the machine.
    pub fn is_local(&self, address: IpAddr) -> bool {
        address.is_loopback() || self.local_addresses.contains(&address)
    }

    /// The packet to follow.
    pub fn packet(&self) -> Packet {
        Packet {
            source: self.source,
            destination: self.destination.ip(),
            port: self.destination.port(),
            protocol: self.protocol,
            interface: (!self.is_local(self.source))
                .then(|| self.interface.unwrap_or_default().into()),
            local_addresses: self.local_addresses.to_vec(),
            known_in: Vec::new(),
        }
    }

    fn origin(&self, plan: &FamilyPlan) -> Origin {
        if self.is_local(self.source) {
            return Origin::Node;
        }
        match (&plan.context.detector, self.interface) {
            (Some(Detector::Source(net)), _) if net.contains(&self.source) => Origin::Pod,
            (Some(Detector::Source(_)), _) => Origin::Outside,
            (Some(Detector::Interface(wanted)), Some(name)) => {
                let same = match wanted.strip_suffix('+') {
                    Some(prefix) => name.starts_with(prefix),
                    None => **wanted == *name,
                };
                if same { Origin::Pod } else { Origin::Outside }
            }
            _ => Origin::Elsewhere,
        }
    }
}

/// What becomes of the packet. `live` is nothing when the live rules were not read; `connections`
/// likewise.
pub fn explain_packet(
    question: &Question<'_>,
    plan: &FamilyPlan,
    live: Result<&LiveState, String>,
    connections: Option<Vec<Connection>>,
) -> PacketReport {
    let packet = question.packet();
    let hit = service_at(question, plan);
    let planned = plan.trace(&packet);
    let (trace, differences, unread) = match live {
        Err(why) => (None, Vec::new(), Some(why)),
        Ok(live) => {
            let found = on_the_way(plan, live, &planned, hit.map(|(port, _)| port));
            (Some(plan.trace_live(&packet, live)), found, None)
        }
    };
    PacketReport {
        family: plan.context.family.name(),
        source: question.source,
        from: question.origin(plan),
        destination: question.destination,
        protocol: question.protocol.name(),
        service: hit.map(|(port, way)| service_hit(port, way)),
        remark: if hit.is_none() { Some(remark(question, plan)) } else { None },
        plan: planned,
        live: trace,
        live_unread: unread,
        differences,
        connections,
    }
}

/// The service port at the destination, and by which way.
pub fn service_at<'a>(
    question: &Question<'_>,
    plan: &'a FamilyPlan,
) -> Option<(&'a PlannedPort, WayKind)> {
    let (address, port) = (question.destination.ip(), question.destination.port());
    let same_protocol = |one: &&PlannedPort| one.facts.port.name.protocol == question.protocol;
    let by_address = plan.ports.iter().filter(same_protocol).find_map(|one| {
        let way = way_by_address(one, address)?;
        (one.facts.port.port == port).then_some((one, way))
    });
    by_address.or_else(|| {
        let answers = plan.node_ports_answer_on(address, question.is_local(address));
        let mut ports = plan.ports.iter().filter(same_protocol);
        let one = ports.find(|one| answers && one.facts.port.node_port == Some(port))?;
        Some((one, WayKind::NodePort))
    })
}

fn way_by_address(one: &PlannedPort, address: IpAddr) -> Option<WayKind> {
    if one.facts.port.cluster_ip == address {
        Some(WayKind::ClusterIp)
    } else if one.facts.port.external_ips.contains(&address) {
        Some(WayKind::ExternalIp)
    } else if one.facts.port.load_balancer_ips.contains(&address) {
        Some(WayKind::LoadBalancerIp)
    } else {
        None
    }
}

fn service_hit(one: &PlannedPort, way: WayKind) -> ServiceHit {
    let policy = match way {
        WayKind::ClusterIp => one.facts.port.internal_policy,
        _ => one.facts.port.external_policy,
    };
    ServiceHit {
        name: one.facts.port.name.to_string(),
        way,
        policy: policy_name(policy),
        endpoints: one.facts.endpoints.len(),
        affinity_seconds: one.facts.port.affinity_seconds,
    }
}

/// The name of a policy as in the API.
pub const fn policy_name(policy: TrafficPolicy) -> &'static str {
    match policy {
        TrafficPolicy::Cluster => "Cluster",
        TrafficPolicy::Local => "Local",
    }
}

/// What is at a destination that is no way into a service port.
fn remark(question: &Question<'_>, plan: &FamilyPlan) -> String {
    let address = question.destination.ip();
    let at_address: Vec<(&PlannedPort, WayKind)> =
        plan.ports.iter().filter_map(|one| Some((one, way_by_address(one, address)?))).collect();
    if let Some((one, way)) = at_address.first() {
        let ports: BTreeSet<String> = at_address
            .iter()
            .map(|(one, _)| format!("{}/{}", one.facts.port.port, one.facts.port.name.protocol))
            .collect();
        let ports: Vec<String> = ports.into_iter().collect();
        return format!(
            "{address} is the {} of {}, which has no port {}/{}, only {}",
            way.words(),
            one.facts.port.name.service,
            question.destination.port(),
            question.protocol,
            ports.join(", ")
        );
    }
    let is_local = question.is_local(address);
    let health_check = plan.ports.iter().find(|one| {
        is_local
            && question.protocol == Protocol::Tcp
            && one.facts.port.health_check_node_port == Some(question.destination.port())
    });
    if let Some(one) = health_check {
        return format!(
            "health check port of {}, answered by the proxy",
            one.facts.port.name.service
        );
    }
    let endpoint = plan.ports.iter().find(|one| {
        one.facts.endpoints.iter().any(|endpoint| {
            endpoint.address == address && endpoint.port == question.destination.port()
        })
    });
    match endpoint {
        Some(one) => format!(
            "{} is an endpoint of {} and no service address",
            question.destination, one.facts.port.name
        ),
        None => "no service has this address and port".to_owned(),
    }
}

/// What differs in the chains of the planned way, in those of the service, and among the jumps.
fn on_the_way(
    plan: &FamilyPlan,
    live: &LiveState,
    planned: &Trace,
    hit: Option<&PlannedPort>,
) -> Vec<ChainDifference> {
    let mut found: Vec<ChainDifference> = match hit {
        Some(port) => plan.differences_of(&port.facts.port.name.service, live),
        None => Vec::new(),
    };
    let steps = planned.ways.iter().flat_map(|way| &way.steps);
    let visited: BTreeSet<(&str, &str)> =
        steps.map(|step| (step.table, step.chain.as_str())).collect();
    for one in plan.differences(live) {
        let known = found.iter().any(|known| known.table == one.table && known.chain == one.chain);
        // In the chains that all services share, lines of other services say nothing about this
        // packet.
        let shared = SharedChain::ALL.iter().any(|chain| {
            let key = chain.key();
            key.table.name() == one.table && *key.name == *one.chain
        });
        if !known && !shared && visited.contains(&(one.table, &*one.chain)) {
            found.push(one);
        }
    }
    found
}

impl FamilyPlan {
    /// The way of a packet through the plan.
    pub fn trace(&self, packet: &Packet) -> Trace {
        match &self.table {
            PlannedTable::Iptables { tables, .. } => {
                let walk = packet.walk(Ruleset { tables, policies: None, jumps: None });
                Trace::of(&walk, self, self.context.family)
            }
            PlannedTable::Nftables { state, .. } => Trace::of_table(packet, state),
        }
    }

    /// The way of a packet through the live rules.
    pub fn trace_live(&self, packet: &Packet, live: &LiveState) -> Trace {
        match (live, &self.table) {
            (LiveState::Iptables(live), PlannedTable::Iptables { rules, .. }) => {
                let policies = Some(&live.policies);
                let jumps = Some(&*rules.jumps);
                let walk = packet.walk(Ruleset { tables: &live.tables, policies, jumps });
                Trace::of(&walk, self, self.context.family)
            }
            (LiveState::Nftables(LiveTable::Ours(state)), _) => Trace::of_table(packet, state),
            (LiveState::Nftables(LiveTable::Foreign(how)), _) => {
                let mut trace = Trace::of_table(packet, &NftState::empty(self.context.family));
                trace.flaws.push(format!("the table is not laid out by this version: {how}"));
                trace
            }
            _ => Trace::of_table(packet, &NftState::empty(self.context.family)),
        }
    }
}

impl Trace {
    fn of(walk: &Walk, plan: &FamilyPlan, family: IpFamily) -> Self {
        let foreign: BTreeSet<(&str, &str, usize)> = walk
            .ways
            .iter()
            .flat_map(|way| &way.steps)
            .filter(|step| step.effect == Effect::Unknown)
            .map(|step| (step.chain.table.name(), &*step.chain.name, step.number))
            .collect();
        let mut flaws: Vec<String> = walk.flaws.iter().map(flaw_text).collect();
        flaws.dedup();
        Self {
            ways: walk.ways.iter().map(|way| TracedWay::of(way, plan, family)).collect(),
            flaws,
            foreign_rules: foreign.len(),
        }
    }

    /// The way through an nftables table. What other tables do is unknown.
    fn of_table(packet: &Packet, state: &NftState) -> Self {
        let walk = walk_table(packet, state, &Remembered::new());
        let ways = walk.ways.iter().map(|way| TracedWay::of_table(way, state.family));
        Self { ways: ways.collect(), flaws: walk.flaws, foreign_rules: 0 }
    }

    /// Whether both send packets to the same ends in the same shares.
    pub fn same_outcome(&self, other: &Self) -> bool {
        let ends = |trace: &Self| {
            let mut ends: Vec<_> = trace
                .ways
                .iter()
                .map(|way| {
                    // Shares of one in ten million are noise of the fixed point numbers.
                    #[expect(clippy::cast_possible_truncation, reason = "a share is at most 1")]
                    let share = (way.share * 1e7).round() as i64;
                    (way.endpoint, way.verdict, way.masqueraded, way.when.clone(), share)
                })
                .collect();
            ends.sort();
            ends
        };
        ends(self) == ends(other)
    }
}

fn flaw_text(flaw: &Flaw) -> String {
    match flaw {
        Flaw::MissingChain(key) => format!("chain {key} is not there"),
        Flaw::Loop(key) => format!("chains lead in a circle at {key}"),
        Flaw::Unreadable(key, words) => format!("{key} has a rule not of the proxy: {words}"),
    }
}

const fn verdict_words(verdict: Verdict) -> (&'static str, Option<SocketAddr>) {
    match verdict {
        Verdict::Endpoint(endpoint) => ("endpoint", Some(endpoint)),
        Verdict::Unchanged => ("unchanged", None),
        Verdict::Rejected => ("rejected", None),
        Verdict::Dropped => ("dropped", None),
    }
}

fn conditions(assumed: &[Assumption]) -> Vec<String> {
    let words = assumed.iter().map(|assumed| {
        let verb = if assumed.through { "comes in" } else { "does not come in" };
        format!("it {verb} through {}", assumed.interface)
    });
    words.collect()
}

impl TracedWay {
    fn of(way: &Way, plan: &FamilyPlan, family: IpFamily) -> Self {
        let (verdict, endpoint) = verdict_words(way.verdict);
        let ended = matches!(way.verdict, Verdict::Rejected | Verdict::Dropped);
        Self {
            share: way.share,
            when: conditions(&way.assumed),
            verdict,
            endpoint,
            masqueraded: way.masqueraded,
            reason: way.decided_by().filter(|_| ended).map(|step| reason(step, plan, family)),
            steps: way.steps.iter().map(|step| TracedStep::of(step, family)).collect(),
        }
    }

    fn of_table(way: &NftWay, family: IpFamily) -> Self {
        let (verdict, endpoint) = verdict_words(way.verdict);
        let ended = matches!(way.verdict, Verdict::Rejected | Verdict::Dropped);
        let last = way.steps.last().filter(|_| ended);
        let reason = last.map(|step| {
            let said = way.steps.iter().rev().find_map(|step| step.comment.as_deref());
            let said = said.map(|said| format!(": {said}")).unwrap_or_default();
            format!("rule {} of {} {}{said}", step.number, table_name(family), step.chain)
        });
        let steps = way.steps.iter().map(|step| TracedStep {
            table: table_name(family),
            chain: step.chain.to_string(),
            number: step.number,
            rule: step.rule.clone(),
            comment: step.comment.clone(),
            effect: step.effect.clone(),
            foreign: false,
        });
        Self {
            share: way.share,
            when: conditions(&way.assumed),
            verdict,
            endpoint,
            masqueraded: way.masqueraded,
            reason,
            steps: steps.collect(),
        }
    }
}

fn reason(step: &Step, plan: &FamilyPlan, family: IpFamily) -> String {
    if step.effect == Effect::Policy {
        return format!("policy of {}, which is not the proxy's", step.chain);
    }
    let said = comment(step).unwrap_or_else(|| rule_text(&step.rule, family).trim().to_owned());
    let why = no_endpoints(&said, plan).map(|why| format!(" ({why})")).unwrap_or_default();
    format!("rule {} of {}: {said}{why}", step.number, step.chain)
}

/// Why a service port of which the remark says that it has no endpoints has none.
fn no_endpoints(remark: &str, plan: &FamilyPlan) -> Option<String> {
    let name = remark
        .strip_suffix(" has no endpoints")
        .or_else(|| remark.strip_suffix(" has no local endpoints"))?;
    let one = plan.ports.iter().find(|one| one.facts.port.name.to_string() == name)?;
    Some(match one.facts.endpoints.len() {
        0 => "its EndpointSlices name none: look at the selector and the pods".to_owned(),
        count if one.facts.used.any => format!("{count} known, none usable on this node"),
        count => format!("{count} known, none ready"),
    })
}

fn comment(step: &Step) -> Option<String> {
    step.rule.matches.iter().find_map(|part| match part {
        Match::Comment(text) => Some(text.to_string()),
        _ => None,
    })
}

impl TracedStep {
    fn of(step: &Step, family: IpFamily) -> Self {
        let is_policy = matches!(step.effect, Effect::Policy | Effect::PolicyUnlessAccepted);
        let rule = rule_text(&step.rule, family);
        Self {
            table: step.chain.table.name(),
            chain: step.chain.name.to_string(),
            number: step.number,
            rule: if is_policy { "policy DROP".to_owned() } else { rule.trim().to_owned() },
            comment: comment(step),
            effect: effect_text(&step.effect),
            foreign: is_policy || step.effect == Effect::Unknown,
        }
    }
}

fn effect_text(effect: &Effect) -> String {
    match effect {
        Effect::Jump(chain) => format!("to {chain}"),
        Effect::Return => "back".to_owned(),
        Effect::Accept => "accepted".to_owned(),
        Effect::Drop => "dropped".to_owned(),
        Effect::Reject => "rejected".to_owned(),
        Effect::Mark(mark) => format!("mark becomes {mark:#x}"),
        Effect::Masquerade => "masqueraded".to_owned(),
        Effect::Dnat(to) => format!("DNAT to {to}"),
        Effect::Nothing => "nothing".to_owned(),
        Effect::Policy => "dropped".to_owned(),
        Effect::PolicyUnlessAccepted => "dropped unless a rule of others accepts it".to_owned(),
        Effect::Unknown => "unknown".to_owned(),
    }
}
