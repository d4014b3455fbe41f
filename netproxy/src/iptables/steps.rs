//! Pure. The calls of iptables-restore that lead from one rule set to another.
//!
//! The legacy flavour copies the whole table for every call, so there is one call for everything.
//! The nft flavour looks every chain of a call up among the others, so the cost of a call grows
//! with the square of its chains; there, chains that no packet can get to are built in small
//! calls, one more leads packets to them, and further small ones remove what is left behind. Few
//! chains are written along with the ways in.
//!
//! After each step every service has either all of its old rules or all of its new ones, in the
//! nat table. The filter table cannot change at the same moment. Its rules about services without
//! endpoints do not meet packets that were sent on to one, so they come before a change of nat,
//! and go after it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use super::boundary::Flavour;
use super::graph::{callees_first, groups, reachable, targets_that_differ};
use super::step::{Change, Guard, RestoreStep, RuleEdit, Stage, TablePart, parts};
use crate::rules::align::{Aligned, align};
use crate::rules::chains::is_of_service;
use crate::rules::ruleset::{Chain, ChainKey, ChainName, Jump, Rule, RuleSet, Table};
use crate::rules::{RuleSetDiff, SharedChain, diff};

/// Chains in one call of the nft flavour. Measured with iptables 1.8.9 and 30 000 chains: calls
/// of 250 to 1000 cost the same for each chain, smaller ones pay for starting the command, larger
/// ones for the square of their size.
const CHAINS: usize = 500;
/// Rules in one call, unless a single chain has more.
const RULES: usize = 2_500;
/// Chains and rules that are written along with the ways in, where there are no more: one call
/// instead of two.
const FEW: usize = 100;
/// Rules of a chain from which on it is edited rather than written again.
const LONG_CHAIN: usize = 100;
/// Deletions by which a long chain is edited; each makes iptables compare all rules of the chain.
const DELETIONS: usize = 32;
/// Insertions by which a long chain is edited.
const INSERTIONS: usize = 256;

/// How far the live rules are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knowledge {
    /// They were just read: chains that differ are written whole.
    Read,
    /// They are what was written last: long chains are edited, which notices where that is wrong.
    Written,
}

/// The steps from one rule set to another; none when they are the same.
pub fn plan_steps(
    from: &RuleSet,
    to: &RuleSet,
    flavour: Flavour,
    knowledge: Knowledge,
) -> Vec<RestoreStep> {
    let difference = diff(from, to);
    let plan = Plan { from, to, knowledge };
    match flavour {
        Flavour::Legacy => plan.at_once(difference),
        Flavour::Nft => plan.in_chunks(difference),
    }
}

/// The steps that remove chains nothing leads to but other ones of them. `rules` are those of
/// `keys` at least.
pub(super) fn removal_steps<'a>(
    keys: impl IntoIterator<Item = &'a ChainKey>,
    rules: &'a BTreeMap<ChainKey, Chain>,
    flavour: Flavour,
) -> Vec<RestoreStep> {
    let mut ordered = callees_first(keys, |key| rules.get(key));
    ordered.reverse();
    let changes = ordered.into_iter().map(|key| (key.table, Change::Remove(key.name.clone())));
    match flavour {
        Flavour::Legacy => {
            let mut changes: Vec<(Table, Change)> = changes.collect();
            changes.sort_by_key(|(table, _)| *table);
            let parts = parts(changes);
            if parts.is_empty() {
                Vec::new()
            } else {
                vec![RestoreStep { stage: Stage::Remove, parts }]
            }
        }
        Flavour::Nft => packed(Stage::Remove, changes.map(|change| vec![change])),
    }
}

struct Plan<'a> {
    from: &'a RuleSet,
    to: &'a RuleSet,
    knowledge: Knowledge,
}

impl Plan<'_> {
    fn at_once(&self, difference: RuleSetDiff) -> Vec<RestoreStep> {
        let RuleSetDiff { write, delete, add_jumps } = difference;
        let mut parts = self.switch(&write, &add_jumps);
        if !delete.is_empty() {
            let position = parts.iter().position(|part| part.table == Table::Nat);
            let position = position.unwrap_or_else(|| {
                parts.push(TablePart { table: Table::Nat, changes: Vec::new() });
                parts.len() - 1
            });
            for key in delete {
                let remove = Change::Remove(key.name);
                if key.table == Table::Nat {
                    parts[position].changes.push(remove);
                } else {
                    parts.push(TablePart { table: key.table, changes: vec![remove] });
                }
            }
        }
        if parts.is_empty() {
            Vec::new()
        } else {
            vec![RestoreStep { stage: Stage::Switch, parts }]
        }
    }

    fn in_chunks(&self, difference: RuleSetDiff) -> Vec<RestoreStep> {
        let RuleSetDiff { mut write, delete, add_jumps } = difference;
        let existing = write.keys().filter(|key| self.from.chains.contains_key(*key)).count();
        // Where little changes, it is not worth finding out what packets can get to.
        let in_use = (existing > CHAINS).then(|| reachable(self.from));
        let unused = |key: &ChainKey| {
            !self.from.chains.contains_key(key)
                || in_use.as_ref().is_some_and(|used| !used.contains(&(key.table, &*key.name)))
        };
        let few = write.len() <= FEW && write.values().all(|chain| chain.len() <= FEW);
        let mut built: Vec<&ChainKey> = write.keys().filter(|key| !few && unused(key)).collect();
        // Chains in the order of their names, up or down, make iptables-save and other commands
        // of the nft flavour take seconds, as they sort chains in a way that suits chance. Names
        // end in hashes, so their order by the last letter is one of chance.
        built.sort_by(|a, b| {
            let names = || a.name.bytes().rev().cmp(b.name.bytes().rev());
            a.table.cmp(&b.table).then_with(names)
        });
        let built = callees_first(built, |key| write.get(key));
        let built: Vec<ChainKey> = built.into_iter().cloned().collect();
        let built = built.into_iter().filter_map(|key| {
            let (key, chain) = write.remove_entry(&key)?;
            Some(vec![(key.table, Change::Write(key.name, chain))])
        });
        let mut steps = packed(Stage::Build, built);
        steps.extend(self.separate_changes(&mut write));
        let parts = self.switch(&write, &add_jumps);
        if !parts.is_empty() {
            steps.push(RestoreStep { stage: Stage::Switch, parts });
        }
        steps.extend(removal_steps(&delete, &self.from.chains, Flavour::Nft));
        steps
    }

    /// Takes those services out of `write` that can change without their ways in; nothing when
    /// all of it fits into one step.
    fn separate_changes(&self, write: &mut BTreeMap<ChainKey, Chain>) -> Vec<RestoreStep> {
        let of_service = |key: &ChainKey| is_of_service(key.table, &key.name);
        if write.keys().filter(|key| of_service(key)).count() <= CHAINS {
            return Vec::new();
        }
        let groups = groups([self.from, self.to]);
        let bound: HashSet<usize> = write
            .iter()
            .filter(|(key, _)| !of_service(key))
            .filter_map(|(key, chain)| Some((self.from.chains.get(key)?, chain)))
            .flat_map(|(before, after)| targets_that_differ(before, after))
            .filter_map(|name| groups.get(name).copied())
            .collect();
        let mut separate: BTreeMap<usize, Vec<(Table, Change)>> = BTreeMap::new();
        write.retain(|key, chain| {
            let group = groups.get(&*key.name).filter(|_| of_service(key));
            let Some(group) = group.filter(|group| !bound.contains(group)) else { return true };
            let change = Change::Write(key.name.clone(), chain.clone());
            separate.entry(*group).or_default().push((key.table, change));
            false
        });
        packed(Stage::Change, separate.into_values())
    }

    /// The parts that write these chains, whether packets can get to them or not, and the jumps.
    fn switch(&self, write: &BTreeMap<ChainKey, Chain>, jumps: &[Jump]) -> Vec<TablePart> {
        let nat_changes = write.keys().any(|key| key.table == Table::Nat);
        let mut first = Vec::new();
        let mut last = Vec::new();
        let mut parts = Vec::new();
        for (key, chain) in write {
            let before = self.from.chains.get(key);
            match (key.table, before) {
                (Table::Filter, Some(before)) if nat_changes && lists_services(key) => {
                    let both = with_all_rules(before, chain);
                    first.extend(self.change(&key.name, Some(before), &both));
                    last.extend(self.change(&key.name, Some(&both), chain));
                }
                (Table::Filter, _) => first.extend(self.change(&key.name, before, chain)),
                _ => {}
            }
        }
        for table in Table::ALL {
            let mut changes: Vec<Change> = match table {
                Table::Filter => std::mem::take(&mut first),
                Table::Mangle | Table::Nat => write
                    .iter()
                    .filter(|(key, _)| key.table == table)
                    .filter_map(|(key, to)| self.change(&key.name, self.from.chains.get(key), to))
                    .collect(),
            };
            let jumps = jumps.iter().filter(|jump| jump.table == table);
            changes
                .extend(jumps.map(|jump| Change::PutFirst(jump.from, Arc::new(jump.rule.clone()))));
            if !changes.is_empty() {
                parts.push(TablePart { table, changes });
            }
        }
        if !last.is_empty() {
            parts.push(TablePart { table: Table::Filter, changes: last });
        }
        parts
    }

    /// How one chain gets its rules; nothing when it has them.
    fn change(&self, name: &ChainName, before: Option<&Chain>, after: &Chain) -> Option<Change> {
        if before.is_some_and(|before| Arc::ptr_eq(before, after) || before == after) {
            return None;
        }
        let whole = || Change::Write(name.clone(), after.clone());
        let before = match (self.knowledge, before) {
            (Knowledge::Written, Some(before)) if before.len() >= LONG_CHAIN => before,
            _ => return Some(whole()),
        };
        Some(edits(name, before, after).unwrap_or_else(whole))
    }
}

/// Whether services add rules to this chain, in any order.
fn lists_services(key: &ChainKey) -> bool {
    SharedChain::ALL.into_iter().any(|chain| chain.key() == *key)
}

/// The rules of both versions of a chain.
fn with_all_rules(before: &Chain, after: &Chain) -> Chain {
    align(before, after)
        .into_iter()
        .map(|step| match step {
            Aligned::Keep(rule) | Aligned::Delete(rule) | Aligned::Insert(rule) => rule.clone(),
        })
        .collect()
}

/// The edits from one version of a long chain to another; nothing when writing it is quicker, or
/// when a rule is in it twice, so that deleting one says not which.
fn edits(name: &ChainName, before: &Chain, after: &Chain) -> Option<Change> {
    let unique: HashSet<&Rule> = before.iter().map(|rule| &**rule).collect();
    let last = before.last().filter(|_| unique.len() == before.len())?;
    let guard = Guard { last: last.clone(), length: before.len() };
    let (mut deletions, mut insertions) = (0, 0);
    let mut edits = Vec::new();
    let mut place = 1;
    for step in align(before, after) {
        match step {
            Aligned::Keep(_) => place += 1,
            Aligned::Delete(rule) => {
                deletions += 1;
                edits.push(RuleEdit::Delete(rule.clone()));
            }
            Aligned::Insert(rule) => {
                insertions += 1;
                edits.push(RuleEdit::Insert(place, rule.clone()));
                place += 1;
            }
        }
    }
    (deletions <= DELETIONS && insertions <= INSERTIONS)
        .then(|| Change::Edit(name.clone(), guard, edits))
}

/// Steps of bounded size out of changes that have to stay together.
fn packed(stage: Stage, together: impl Iterator<Item = Vec<(Table, Change)>>) -> Vec<RestoreStep> {
    let mut steps = Vec::new();
    let mut open: Vec<(Table, Change)> = Vec::new();
    let mut open_rules = 0;
    for changes in together {
        let rules: usize = changes.iter().map(|(_, change)| change.rules()).sum();
        let full = open.len() + changes.len() > CHAINS || open_rules + rules > RULES;
        if full && !open.is_empty() {
            steps.push(RestoreStep { stage, parts: parts(std::mem::take(&mut open)) });
            open_rules = 0;
        }
        open.extend(changes);
        open_rules += rules;
    }
    if !open.is_empty() {
        steps.push(RestoreStep { stage, parts: parts(open) });
    }
    steps
}

#[cfg(test)]
mod tests;
