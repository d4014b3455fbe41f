//! The nftables back end of one family: the plan, and what of it is in place.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use tracing::debug;

use super::apply::{NftSyncError, Written, compare, find_refused, write_changes};
use super::boundary::Nft;
use super::layout::TableContext;
use super::plan::NftPlan;
use super::state::ChainName;
use crate::backend::{Backend, BackendError, Finding, SyncReport};
use crate::config::IpFamily;
use crate::input::ObjectKey;
use crate::model::port_facts::PortFacts;
use crate::rules::RuleContext;

/// Plans and writes the table of one family.
///
/// The plan is also the memory of what is live: it counts as live from a success on until the
/// next failure or [`forget`](Backend::forget).
pub struct NftBackend {
    /// Nothing before the first context.
    plan: Option<NftPlan>,
    writer: Writer,
    findings: BTreeSet<Finding>,
}

/// Writes a plan.
struct Writer {
    nft: Arc<dyn Nft>,
    family: IpFamily,
    /// Whether the table was equal to the plan when changes were last taken from it.
    in_place: bool,
    /// Chains that nothing leads to and that could not be deleted yet.
    stale: BTreeSet<ChainName>,
    /// Services that the kernel refuses, with the reason. They are not in the plan.
    refused: BTreeMap<ObjectKey, Arc<str>>,
}

impl NftBackend {
    /// A back end that has planned nothing yet.
    pub fn new(nft: Arc<dyn Nft>, family: IpFamily) -> Self {
        let writer = Writer {
            nft,
            family,
            in_place: false,
            stale: BTreeSet::new(),
            refused: BTreeMap::new(),
        };
        Self { plan: None, writer, findings: BTreeSet::new() }
    }

    /// The plan; nothing before the first context.
    pub const fn plan(&self) -> Option<&NftPlan> {
        self.plan.as_ref()
    }
}

impl Writer {
    /// Brings the table to the plan.
    async fn sync(&mut self, plan: &mut NftPlan) -> Result<SyncReport, NftSyncError> {
        let changes = plan.take_changes();
        // Taken before anything is written, so that a sync that is broken off assumes nothing.
        let known = std::mem::take(&mut self.in_place);
        let (full, outcome) = if known {
            self.stale.retain(|chain| !changes.chains.contains_key(chain));
            let outcome = write_changes(&*self.nft, self.family, changes).await;
            match &outcome {
                Err(failure) if failure.refused() => {
                    debug!(family = %self.family, %failure, "table differs from the plan");
                    (true, self.sync_full(plan).await)
                }
                _ => (false, outcome),
            }
        } else {
            (true, self.sync_full(plan).await)
        };
        let Written { written, deleted, stale } = outcome?;
        self.in_place = true;
        self.stale.extend(stale);
        self.delete_stale().await;
        Ok(SyncReport { full, written, deleted, ..SyncReport::default() })
    }

    /// Compares with what is live, and leaves out services that are refused.
    async fn sync_full(&mut self, plan: &mut NftPlan) -> Result<Written, NftSyncError> {
        self.stale.clear();
        let wanted = plan.state();
        let failure = match compare(&*self.nft, self.family, &wanted).await {
            Err(failure) if failure.refused() => failure,
            outcome => return outcome,
        };
        let elements = find_refused(&*self.nft, self.family, &wanted).await?;
        drop(wanted);
        let owned = elements.into_iter().filter_map(|((set, key), cause)| {
            Some((plan.owner(set, &key)?.service.clone(), Arc::from(cause)))
        });
        let services: BTreeMap<ObjectKey, Arc<str>> = owned.collect();
        if services.is_empty() {
            return Err(failure);
        }
        for (service, cause) in services {
            plan.replace_service(&service, &[]);
            self.refused.insert(service, cause);
        }
        // The comparison finds them.
        drop(plan.take_changes());
        compare(&*self.nft, self.family, &plan.state()).await
    }

    /// Deletes chains that are not used any more. They do no harm, so a failure is no failure of
    /// the sync; the next one tries again.
    async fn delete_stale(&mut self) {
        if self.stale.is_empty() {
            return;
        }
        match self.nft.delete_chains(&self.stale).await {
            Ok(()) => self.stale.clear(),
            Err(error) => {
                let chains = self.stale.len();
                debug!(family = %self.family, chains, %error, "stale chains stay for now");
            }
        }
    }

    fn findings(&self, plan: &NftPlan) -> BTreeSet<Finding> {
        let overlaps = plan.overlaps().into_iter().map(|overlap| Finding::Overlap {
            first: overlap.first,
            second: overlap.second,
            claim: overlap.claim.to_string().into(),
        });
        let refused = self.refused.iter().map(|(service, cause)| Finding::Refused {
            service: service.clone(),
            cause: Arc::clone(cause),
        });
        overlaps.chain(refused).collect()
    }
}

#[async_trait]
impl Backend for NftBackend {
    async fn random_fully(&self) -> bool {
        // Every kernel that is new enough for this back end can.
        true
    }

    fn set_context(&mut self, context: &RuleContext) {
        let context = TableContext::new(context);
        match &mut self.plan {
            Some(plan) if *plan.context() == context => {}
            Some(plan) => {
                plan.set_context(context);
                self.writer.in_place = false;
            }
            None => self.plan = Some(NftPlan::new(context)),
        }
    }

    fn plan_service(&mut self, key: &ObjectKey, ports: &[PortFacts]) {
        let Some(plan) = &mut self.plan else { return };
        self.writer.refused.remove(key);
        plan.replace_service(key, ports);
    }

    async fn sync(&mut self) -> Result<SyncReport, BackendError> {
        let Some(plan) = &mut self.plan else { return Ok(SyncReport::default()) };
        let outcome = self.writer.sync(plan).await;
        self.findings = self.writer.findings(plan);
        Ok(outcome?)
    }

    fn needs_full(&self) -> bool {
        !self.writer.in_place
    }

    fn forget(&mut self) {
        self.writer.in_place = false;
    }

    async fn lost(&mut self) -> Result<bool, BackendError> {
        let Writer { nft, family, in_place: true, .. } = &self.writer else { return Ok(false) };
        let there = nft.exists().await;
        Ok(!there.map_err(|source| NftSyncError::Read { family: *family, source })?)
    }

    fn findings(&self) -> &BTreeSet<Finding> {
        &self.findings
    }
}

#[cfg(test)]
mod tests;
