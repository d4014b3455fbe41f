//! Pure. What has to be written to get from one rule set to another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ruleset::{Chain, ChainKey, Jump, RuleSet};

/// The way from one rule set to another. Chains are written whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleSetDiff {
    /// Chains that are new or different, with all their rules.
    pub write: BTreeMap<ChainKey, Chain>,
    /// Chains to delete.
    pub delete: BTreeSet<ChainKey>,
    /// Jumps to put first, one after the other.
    pub add_jumps: Vec<Jump>,
}

impl RuleSetDiff {
    /// Whether both rule sets are the same.
    pub fn is_empty(&self) -> bool {
        self.write.is_empty() && self.delete.is_empty() && self.add_jumps.is_empty()
    }

    /// The rule set that `from` becomes.
    pub fn applied_to(&self, from: &RuleSet) -> RuleSet {
        let mut result = from.clone();
        result.chains.retain(|key, _| !self.delete.contains(key));
        result.chains.extend(self.write.iter().map(|(key, chain)| (key.clone(), chain.clone())));
        result.jumps.extend(self.add_jumps.iter().cloned());
        result
    }
}

/// What turns `from` into `to`. Jumps are never taken away: they lead to chains that stay, and
/// cleaning up removes them.
pub fn diff(from: &RuleSet, to: &RuleSet) -> RuleSetDiff {
    let write = to
        .chains
        .iter()
        .filter(|(key, chain)| from.chains.get(*key).is_none_or(|known| !same(known, chain)))
        .map(|(key, chain)| (key.clone(), chain.clone()))
        .collect();
    let delete = from.chains.keys().filter(|key| !to.chains.contains_key(*key)).cloned().collect();
    let add_jumps = to.jumps.iter().filter(|jump| !from.jumps.contains(jump)).cloned().collect();
    RuleSetDiff { write, delete, add_jumps }
}

/// Equivalence that is quick for chains and rules shared between two plans.
fn same(a: &Chain, b: &Chain) -> bool {
    Arc::ptr_eq(a, b)
        || (a.len() == b.len()
            && a.iter().zip(&**b).all(|(a, b)| Arc::ptr_eq(a, b) || a.equivalent(b)))
}

#[cfg(test)]
mod tests;
