//! A back end that only remembers what it was to plan.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;

use crate::backend::{Backend, BackendError, Finding, SyncReport};
use crate::input::ObjectKey;
use crate::model::port_facts::PortFacts;
use crate::rules::RuleContext;

#[derive(Default)]
pub struct RecordingBackend {
    /// Services planned, without those that have no ports.
    pub planned: Arc<Mutex<BTreeMap<ObjectKey, Vec<PortFacts>>>>,
    findings: BTreeSet<Finding>,
}

#[async_trait]
impl Backend for RecordingBackend {
    async fn random_fully(&self) -> bool {
        true
    }

    fn set_context(&mut self, _: &RuleContext) {}

    fn plan_service(&mut self, key: &ObjectKey, ports: &[PortFacts]) {
        let mut planned = self.planned.lock().unwrap_or_else(PoisonError::into_inner);
        if ports.is_empty() {
            planned.remove(key);
        } else {
            planned.insert(key.clone(), ports.to_vec());
        }
    }

    async fn sync(&mut self) -> Result<SyncReport, BackendError> {
        Ok(SyncReport::default())
    }

    fn needs_full(&self) -> bool {
        false
    }

    fn forget(&mut self) {}

    async fn lost(&mut self) -> Result<bool, BackendError> {
        Ok(false)
    }

    fn findings(&self) -> &BTreeSet<Finding> {
        &self.findings
    }
}
