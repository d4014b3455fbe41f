//! Brings the live rules to a wanted rule set.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::warn;

use super::boundary::{Iptables, IptablesError};
use super::parse::parse_saved;
use super::render::{restore_input, rule_text};
use crate::config::IpFamily;
use crate::rules::chains::CANARY;
use crate::rules::ruleset::{ChainKey, RuleSet, Table};
use crate::rules::{RuleSetDiff, diff};

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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Chains written.
    pub written: usize,
    /// Chains deleted.
    pub deleted: usize,
    /// Jumps added.
    pub jumps: usize,
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
        /// How many chains were to be written or deleted.
        chains: usize,
        /// Why.
        source: IptablesError,
    },
    /// A jump could not be added.
    #[error("cannot add the {family} jump from {table} {chain}")]
    Jump {
        /// Family.
        family: IpFamily,
        /// Table of the built-in chain.
        table: Table,
        /// The built-in chain.
        chain: &'static str,
        /// Why.
        source: IptablesError,
    },
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
        if let Some(applied) = self.applied.take() {
            match self.write(&applied, &wanted, false).await {
                Err(SyncError::Write { source, .. }) if source.refused() => {
                    let family = self.family;
                    warn!(%family, error = %source, "rules differ from what was written, comparing");
                }
                Err(error) => return Err(error),
                Ok(report) => {
                    self.applied = Some(wanted);
                    return Ok(report);
                }
            }
        }
        self.undeletable.clear();
        let text = self
            .iptables
            .save()
            .await
            .map_err(|source| SyncError::Read { family: self.family, source })?;
        let live = parse_saved(&text, self.family).compared_with(&wanted);
        drop(text);
        let report = self.write(&live, &wanted, true).await?;
        self.applied = Some(wanted);
        Ok(report)
    }

    async fn write(
        &mut self,
        from: &RuleSet,
        wanted: &RuleSet,
        full: bool,
    ) -> Result<SyncReport, SyncError> {
        let mut steps = diff(from, wanted);
        steps.delete.retain(|key| !self.undeletable.contains(key));
        if !steps.write.is_empty() || !steps.delete.is_empty() {
            self.restore(&mut steps, full).await?;
        }
        for jump in &steps.add_jumps {
            let rule = rule_text(&jump.rule, self.family);
            let added = self.iptables.ensure_jump(jump.table, jump.from, rule.trim_start()).await;
            added.map_err(|source| SyncError::Jump {
                family: self.family,
                table: jump.table,
                chain: jump.from,
                source,
            })?;
        }
        Ok(SyncReport {
            written: steps.write.len(),
            deleted: steps.delete.len(),
            jumps: steps.add_jumps.len(),
            full,
        })
    }

    /// Writes chains. When that is refused after a look at the live rules, stale chains are what
    /// is left to blame: they are then emptied instead, so that services keep working.
    async fn restore(&mut self, steps: &mut RuleSetDiff, full: bool) -> Result<(), SyncError> {
        let failed = |steps: &RuleSetDiff, source| SyncError::Write {
            family: self.family,
            chains: steps.write.len() + steps.delete.len(),
            source,
        };
        let source = match self.iptables.restore(restore_input(steps, self.family)).await {
            Ok(()) => return Ok(()),
            Err(source) => source,
        };
        if !full || steps.delete.is_empty() || !source.refused() {
            return Err(failed(steps, source));
        }
        let stale = std::mem::take(&mut steps.delete);
        steps.write.extend(stale.iter().map(|key| (key.clone(), [].into())));
        let again = self.iptables.restore(restore_input(steps, self.family)).await;
        again.map_err(|source| failed(steps, source))?;
        warn!(
            family = %self.family,
            chains = stale.len(),
            error = %source,
            "stale chains cannot be deleted, left them empty"
        );
        self.undeletable = stale;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
