//! Removes everything the proxy ever wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::boundary::{Flavour, Iptables, IptablesError};
use super::graph::jump_target;
use super::parse::{LiveTables, parse_saved};
use super::render::step_input;
use super::step::{Change, RestoreStep, Stage, TablePart};
use super::steps::removal_steps;
use crate::config::IpFamily;
use crate::rules::chains::is_owned;
use crate::rules::ruleset::{Chain, ChainKey, Table};

/// Removes our jumps and chains of one family; other rules, and the chain shared with the
/// kubelet, stay. Returns whether there was anything to remove.
pub async fn cleanup(iptables: &dyn Iptables, family: IpFamily) -> Result<bool, IptablesError> {
    let live = parse_saved(&iptables.save().await?, family);
    let steps = cleanup_steps(&live, iptables.flavour());
    for step in &steps {
        iptables.restore(step_input(step, family)).await?;
    }
    Ok(!steps.is_empty())
}

/// The steps that remove what is ours; none when nothing is. First the rules of others that lead
/// to our chains, as a chain that something leads to cannot be deleted.
fn cleanup_steps(live: &LiveTables, flavour: Flavour) -> Vec<RestoreStep> {
    let ours: BTreeMap<ChainKey, Chain> = live
        .chains
        .iter()
        .filter(|(key, _)| is_owned(key))
        .map(|(key, rules)| (key.clone(), Chain::from(rules.as_slice())))
        .collect();
    let mut unlink: BTreeMap<Table, Vec<Change>> = BTreeMap::new();
    for (from, rules) in live.chains.iter().filter(|(key, _)| !is_owned(key)) {
        for rule in rules {
            let target = jump_target(rule).map(|name| ChainKey::new(from.table, name));
            if target.is_some_and(|key| ours.contains_key(&key)) {
                let change = Change::TakeOut(from.name.clone(), Arc::clone(rule));
                unlink.entry(from.table).or_default().push(change);
            }
        }
    }
    let mut steps = Vec::new();
    if !unlink.is_empty() {
        let parts = unlink.into_iter().map(|(table, changes)| TablePart { table, changes });
        steps.push(RestoreStep { stage: Stage::Switch, parts: parts.collect() });
    }
    steps.extend(removal_steps(ours.keys(), &ours, flavour));
    steps
}

#[cfg(test)]
mod tests;
