//! Pure. Where live rules differ from the plan.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use super::live::LiveState;
use super::nft_compare::table_differences;
use super::plan::{FamilyPlan, PlannedPort, PlannedTable};
use crate::config::IpFamily;
use crate::input::ObjectKey;
use crate::iptables::parse::LiveTables;
use crate::iptables::render::rule_text;
use crate::rules::ruleset::{Chain, ChainKey, Match, Rule, RuleSet};
use crate::rules::{SharedChain, diff};

/// What a sync would do to a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Change {
    /// Make it.
    Create,
    /// Write it anew.
    Rewrite,
    /// Delete it.
    Delete,
    /// Put a jump to a chain of ours first into a built-in one.
    AddJump,
}

/// One chain that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainDifference {
    /// Table.
    pub table: &'static str,
    /// Chain.
    pub chain: String,
    /// What a sync would do.
    pub change: Change,
    /// Rules that differ: `-` for one that is live and not planned, `+` for one that is planned
    /// and not live. Both empty when only their order differs.
    pub lines: Vec<Line>,
}

/// One rule that differs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Whether it is live or planned.
    pub side: LineSide,
    /// The rule as iptables-save prints it; in nftables mode the rule or the element as nft does.
    pub rule: String,
}

/// Where a line was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum LineSide {
    /// In the kernel only.
    Live,
    /// In the plan only.
    Planned,
}

/// What a sync would change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DiffReport {
    /// Whether it would change nothing.
    pub equal: bool,
    /// By family.
    pub families: Vec<FamilyDifferences>,
}

/// What a sync of one family would change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyDifferences {
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// The chains that differ.
    pub chains: Vec<ChainDifference>,
}

impl DiffReport {
    /// What a sync would change, family by family.
    pub fn new<'a>(families: impl IntoIterator<Item = (&'a FamilyPlan, &'a LiveState)>) -> Self {
        let families: Vec<FamilyDifferences> = families
            .into_iter()
            .map(|(plan, live)| FamilyDifferences {
                family: plan.context.family.name(),
                chains: plan.differences(live),
            })
            .collect();
        Self { equal: families.iter().all(|family| family.chains.is_empty()), families }
    }
}

impl FamilyPlan {
    /// What a sync that reads the live rules would change to get from them to the plan.
    pub fn differences(&self, live: &LiveState) -> Vec<ChainDifference> {
        match (&self.table, live) {
            (PlannedTable::Iptables { rules, .. }, LiveState::Iptables(live)) => {
                differences(&live.tables, rules, self.context.family)
            }
            (PlannedTable::Nftables { plan, state }, LiveState::Nftables(live)) => {
                table_differences(live, (plan, state), None)
            }
            // One kernel is read in the mode of the plan.
            _ => Vec::new(),
        }
    }

    /// The same, as far as it is about a service.
    pub fn differences_of(&self, service: &ObjectKey, live: &LiveState) -> Vec<ChainDifference> {
        match (&self.table, live) {
            (PlannedTable::Iptables { rules, .. }, LiveState::Iptables(live)) => {
                let all = differences(&live.tables, rules, self.context.family);
                of_service(&all, self, service, &live.tables)
            }
            (PlannedTable::Nftables { plan, state }, LiveState::Nftables(live)) => {
                table_differences(live, (plan, state), Some(service))
            }
            _ => Vec::new(),
        }
    }
}

/// What a sync that reads the live rules would change to get from them to the plan.
pub fn differences(live: &LiveTables, plan: &RuleSet, family: IpFamily) -> Vec<ChainDifference> {
    let live = live.compared_with(plan);
    let steps = diff(&live, plan);
    let nothing = Chain::from([]);
    let mut found: BTreeMap<ChainKey, ChainDifference> = BTreeMap::new();
    for (key, chain) in &steps.write {
        let before = live.chains.get(key);
        let change = if before.is_some() { Change::Rewrite } else { Change::Create };
        let lines = lines(before.unwrap_or(&nothing), chain, key, family);
        found.insert(key.clone(), difference(key, change, lines));
    }
    for key in &steps.delete {
        let before = live.chains.get(key).unwrap_or(&nothing);
        let lines = lines(before, &nothing, key, family);
        found.insert(key.clone(), difference(key, Change::Delete, lines));
    }
    let mut found: Vec<ChainDifference> = found.into_values().collect();
    found.extend(steps.add_jumps.iter().map(|jump| {
        let key = ChainKey::new(jump.table, jump.from);
        let line = line(&key, LineSide::Planned, &jump.rule, family);
        difference(&key, Change::AddJump, vec![line])
    }));
    found
}

/// The part of `all` that is about a service: its own chains, live chains that were its own, and
/// its rules in shared chains. A shared chain keeps only the lines of the service.
fn of_service(
    all: &[ChainDifference],
    plan: &FamilyPlan,
    service: &ObjectKey,
    live: &LiveTables,
) -> Vec<ChainDifference> {
    let ports: Vec<&PlannedPort> = plan.ports_of(service).collect();
    let own: BTreeSet<&str> = ports
        .iter()
        .filter_map(|port| port.rules.as_ref())
        .flat_map(|rules| rules.own.iter().map(|(name, _)| &**name))
        .collect();
    let shared: BTreeSet<ChainKey> = SharedChain::ALL.map(SharedChain::key).into();
    let is_shared = |one: &ChainDifference| {
        shared.iter().any(|key| *key.name == *one.chain && key.table.name() == one.table)
    };
    let was_own = |one: &ChainDifference| {
        let rules = live
            .chains
            .iter()
            .find(|(key, _)| *key.name == *one.chain && key.table.name() == one.table);
        rules.is_some_and(|(_, rules)| rules.iter().any(|rule| mentions(rule, service)))
    };
    all.iter()
        .filter_map(|one| {
            if is_shared(one) {
                let lines: Vec<Line> = one
                    .lines
                    .iter()
                    .filter(|line| text_mentions(&line.rule, service))
                    .cloned()
                    .collect();
                return (!lines.is_empty()).then(|| ChainDifference { lines, ..one.clone() });
            }
            (own.contains(&*one.chain) || one.change == Change::Delete && was_own(one))
                .then(|| one.clone())
        })
        .collect()
}

fn mentions(rule: &Rule, service: &ObjectKey) -> bool {
    rule.matches.iter().any(|part| match part {
        Match::Comment(comment) => text_mentions(comment, service),
        _ => false,
    })
}

/// Whether a word of the text is the name of the service or of one of its ports.
pub(super) fn text_mentions(text: &str, service: &ObjectKey) -> bool {
    let name = service.to_string();
    text.split([' ', '"']).any(|word| {
        word.strip_prefix(&*name).is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
    })
}

fn difference(key: &ChainKey, change: Change, lines: Vec<Line>) -> ChainDifference {
    ChainDifference { table: key.table.name(), chain: key.name.to_string(), change, lines }
}

fn line(key: &ChainKey, side: LineSide, rule: &Rule, family: IpFamily) -> Line {
    Line { side, rule: format!("-A {}{}", key.name, rule_text(rule, family)) }
}

/// Rules of one side only, in the order of their chains, those that are live first where both
/// sides have some.
fn lines(live: &Chain, planned: &Chain, key: &ChainKey, family: IpFamily) -> Vec<Line> {
    let mut left = count(planned, family);
    let mut only_live: Vec<bool> = Vec::with_capacity(live.len());
    for rule in live.iter() {
        only_live.push(!take(&mut left, &canonical(rule, family)));
    }
    let mut found = Vec::new();
    let mut next = 0;
    for rule in planned.iter() {
        let text = canonical(rule, family);
        if !take(&mut left, &text) {
            // It is live as well: what is live only and stands before it comes first.
            while next < live.len() {
                let here = canonical(&live[next], family) == text;
                if only_live[next] {
                    found.push(line(key, LineSide::Live, &live[next], family));
                }
                next += 1;
                if here {
                    break;
                }
            }
            continue;
        }
        while next < live.len() && only_live[next] {
            found.push(line(key, LineSide::Live, &live[next], family));
            next += 1;
        }
        found.push(line(key, LineSide::Planned, rule, family));
    }
    for position in (next..live.len()).filter(|position| only_live[*position]) {
        found.push(line(key, LineSide::Live, &live[position], family));
    }
    found
}

fn count(chain: &Chain, family: IpFamily) -> HashMap<String, usize> {
    let mut count = HashMap::new();
    for rule in chain.iter() {
        *count.entry(canonical(rule, family)).or_default() += 1;
    }
    count
}

fn take(left: &mut HashMap<String, usize>, text: &str) -> bool {
    match left.get_mut(text) {
        Some(count) if *count > 0 => {
            *count -= 1;
            true
        }
        _ => false,
    }
}

/// A text that is the same for rules that do the same ([`Rule::equivalent`]).
fn canonical(rule: &Rule, family: IpFamily) -> String {
    let mut rule = rule.clone();
    rule.matches.retain(|part| !matches!(part, Match::Transport { destination_port: None, .. }));
    rule.matches.sort_by_cached_key(|part| format!("{part:?}"));
    rule_text(&rule, family)
}

#[cfg(test)]
mod tests;
