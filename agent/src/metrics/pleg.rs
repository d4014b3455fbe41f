//! Looking at the runtime.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, IntCounter, Registry};
use tokio::time::Instant;

use super::register::{Register, unseen};
use super::{DEFAULT_BUCKETS, seconds};

/// How the runtime is watched. Cheap to clone.
#[derive(Clone)]
pub struct PlegMetrics {
    relist: Histogram,
    interval: Histogram,
    pod_relist: Histogram,
    last_seen: Arc<Mutex<Option<Instant>>>,
    connections: IntCounter,
    losses: IntCounter,
}

unseen!(PlegMetrics);

impl PlegMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        // Pods are told as whole snapshots here, so that there is nothing to discard.
        register.counter("kubelet_pleg_discard_events", "Events about pods that were dropped");
        Self {
            relist: register.histogram(
                "kubelet_pleg_relist_duration_seconds",
                "Seconds that a list of all pods in the runtime took",
                &DEFAULT_BUCKETS,
            ),
            interval: register.histogram(
                "kubelet_pleg_relist_interval_seconds",
                "Seconds between two lists of all pods in the runtime",
                &DEFAULT_BUCKETS,
            ),
            pod_relist: register.histogram(
                "kubelet_pleg_pod_relist_duration_seconds",
                "Seconds that reading one pod from the runtime took",
                &DEFAULT_BUCKETS,
            ),
            last_seen: Arc::default(),
            connections: register.counter(
                "kubelet_evented_pleg_connection_success_count",
                "How often the stream of the runtime's events was opened",
            ),
            losses: register.counter(
                "kubelet_evented_pleg_connection_error_count",
                "How often the stream of the runtime's events was lost or could not be opened",
            ),
        }
    }

    /// A list of all pods begins, so long after the one before.
    pub fn relist_begins(&self, since_last: Option<Duration>) {
        if let Some(since_last) = since_last {
            self.interval.observe(seconds(since_last));
        }
    }

    /// A list of all pods was answered just now, after so long.
    pub fn relisted(&self, took: Duration) {
        self.relist.observe(seconds(took));
        *self.last_seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// One pod was read after so long.
    pub fn pod_read(&self, took: Duration) {
        self.pod_relist.observe(seconds(took));
    }

    /// Events come in.
    pub fn events_up(&self) {
        self.connections.inc();
    }

    /// No events come in any more.
    pub fn events_lost(&self) {
        self.losses.inc();
    }

    /// When the runtime was last listed, by the clock that shows `now`; nothing before it was.
    pub(super) fn families(&self, now: Timestamp) -> Vec<MetricFamily> {
        let seen = *self.last_seen.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(seen) = seen else { return Vec::new() };
        let ago = SignedDuration::try_from(seen.elapsed()).unwrap_or(SignedDuration::MAX);
        let at = now.saturating_sub(ago).unwrap_or(Timestamp::MIN);
        let registry = Registry::new();
        let help = "When the runtime was last listed, in seconds since 1970";
        let gauge = Register(&registry).gauge("kubelet_pleg_last_seen_seconds", help);
        gauge.set(at.as_millisecond() as f64 / 1e3);
        registry.gather()
    }
}
