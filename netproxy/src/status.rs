//! What the proxy tells about itself; read by health and metrics.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{Finding, TableRules};
use crate::config::IpFamily;
use crate::conntrack::ReconcileOutcome;
use crate::input::{NodeEligibility, ObjectKey};

/// State of the proxy, published after every sync and when the first change is waiting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProxyStatus {
    /// Each family that is programmed.
    pub families: BTreeMap<IpFamily, FamilyStatus>,
    /// Services known.
    pub services: usize,
    /// Endpoint slices known.
    pub slices: usize,
    /// Whether load balancers should use the node.
    pub eligibility: NodeEligibility,
}

impl ProxyStatus {
    /// Whether every family was programmed at least once.
    pub fn synced_once(&self) -> bool {
        !self.families.is_empty()
            && self.families.values().all(|family| family.last_success.is_some())
    }

    /// Whether every family either has nothing waiting, or not yet for `timeout`.
    pub fn healthy(&self, now: Instant, timeout: Duration) -> bool {
        self.families.values().all(|family| family.healthy(now, timeout))
    }
}

/// State of one family.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FamilyStatus {
    /// When the oldest change that is not programmed yet arrived; nothing when all are.
    pub queued_since: Option<Instant>,
    /// When the last successful sync ended.
    pub last_success: Option<Instant>,
    /// How the last sync ended.
    pub last_sync: Option<SyncOutcome>,
    /// Rules the proxy owns, where its back end counts them.
    pub rules: usize,
    /// The same by table, with those that the last successful sync wrote.
    pub tables: BTreeMap<&'static str, TableRules>,
    /// Service ports programmed.
    pub service_ports: usize,
    /// Endpoints programmed, counted once for each service port.
    pub endpoints: usize,
    /// Service ports that have endpoints, but none here for traffic from inside (policy Local).
    pub no_local_internal: usize,
    /// The same for traffic from outside.
    pub no_local_external: usize,
    /// What users should know; empty when all is well.
    pub findings: BTreeSet<Finding>,
    /// What was cleared from connection tracking.
    pub conntrack: ReconcileStatus,
}

impl FamilyStatus {
    /// Services whose rules were refused and left out, by name.
    pub fn refused(&self) -> impl Iterator<Item = &ObjectKey> {
        self.findings.iter().filter_map(|finding| match finding {
            Finding::Refused { service, .. } => Some(service),
            _ => None,
        })
    }

    /// Whether nothing is waiting, or not yet for `timeout`.
    pub fn healthy(&self, now: Instant, timeout: Duration) -> bool {
        self.queued_since.is_none_or(|since| now.saturating_duration_since(since) < timeout)
    }
}

/// What was cleared from connection tracking.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReconcileStatus {
    /// How often it was looked at.
    pub runs: u64,
    /// Entries deleted, all together.
    pub deleted: u64,
    /// How the last look ended.
    pub last: Option<ReconcileOutcome>,
}

impl ReconcileStatus {
    pub(crate) fn add(&mut self, outcome: ReconcileOutcome) {
        self.runs += 1;
        self.deleted += u64::try_from(outcome.deleted).unwrap_or(u64::MAX);
        self.last = Some(outcome);
    }
}

/// How a sync ended.
#[derive(Clone, Debug, PartialEq)]
pub struct SyncOutcome {
    /// Nothing on success; else the error with its causes.
    pub failure: Option<Arc<str>>,
    /// Whether the live rules were read and compared, not only the changes written.
    pub full: bool,
    /// How long the sync took.
    pub duration: Duration,
}

/// An error with everything that caused it, on one line.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
