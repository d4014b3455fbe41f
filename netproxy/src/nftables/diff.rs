//! Pure. What differs between two tables.

use std::collections::{BTreeMap, BTreeSet};

use super::state::{Chain, ChainName, Entry, Key, NftState, SetName};

/// Changes that lead from one table to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NftDiff {
    /// Chains that are new or have other rules, with their new rules.
    pub chains: BTreeMap<ChainName, Chain>,
    /// Chains that are gone.
    pub gone_chains: BTreeSet<ChainName>,
    /// Changed elements.
    pub elements: BTreeMap<(SetName, Key), ElementChange>,
}

/// The change of one element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ElementChange {
    /// Was not there.
    Added(Entry),
    /// Has another value or comment.
    Replaced(Entry),
    /// Is not there any more.
    Removed,
}

impl ElementChange {
    /// The change between two entries; nothing when they are equal.
    pub fn between(before: Option<&Entry>, after: Option<&Entry>) -> Option<Self> {
        match (before, after) {
            (before, after) if before == after => None,
            (_, None) => Some(Self::Removed),
            (None, Some(entry)) => Some(Self::Added(entry.clone())),
            (Some(_), Some(entry)) => Some(Self::Replaced(entry.clone())),
        }
    }

    /// The entry after the change.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Self::Added(entry) | Self::Replaced(entry) => Some(entry),
            Self::Removed => None,
        }
    }
}

impl NftDiff {
    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.chains.is_empty() && self.gone_chains.is_empty() && self.elements.is_empty()
    }

    /// Chains and elements that are written.
    pub fn written(&self) -> usize {
        let elements = self.elements.values().filter(|change| change.entry().is_some());
        self.chains.len() + elements.count()
    }

    /// Chains and elements that are deleted.
    pub fn deleted(&self) -> usize {
        let elements = self.elements.values().filter(|change| change.entry().is_none());
        self.gone_chains.len() + elements.count()
    }

    /// The table after the changes.
    pub fn applied_to(&self, state: &NftState) -> NftState {
        let mut state = state.clone();
        for name in &self.gone_chains {
            state.chains.remove(name);
        }
        for (name, chain) in &self.chains {
            state.chains.insert(name.clone(), chain.clone());
        }
        for ((set, key), change) in &self.elements {
            state.put(*set, *key, change.entry().cloned());
        }
        state
    }
}

/// The changes that lead from `before` to `after`. What the kernel fills is left to it.
pub fn diff(before: &NftState, after: &NftState) -> NftDiff {
    let mut found = NftDiff::default();
    for (name, chain) in &after.chains {
        if before.chains.get(name) != Some(chain) {
            found.chains.insert(name.clone(), chain.clone());
        }
    }
    let gone = before.chains.keys().filter(|name| !after.chains.contains_key(*name));
    found.gone_chains = gone.cloned().collect();
    for set in SetName::ALL.into_iter().filter(|set| !set.is_dynamic()) {
        let (before, after) = (before.sets.get(&set), after.sets.get(&set));
        let keys: BTreeSet<&Key> =
            before.into_iter().chain(after).flat_map(BTreeMap::keys).collect();
        for key in keys {
            let entry = |elements: Option<&BTreeMap<Key, Entry>>| elements?.get(key).cloned();
            let change = ElementChange::between(entry(before).as_ref(), entry(after).as_ref());
            if let Some(change) = change {
                found.elements.insert((set, *key), change);
            }
        }
    }
    found
}
