//! Pure. Which chains lead to which.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::rules::chains::is_of_service;
use crate::rules::ruleset::{Chain, ChainKey, Match, Rule, RuleSet, Table, Target};

/// The chain that a rule leads to, also for one we would never write. May name a target of
/// another module instead.
pub(super) fn jump_target(rule: &Rule) -> Option<&str> {
    match (&rule.target, rule.matches.as_slice()) {
        (Some(Target::Jump(name)), _) => Some(name),
        (None, [Match::Foreign(words)]) => {
            let mut words = words.split_whitespace();
            words.find(|word| matches!(*word, "-j" | "-g"))?;
            words.next()
        }
        _ => None,
    }
}

/// The chains of `keys`, every one after those of them that its rules lead to. `rules` gives the
/// rules of a chain.
pub(super) fn callees_first<'a>(
    keys: impl IntoIterator<Item = &'a ChainKey>,
    rules: impl Fn(&ChainKey) -> Option<&'a Chain>,
) -> Vec<&'a ChainKey> {
    let keys: Vec<&ChainKey> = keys.into_iter().collect();
    let wanted: HashMap<(Table, &str), &ChainKey> =
        keys.iter().map(|key| ((key.table, &*key.name), *key)).collect();
    let mut seen: HashSet<&ChainKey> = HashSet::with_capacity(keys.len());
    let mut ordered = Vec::with_capacity(keys.len());
    for key in keys {
        // Entered chains wait here, below those that they lead to.
        let mut open = vec![(key, false)];
        while let Some((key, left)) = open.pop() {
            if left {
                ordered.push(key);
                continue;
            }
            if !seen.insert(key) {
                continue;
            }
            open.push((key, true));
            let targets = rules(key).into_iter().flat_map(|chain| chain.iter());
            let targets = targets.filter_map(|rule| wanted.get(&(key.table, jump_target(rule)?)));
            open.extend(targets.filter(|key| !seen.contains(*key)).map(|key| (*key, false)));
        }
    }
    ordered
}

/// The chains that packets can get to through the jumps of the rule set.
pub(super) fn reachable(rules: &RuleSet) -> HashSet<(Table, &str)> {
    let mut seen = HashSet::new();
    let mut open: Vec<(Table, &str)> = rules
        .jumps
        .iter()
        .filter_map(|jump| Some((jump.table, jump_target(&jump.rule)?)))
        .collect();
    let by_name: HashMap<(Table, &str), &Chain> =
        rules.chains.iter().map(|(key, chain)| ((key.table, &*key.name), chain)).collect();
    while let Some(place) = open.pop() {
        let Some(chain) = by_name.get(&place) else { continue };
        if seen.insert(place) {
            let targets = chain.iter().filter_map(|rule| jump_target(rule));
            open.extend(targets.map(|name| (place.0, name)));
        }
    }
    seen
}

/// Sorts chains of services by service: those that lead to one another, in any of the rule sets,
/// belong together. Names map to the number of their group.
pub(super) fn groups<'a>(sets: [&'a RuleSet; 2]) -> HashMap<&'a str, usize> {
    let mut numbers: HashMap<&str, usize> = HashMap::new();
    let mut parents: Vec<usize> = Vec::new();
    for (key, chain) in sets.into_iter().flat_map(|set| &set.chains) {
        if !is_of_service(key.table, &key.name) {
            continue;
        }
        let mut number = |name: &'a str| {
            *numbers.entry(name).or_insert_with(|| {
                parents.push(parents.len());
                parents.len() - 1
            })
        };
        let caller = number(&key.name);
        let callees: Vec<usize> = chain
            .iter()
            .filter_map(|rule| jump_target(rule))
            .filter(|name| is_of_service(Table::Nat, name))
            .map(number)
            .collect();
        for callee in callees {
            let (a, b) = (root(&mut parents, caller), root(&mut parents, callee));
            parents[a.max(b)] = a.min(b);
        }
    }
    for number in numbers.values_mut() {
        *number = root(&mut parents, *number);
    }
    numbers
}

fn root(parents: &mut [usize], mut number: usize) -> usize {
    while parents[number] != number {
        parents[number] = parents[parents[number]];
        number = parents[number];
    }
    number
}

/// The chains of services that rules of only one of two versions of a chain lead to.
pub(super) fn targets_that_differ<'a>(a: &'a Chain, b: &'a Chain) -> BTreeSet<&'a str> {
    let in_a: HashSet<&Rule> = a.iter().map(|rule| &**rule).collect();
    let in_b: HashSet<&Rule> = b.iter().map(|rule| &**rule).collect();
    in_a.symmetric_difference(&in_b).filter_map(|rule| jump_target(rule)).collect()
}

#[cfg(test)]
mod tests;
