//! Pure. The planned rules as iptables-save or nft spells them.

use std::fmt::Write;

use serde::Serialize;

use super::nft_compare::{element_text, rule_texts, table_name};
use super::plan::{FamilyPlan, PlannedTable};
use crate::input::ObjectKey;
use crate::iptables::render::{rule_text, saved_text};
use crate::nftables::{NftPlan, NftState, diff, render_diff};
use crate::rules::RuleSet;
use crate::rules::ruleset::{ChainKey, Table};

/// Planned rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RulesReport {
    /// By family.
    pub families: Vec<FamilyRules>,
}

/// Planned rules of one family.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FamilyRules {
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// Chains with those of their rules that were asked for; in nftables mode also sets and maps
    /// with their elements.
    pub chains: Vec<ChainRules>,
    #[serde(skip)]
    text: String,
}

/// Rules of one chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ChainRules {
    /// Table.
    pub table: &'static str,
    /// Chain.
    pub chain: String,
    /// The rules, as iptables-save prints them after `-A CHAIN`.
    pub rules: Vec<String>,
}

/// The planned rules; with a service only its own chains, whole, and its rules in shared chains.
/// A family that has none of the service is left out.
pub fn planned_rules<'a>(
    plans: impl IntoIterator<Item = &'a FamilyPlan>,
    service: Option<&ObjectKey>,
) -> RulesReport {
    let families = plans.into_iter().filter_map(|plan| match (&plan.table, service) {
        (_, Some(service)) if plan.ports_of(service).next().is_none() => None,
        (PlannedTable::Iptables { rules, .. }, None) => Some(whole(plan, rules)),
        (PlannedTable::Iptables { .. }, Some(service)) => Some(of_service(plan, service)),
        (PlannedTable::Nftables { state, .. }, None) => Some(whole_table(state)),
        (PlannedTable::Nftables { plan, state }, Some(service)) => {
            Some(elements_of(plan, state, service))
        }
    });
    RulesReport { families: families.collect() }
}

impl RulesReport {
    /// The text of iptables-save, or statements of nft, family by family under a remark that names it. Feeding it to
    /// iptables-restore is not what it is for: jumps and shared chains may be left out.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for family in &self.families {
            let _ = writeln!(text, "# {}", family.family);
            text.push_str(&family.text);
        }
        text
    }
}

fn whole(plan: &FamilyPlan, rules: &RuleSet) -> FamilyRules {
    let family = plan.context.family;
    let chains = rules
        .chains
        .iter()
        .map(|(key, chain)| chain_rules(key, chain.iter().map(|rule| rule_text(rule, family))));
    FamilyRules { family: family.name(), chains: chains.collect(), text: saved_text(rules, family) }
}

fn of_service(plan: &FamilyPlan, service: &ObjectKey) -> FamilyRules {
    let family = plan.context.family;
    let mut shared: Vec<(ChainKey, Vec<String>)> = Vec::new();
    let mut own: Vec<(ChainKey, Vec<String>)> = Vec::new();
    for planned in plan.ports_of(service).filter_map(|port| port.rules.as_ref()) {
        for (chain, rule) in &planned.shared {
            let (key, rule) = (chain.key(), rule_text(rule, family));
            match shared.iter_mut().find(|(known, _)| *known == key) {
                Some((_, rules)) => rules.push(rule),
                None => shared.push((key, vec![rule])),
            }
        }
        for (name, chain) in &planned.own {
            let rules = chain.iter().map(|rule| rule_text(rule, family)).collect();
            own.push((ChainKey { table: Table::Nat, name: name.clone() }, rules));
        }
    }
    shared.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut text = String::new();
    for table in Table::ALL {
        let of_table = |chains: &[(ChainKey, Vec<String>)]| -> Vec<(ChainKey, Vec<String>)> {
            chains.iter().filter(|(key, _)| key.table == table).cloned().collect()
        };
        let (shared, own) = (of_table(&shared), of_table(&own));
        if shared.is_empty() && own.is_empty() {
            continue;
        }
        let _ = writeln!(text, "*{table}");
        for (key, _) in &own {
            let _ = writeln!(text, ":{} - [0:0]", key.name);
        }
        for (key, rules) in shared.iter().chain(&own) {
            for rule in rules {
                let _ = writeln!(text, "-A {}{rule}", key.name);
            }
        }
        text.push_str("COMMIT\n");
    }
    let chains = shared.into_iter().chain(own);
    FamilyRules {
        family: family.name(),
        chains: chains.map(|(key, rules)| chain_rules(&key, rules)).collect(),
        text,
    }
}

/// A table as text that `nft -f -` would read into an empty one.
fn whole_table(state: &NftState) -> FamilyRules {
    let family = state.family;
    let all = diff(&NftState::empty(family), state);
    let table = table_name(family);
    let chains = state.chains.iter().map(|(name, chain)| ChainRules {
        table,
        chain: name.to_string(),
        rules: rule_texts(chain, family),
    });
    let sets = state.sets.iter().map(|(set, elements)| ChainRules {
        table,
        chain: set.to_string(),
        rules: elements
            .iter()
            .map(|(key, entry)| element_text(*set, *key, entry, family))
            .collect(),
    });
    FamilyRules {
        family: family.name(),
        chains: chains.chain(sets).collect(),
        text: render_diff(&all, family).text,
    }
}

/// The elements of a service. Chains are shared by all of them.
fn elements_of(plan: &NftPlan, state: &NftState, service: &ObjectKey) -> FamilyRules {
    let mut own = NftState::empty(state.family);
    for (set, elements) in &state.sets {
        for (key, entry) in elements {
            if plan.owner(*set, key).is_some_and(|owner| owner.service == *service) {
                own.put(*set, *key, Some(entry.clone()));
            }
        }
    }
    whole_table(&own)
}

fn chain_rules(key: &ChainKey, rules: impl IntoIterator<Item = String>) -> ChainRules {
    ChainRules {
        table: key.table.name(),
        chain: key.name.to_string(),
        rules: rules.into_iter().map(|rule| rule.trim_start().to_owned()).collect(),
    }
}
