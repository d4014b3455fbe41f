//! What the proxy tells about itself; read by health and metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::IpFamily;

/// State of the proxy, published after every sync and when the first change is waiting.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProxyStatus {
    /// Each family that is programmed.
    pub families: BTreeMap<IpFamily, FamilyStatus>,
    /// Services known.
    pub services: usize,
    /// Endpoint slices known.
    pub slices: usize,
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
    /// Rules the proxy owns.
    pub rules: usize,
    /// Service ports programmed.
    pub service_ports: usize,
    /// Endpoints programmed, counted once for each service port.
    pub endpoints: usize,
}

impl FamilyStatus {
    /// Whether nothing is waiting, or not yet for `timeout`.
    pub fn healthy(&self, now: Instant, timeout: Duration) -> bool {
        self.queued_since.is_none_or(|since| now.saturating_duration_since(since) < timeout)
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
