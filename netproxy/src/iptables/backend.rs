//! The iptables back end of one family: the planned rules, and the applier that writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use tracing::warn;

use super::apply::{Applier, SyncError};
use super::boundary::Iptables;
use super::flavour::OtherFlavour;
use super::isolation::{Isolation, Planned};
use crate::backend::{Backend, BackendError, Finding, SyncReport, TableRules};
use crate::config::IpFamily;
use crate::input::ObjectKey;
use crate::model::port_facts::PortFacts;
use crate::rules::{RuleContext, plan_service_port};

/// Plans and writes the rules of one family.
pub struct IptablesBackend {
    iptables: Arc<dyn Iptables>,
    family: IpFamily,
    applier: Applier,
    context: Option<RuleContext>,
    planned: Planned,
    isolation: Isolation,
    other: Option<OtherFlavour>,
    findings: BTreeSet<Finding>,
}

impl IptablesBackend {
    /// A back end that has planned nothing yet.
    pub fn new(iptables: Arc<dyn Iptables>, family: IpFamily) -> Self {
        Self {
            applier: Applier::new(Arc::clone(&iptables), family),
            iptables,
            family,
            context: None,
            planned: Planned::new(),
            isolation: Isolation::default(),
            other: None,
            findings: BTreeSet::new(),
        }
    }

    /// The back end where the other flavour holds rules too; that is one of its findings.
    #[must_use]
    pub fn beside(mut self, other: Option<OtherFlavour>) -> Self {
        self.other = other;
        self.findings = self.found();
        self
    }

    fn found(&self) -> BTreeSet<Finding> {
        let refused = self.isolation.refused().iter().map(|(service, refusal)| Finding::Refused {
            service: service.clone(),
            cause: Arc::clone(&refusal.cause),
        });
        let other = self.other.map(|other| Finding::OtherFlavour {
            ours: other.ours.name(),
            theirs: other.theirs.name(),
        });
        refused.chain(other).collect()
    }
}

#[async_trait]
impl Backend for IptablesBackend {
    async fn random_fully(&self) -> bool {
        match self.iptables.version().await {
            Ok(version) => version.has_random_fully(),
            Err(error) => {
                warn!(family = %self.family, %error, "cannot tell the iptables version");
                false
            }
        }
    }

    fn set_context(&mut self, context: &RuleContext) {
        self.context = Some(context.clone());
    }

    fn plan_service(&mut self, key: &ObjectKey, ports: &[PortFacts]) {
        let Some(context) = &self.context else { return };
        if ports.is_empty() {
            self.planned.remove(key);
            return;
        }
        let rules = ports.iter().map(|facts| plan_service_port(facts, context)).collect();
        self.planned.insert(key.clone(), rules);
    }

    async fn sync(&mut self) -> Result<SyncReport, BackendError> {
        let Some(context) = &self.context else { return Ok(SyncReport::default()) };
        let synced = self.isolation.sync(&mut self.applier, context, &self.planned).await;
        self.findings = self.found();
        let done = synced?;
        let mut tables: BTreeMap<&'static str, TableRules> = BTreeMap::new();
        for (table, total) in self.applier.rule_counts() {
            let written = done.rules.get(&table).copied().unwrap_or_default();
            tables.insert(table.name(), TableRules { total, written });
        }
        Ok(SyncReport { full: done.full, written: done.written, deleted: done.deleted, tables })
    }

    fn needs_full(&self) -> bool {
        self.applier.needs_full()
    }

    fn forget(&mut self) {
        self.applier.forget();
    }

    async fn lost(&mut self) -> Result<bool, BackendError> {
        let family = self.family;
        Ok(self.applier.lost().await.map_err(|source| SyncError::Read { family, source })?)
    }

    fn findings(&self) -> &BTreeSet<Finding> {
        &self.findings
    }
}
