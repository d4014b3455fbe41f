//! Brings the live rules to a wanted rule set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tracing::warn;

use super::boundary::{Iptables, IptablesError};
use super::isolation::with_live;
use super::live::{Live, LiveReader};
use super::render::{rule_text, step_input};
use super::step::{Change, RestoreStep, Stage};
use super::steps::{Knowledge, plan_steps};
use crate::config::IpFamily;
use crate::input::ObjectKey;
use crate::rules::chains::CANARY;
use crate::rules::ruleset::{ChainKey, RuleSet, Table};

/// Writes rule sets of one family and remembers the last one that is in place.
pub struct Applier {
    iptables: Arc<dyn Iptables>,
    family: IpFamily,
    /// What is live as far as we know; nothing before the first success and after a failure.
    applied: Option<RuleSet>,
    /// Chains that could not be deleted because a rule of somebody else leads to them. They were
    /// emptied; the next full sync tries again.
    undeletable: BTreeSet<ChainKey>,
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Chains written.
    pub written: usize,
    /// Chains deleted.
    pub deleted: usize,
    /// Jumps added.
    pub jumps: usize,
    /// Rules written, by table.
    pub rules: BTreeMap<Table, usize>,
    /// Whether the live rules were read and compared.
    pub full: bool,
}

/// A rule set could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum SyncError {
    /// The live rules could not be read.
    #[error("cannot read the {family} rules")]
    Read {
        /// Family.
        family: IpFamily,
        /// Why.
        source: IptablesError,
    },
    /// Chains could not be written.
    #[error("cannot write {chains} {family} chains")]
    Write {
        /// Family.
        family: IpFamily,
        /// How many chains were to be written or deleted by the call that failed.
        chains: usize,
        /// Why.
        source: IptablesError,
    },
}

impl SyncError {
    /// The refusal of what was to be written, if it was one.
    pub fn refusal(&self) -> Option<&IptablesError> {
        match self {
            Self::Write { source, .. } => Some(source).filter(|source| source.blames_input()),
            Self::Read { .. } => None,
        }
    }
}

impl Applier {
    /// An applier that knows nothing about the live rules yet.
    pub fn new(iptables: Arc<dyn Iptables>, family: IpFamily) -> Self {
        Self { iptables, family, applied: None, undeletable: BTreeSet::new() }
    }

    /// Forgets what is live, so that the next sync reads it.
    pub fn forget(&mut self) {
        self.applied = None;
    }

    /// Whether the next sync reads the live rules.
    pub fn needs_full(&self) -> bool {
        self.applied.is_none()
    }

    /// How many rules each table has since the last success; nothing before the first.
    pub fn rule_counts(&self) -> BTreeMap<Table, usize> {
        let mut counts = BTreeMap::new();
        for (key, chain) in self.applied.iter().flat_map(|rules| &rules.chains) {
            *counts.entry(key.table).or_default() += chain.len();
        }
        counts
    }

    /// Whether somebody flushed our chains since they were written.
    pub async fn lost(&self) -> Result<bool, IptablesError> {
        if self.applied.is_none() {
            return Ok(false);
        }
        Ok(!self.iptables.chain_exists(Table::Mangle, CANARY).await?)
    }

    /// Puts `wanted` in place. Writes only what differs from the last success, or from the live
    /// rules when there is none; a refused write of the former kind is tried once more as one of
    /// the latter.
    pub async fn sync(&mut self, wanted: RuleSet) -> Result<SyncReport, SyncError> {
        self.sync_except(wanted, &BTreeSet::new()).await
    }

    /// Like [`sync`](Self::sync) for rules that leave out the services of `kept`: those keep the
    /// rules that they have.
    pub async fn sync_except(
        &mut self,
        wanted: RuleSet,
        kept: &BTreeSet<ObjectKey>,
    ) -> Result<SyncReport, SyncError> {
        if let Some(applied) = self.applied.take() {
            let complete = with_live(&applied, &wanted, kept);
            match self.write(&applied, &complete, Knowledge::Written).await {
                Err(SyncError::Write { source, .. }) if source.refused() => {
                    let family = self.family;
                    warn!(%family, error = %source, "rules differ from what was written, comparing");
                }
                Err(error) => return Err(error),
                Ok(report) => {
                    self.applied = Some(complete.into_owned());
                    return Ok(report);
                }
            }
        }
        self.undeletable.clear();
        let live = self.read(&wanted).await?;
        let complete = with_live(&live, &wanted, kept);
        let report = self.write(&live, &complete, Knowledge::Read).await?;
        self.applied = Some(complete.into_owned());
        Ok(report)
    }

    /// What is live. Where a dump does not show a table, its chains count as missing and are
    /// written, but jumps must not pile up.
    async fn read(&self, wanted: &RuleSet) -> Result<RuleSet, SyncError> {
        let failed = |source| SyncError::Read { family: self.family, source };
        let mut reader = LiveReader::new(wanted, self.family);
        self.iptables.save_lines(&mut |line| reader.line(line)).await.map_err(failed)?;
        let Live { mut rules, unreadable } = reader.finish();
        if unreadable.is_empty() {
            return Ok(rules);
        }
        warn!(
            family = %self.family,
            tables = ?unreadable,
            "somebody else's rules keep iptables from showing tables, they are written whole"
        );
        for jump in wanted.jumps.iter().filter(|jump| unreadable.contains(&jump.table)) {
            let rule = rule_text(&jump.rule, self.family);
            let there = self.iptables.has_rule(jump.table, jump.from, rule.trim_start());
            if there.await.map_err(failed)? {
                rules.jumps.push(jump.clone());
            }
        }
        Ok(rules)
    }

    async fn write(
        &mut self,
        from: &RuleSet,
        wanted: &RuleSet,
        knowledge: Knowledge,
    ) -> Result<SyncReport, SyncError> {
        let full = knowledge == Knowledge::Read;
        let mut report = SyncReport { full, ..SyncReport::default() };
        for mut step in plan_steps(from, wanted, self.iptables.flavour(), knowledge) {
            self.leave_out_undeletable(&mut step);
            if step.parts.is_empty() {
                continue;
            }
            let counts = step.counts();
            for part in &step.parts {
                let rules: usize = part.changes.iter().map(Change::rules).sum();
                *report.rules.entry(part.table).or_default() += rules;
            }
            self.take(step, full).await?;
            report.written += counts.written;
            report.deleted += counts.removed;
            report.jumps += counts.jumps;
        }
        Ok(report)
    }

    fn leave_out_undeletable(&self, step: &mut RestoreStep) {
        if self.undeletable.is_empty() {
            return;
        }
        for part in &mut step.parts {
            let table = part.table;
            part.changes.retain(|change| match change {
                Change::Remove(name) => {
                    !self.undeletable.contains(&ChainKey { table, name: name.clone() })
                }
                _ => true,
            });
        }
        step.parts.retain(|part| !part.changes.is_empty());
    }

    /// Takes one step. Where a removal is refused, everything else of the step is done first, and
    /// then every chain that can be removed is.
    async fn take(&mut self, mut step: RestoreStep, full: bool) -> Result<(), SyncError> {
        let source = match self.restore(&step).await {
            Ok(()) => return Ok(()),
            Err(source) => source,
        };
        let only_removes = step.stage == Stage::Remove;
        let removals = step.split_removals();
        if removals.is_empty() || !source.refused() || !(full || only_removes) {
            return Err(self.failed(&step, source));
        }
        if !step.parts.is_empty() {
            self.restore(&step).await.map_err(|source| self.failed(&step, source))?;
        }
        self.remove_what_can_be(removals).await
    }

    /// Removes chains by halves, so that few that cannot go keep few others.
    async fn remove_what_can_be(
        &mut self,
        removals: Vec<(Table, Change)>,
    ) -> Result<(), SyncError> {
        let mut kept = BTreeSet::new();
        // The first half comes first, as its chains may lead to those of the second.
        let mut open = vec![removals];
        while let Some(mut some) = open.pop() {
            let step = RestoreStep::removing(&some);
            match self.restore(&step).await {
                Ok(()) => {}
                Err(source) if !source.refused() => return Err(self.failed(&step, source)),
                Err(_) if some.len() > 1 => {
                    let second = some.split_off(some.len() / 2);
                    open.extend([second, some]);
                }
                Err(source) => {
                    let emptied = step.emptying();
                    self.restore(&emptied).await.map_err(|source| self.failed(&step, source))?;
                    let keys = step.removed();
                    if kept.is_empty() {
                        warn!(family = %self.family, error = %source, "cannot delete a stale chain, left it empty");
                    }
                    kept.extend(keys);
                }
            }
        }
        self.undeletable.extend(kept);
        Ok(())
    }

    async fn restore(&self, step: &RestoreStep) -> Result<(), IptablesError> {
        self.iptables.restore(step_input(step, self.family)).await
    }

    fn failed(&self, step: &RestoreStep, source: IptablesError) -> SyncError {
        let counts = step.counts();
        SyncError::Write { family: self.family, chains: counts.written + counts.removed, source }
    }
}

#[cfg(test)]
mod tests;
