//! Pure. One call of iptables-restore as data.

use std::sync::Arc;

use crate::rules::ruleset::{Chain, ChainKey, ChainName, Rule, Table};

/// One call of iptables-restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreStep {
    /// What it is for.
    pub stage: Stage,
    /// Changes, table by table; the same table may come twice. Each part happens at once or not
    /// at all.
    pub parts: Vec<TablePart>,
}

/// What a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Writes chains that no packet can get to yet.
    Build,
    /// Changes services whose ways in stay the same.
    Change,
    /// Changes the ways in, and the services behind those that change.
    Switch,
    /// Removes chains that nothing leads to any more.
    Remove,
}

/// Changes of one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TablePart {
    /// The table.
    pub table: Table,
    /// The changes.
    pub changes: Vec<Change>,
}

/// A change of one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Makes the chain if need be, and replaces all its rules.
    Write(ChainName, Chain),
    /// Changes single rules. Fails when the chain lost rules since they were written.
    Edit(ChainName, Guard, Vec<RuleEdit>),
    /// Puts a rule first into a chain that is not ours.
    PutFirst(&'static str, Arc<Rule>),
    /// Takes a rule out of a chain that is not ours.
    TakeOut(ChainName, Arc<Rule>),
    /// Empties and deletes the chain.
    Remove(ChainName),
}

/// The last rule of a chain and its place, counted from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// The rule.
    pub last: Arc<Rule>,
    /// How many rules the chain has.
    pub length: usize,
}

/// A change of one rule; places count from 1 and as they are when its turn has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleEdit {
    /// Puts a rule at this place.
    Insert(usize, Arc<Rule>),
    /// Takes the rule out, wherever it is.
    Delete(Arc<Rule>),
}

/// Changes in their order, neighbours of one table put together.
pub(super) fn parts(changes: Vec<(Table, Change)>) -> Vec<TablePart> {
    let mut parts: Vec<TablePart> = Vec::new();
    for (table, change) in changes {
        match parts.last_mut().filter(|part| part.table == table) {
            Some(part) => part.changes.push(change),
            None => parts.push(TablePart { table, changes: vec![change] }),
        }
    }
    parts
}

impl Change {
    /// How many rules it writes.
    pub(super) fn rules(&self) -> usize {
        match self {
            Self::Write(_, rules) => rules.len(),
            Self::Edit(_, _, edits) => edits.len(),
            Self::PutFirst(..) | Self::TakeOut(..) => 1,
            Self::Remove(_) => 0,
        }
    }
}

/// What a step is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Chains that it writes or edits.
    pub written: usize,
    /// Chains that it removes.
    pub removed: usize,
    /// Jumps that it adds.
    pub jumps: usize,
}

impl RestoreStep {
    /// The step that removes these chains.
    pub(super) fn removing(removals: &[(Table, Change)]) -> Self {
        Self { stage: Stage::Remove, parts: parts(removals.to_vec()) }
    }

    /// The step with the chains that it removes emptied instead.
    pub(super) fn emptying(&self) -> Self {
        let mut step = self.clone();
        for change in step.parts.iter_mut().flat_map(|part| &mut part.changes) {
            if let Change::Remove(name) = change {
                *change = Change::Write(name.clone(), [].into());
            }
        }
        step
    }

    /// Takes the removals out.
    pub(super) fn split_removals(&mut self) -> Vec<(Table, Change)> {
        let mut removals = Vec::new();
        for part in &mut self.parts {
            let (remove, rest) = std::mem::take(&mut part.changes)
                .into_iter()
                .partition(|change| matches!(change, Change::Remove(_)));
            part.changes = rest;
            removals.extend(Vec::into_iter(remove).map(|change| (part.table, change)));
        }
        self.parts.retain(|part| !part.changes.is_empty());
        removals
    }

    /// The chains that it removes.
    pub(super) fn removed(&self) -> impl Iterator<Item = ChainKey> {
        self.parts.iter().flat_map(|part| {
            part.changes.iter().filter_map(|change| match change {
                Change::Remove(name) => Some(ChainKey { table: part.table, name: name.clone() }),
                _ => None,
            })
        })
    }

    /// How much it does.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for change in self.parts.iter().flat_map(|part| &part.changes) {
            match change {
                Change::Write(..) | Change::Edit(..) => counts.written += 1,
                Change::Remove(_) => counts.removed += 1,
                Change::PutFirst(..) => counts.jumps += 1,
                Change::TakeOut(..) => {}
            }
        }
        counts
    }
}
