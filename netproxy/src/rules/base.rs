//! Pure. Rules that are there without any service, and the assembly of the whole set.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::chains;
use super::context::{Loopback, RuleContext, loopback_v4};
use super::node_port;
use super::ruleset::{Chain, ChainKey, ConnStates, Jump, Match, Rule, RuleSet, Table, Target};
use super::service::{ServiceRules, SharedChain};
use crate::config::IpFamily;
use crate::nfacct;

/// The complete rules: the fixed ones, and those of all service ports in the given order.
pub fn assemble<'a>(
    context: &RuleContext,
    services: impl IntoIterator<Item = &'a ServiceRules>,
) -> RuleSet {
    let mut shared: BTreeMap<SharedChain, Vec<Arc<Rule>>> =
        SharedChain::ALL.into_iter().map(|chain| (chain, Vec::new())).collect();
    let mut all: BTreeMap<ChainKey, Chain> = BTreeMap::new();
    for service in services {
        for (chain, rule) in &service.shared {
            shared.entry(*chain).or_default().push(rule.clone());
        }
        for (name, chain) in &service.own {
            all.insert(ChainKey { table: Table::Nat, name: name.clone() }, chain.clone());
        }
    }
    shared
        .entry(SharedChain::NatServices)
        .or_default()
        .extend(node_port::dispatch(context).into_iter().map(Arc::new));
    all.extend(shared.into_iter().map(|(chain, rules)| (chain.key(), Chain::from(rules))));
    for (table, name, rules) in fixed_chains(context) {
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        all.insert(ChainKey::new(table, name), rules.into());
    }
    RuleSet { chains: all, jumps: jumps() }
}

fn fixed_chains(context: &RuleContext) -> Vec<(Table, &'static str, Vec<Rule>)> {
    let mut fixed = vec![
        (Table::Nat, chains::POSTROUTING, postrouting(context)),
        (Table::Nat, chains::MARK_MASQ, mark_masq(context)),
        (Table::Filter, chains::FORWARD, forward(context)),
    ];
    fixed.extend(Table::ALL.map(|table| (table, chains::CANARY, Vec::new())));
    fixed.push((Table::Filter, chains::FIREWALL, firewall(context)));
    fixed
}

fn postrouting(context: &RuleContext) -> Vec<Rule> {
    let mark = context.masquerading.mark;
    vec![
        Rule::default()
            .when(Match::Mark { negated: true, value: mark, mask: mark })
            .then(Target::Return),
        // Clears the bit, so that a packet that comes by again (through a tunnel) is not
        // masqueraded twice.
        Rule::default().then(Target::SetXmark { value: mark, mask: 0 }),
        Rule::remark("kubernetes service traffic requiring SNAT")
            .then(Target::Masquerade { random_fully: context.masquerading.random_fully }),
    ]
}

fn mark_masq(context: &RuleContext) -> Vec<Rule> {
    let mark = context.masquerading.mark;
    vec![Rule::default().then(Target::SetXmark { value: mark, mask: mark })]
}

fn forward(context: &RuleContext) -> Vec<Rule> {
    let mark = context.masquerading.mark;
    let state = |states| Match::ConnState { negated: false, states };
    let mut rules = Vec::new();
    if context.drop_invalid {
        // An invalid packet would leave with the pod's address as its source, and the client
        // would answer with a reset.
        let mut rule = Rule::default().when(state(ConnStates::INVALID));
        if context.counters.invalid_dropped {
            rule = rule.counted_in(nfacct::INVALID_DROPPED);
        }
        rules.push(rule.then(Target::Drop));
    }
    rules.push(
        Rule::remark("kubernetes forwarding rules")
            .when(Match::Mark { negated: false, value: mark, mask: mark })
            .then(Target::Accept),
    );
    rules.push(
        Rule::remark("kubernetes forwarding conntrack rule")
            .when(state(ConnStates::RELATED.or(ConnStates::ESTABLISHED)))
            .then(Target::Accept),
    );
    rules
}

/// The rules of KUBE-FIREWALL. Where there are none the kubelet may have its own in that chain.
fn firewall(context: &RuleContext) -> Vec<Rule> {
    if context.family == IpFamily::V6 || context.loopback == Loopback::Closed {
        return Vec::new();
    }
    let loopback = loopback_v4();
    let states = ConnStates::RELATED.or(ConnStates::ESTABLISHED).or(ConnStates::DNAT);
    vec![
        Rule::remark("block incoming localnet connections")
            .destination_within(loopback)
            .source_outside(loopback)
            .when(Match::ConnState { negated: true, states })
            .then(Target::Drop),
    ]
}

/// The jumps from the built-in chains. As each missing one is put first, the last of the list
/// ends up on top.
fn jumps() -> Vec<Jump> {
    let mut jumps = filter_jumps();
    let portals = "kubernetes service portals";
    let postrouting = "kubernetes postrouting rules";
    for (from, remark, to) in [
        ("OUTPUT", portals, chains::SERVICES),
        ("PREROUTING", portals, chains::SERVICES),
        ("POSTROUTING", postrouting, chains::POSTROUTING),
    ] {
        let rule = Rule::remark(remark).jump(to);
        jumps.push(Jump { table: Table::Nat, from, rule, shared: false });
    }
    for from in ["INPUT", "OUTPUT"] {
        let rule = Rule::default().jump(chains::FIREWALL);
        jumps.push(Jump { table: Table::Filter, from, rule, shared: true });
    }
    jumps
}

fn filter_jumps() -> Vec<Jump> {
    let external = "kubernetes externally-visible service portals";
    let health = "kubernetes health check service ports";
    let portals = "kubernetes service portals";
    let forwarding = "kubernetes forwarding rules";
    let firewall = "kubernetes load balancer firewall";
    // The long chains are for the first packet of a connection only.
    let new = || Match::ConnState { negated: false, states: ConnStates::NEW };
    let first = |remark: &str, to: &str| {
        let remark = Match::Comment(remark.into());
        Rule::default().when(new()).when(remark).jump(to)
    };
    let every = |remark: &str, to: &str| Rule::remark(remark).jump(to);
    [
        ("INPUT", first(external, chains::EXTERNAL_SERVICES)),
        ("FORWARD", first(external, chains::EXTERNAL_SERVICES)),
        ("INPUT", every(health, chains::NODE_PORTS)),
        ("FORWARD", first(portals, chains::SERVICES)),
        ("OUTPUT", first(portals, chains::SERVICES)),
        ("FORWARD", every(forwarding, chains::FORWARD)),
        ("INPUT", first(firewall, chains::PROXY_FIREWALL)),
        ("OUTPUT", first(firewall, chains::PROXY_FIREWALL)),
        ("FORWARD", first(firewall, chains::PROXY_FIREWALL)),
    ]
    .into_iter()
    .map(|(from, rule)| Jump { table: Table::Filter, from, rule, shared: false })
    .collect()
}
