//! The metrics of the proxy, under kube-proxy's names.
//!
//! **What.** Counters, gauges and histograms that the loop feeds, and the page that shows them.
//! **Owns.** The values, and when the changes that wait for a sync were caused.
//! **Reads.** This task's own use of the machine, when somebody asks for the page.
//! **Invariants.** Feeding a value never waits. A metric of one mode is not shown in the other.
//! **Source.** Names, labels and buckets of kube-proxy v1.36; the words of the help are ours.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use prometheus::TextEncoder;

use crate::backend::TableRules;
use crate::config::{IpFamily, ProxyMode};
use crate::model::changes::ChangeTally;
use crate::nfacct::{AccountingCounters, INVALID_DROPPED, LOCALHOST_ACCEPTED};
use crate::status::{FamilyStatus, SyncOutcome};

mod build;
mod names;
mod routes;
mod usage;

pub use build::{BuildFacts, show_build};
use names::Families;
pub use routes::MetricsRoutes;
pub use usage::Usage;

/// Causes kept per family while syncs fail; the oldest ones are dropped beyond. More would tell
/// nothing new, and memory stays bounded.
const PENDING_TRIGGERS: usize = 10_000;

/// The time of day.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The metrics. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct ProxyMetrics(Arc<Shared>);

struct Shared {
    families: Families,
    clock: WallClock,
    started: Timestamp,
    packets: Option<Arc<dyn AccountingCounters>>,
    pending: Mutex<BTreeMap<IpFamily, Waiting>>,
}

/// Changes that wait for a sync of one family.
#[derive(Default)]
struct Waiting {
    services: usize,
    slices: usize,
    /// When changes of slices were caused, the oldest first.
    triggers: VecDeque<Timestamp>,
}

impl ProxyMetrics {
    /// Metrics of the proxy in this mode, all zero. `Auto` counts as iptables.
    pub fn new(mode: ProxyMode, build: &BuildFacts, clock: WallClock) -> Self {
        Self::with_packets(mode, build, clock, None)
    }

    /// The same, with counters of the kernel on the page.
    pub fn with_packets(
        mode: ProxyMode,
        build: &BuildFacts,
        clock: WallClock,
        packets: Option<Arc<dyn AccountingCounters>>,
    ) -> Self {
        Self(Arc::new(Shared {
            families: Families::new(mode, build),
            started: clock(),
            clock,
            packets,
            pending: Mutex::default(),
        }))
    }

    /// The time of day as these metrics tell it.
    pub fn clock(&self) -> WallClock {
        Arc::clone(&self.0.clock)
    }

    /// A sync of the family was asked for.
    pub fn queued(&self, family: IpFamily) {
        self.0.families.last_queued.with_label_values(&[family.name()]).set(self.seconds());
    }

    /// Changes came in. Those of services count for each of the `families` that are programmed.
    pub fn changes_seen(&self, families: &[IpFamily], tally: &ChangeTally) {
        let known = &self.0.families;
        let mut pending = self.pending();
        for family in families {
            let slices = tally.slices.get(family).copied().unwrap_or_default();
            known.service_changes.inc_by(tally.services as u64);
            known.endpoint_changes.inc_by(slices as u64);
            let waiting = pending.entry(*family).or_default();
            waiting.services += tally.services;
            waiting.slices += slices;
        }
        for (family, at) in &tally.triggers {
            // What happened before this program started says nothing about it.
            if *at < self.0.started {
                continue;
            }
            if let Some(waiting) = pending.get_mut(family) {
                if waiting.triggers.len() >= PENDING_TRIGGERS {
                    waiting.triggers.pop_front();
                }
                waiting.triggers.push_back(*at);
            }
        }
        self.show_pending(&pending);
    }

    /// A sync of the family ended as `outcome` tells, which left it in this state.
    pub fn sync_finished(&self, family: IpFamily, outcome: &SyncOutcome, after: &FamilyStatus) {
        let known = &self.0.families;
        let label = &[family.name()];
        let seconds = outcome.duration.as_secs_f64();
        known.sync_duration.with_label_values(label).observe(seconds);
        let kind = if outcome.full { &known.full_duration } else { &known.partial_duration };
        kind.with_label_values(label).observe(seconds);
        if outcome.failure.is_some() {
            known.failures.with_label_values(label).inc();
            if let Some(partial) = known.partial_failures.as_ref().filter(|_| !outcome.full) {
                partial.with_label_values(label).inc();
            }
            return;
        }
        known.last_sync.with_label_values(label).set(self.seconds());
        for (policy, count) in
            [("internal", after.no_local_internal), ("external", after.no_local_external)]
        {
            known.no_local.with_label_values(&[policy, family.name()]).set(count as f64);
        }
        known.refused.with_label_values(label).set(after.refused().count() as f64);
        self.show_tables(family, &after.tables);
        self.observe_waiting(family);
    }

    /// A look at connection tracking after a sync took so long and deleted so many entries.
    pub fn conntrack_reconciled(&self, family: IpFamily, took: Duration, deleted: usize) {
        let known = &self.0.families;
        known.reconcile_duration.with_label_values(&[family.name()]).observe(took.as_secs_f64());
        known.reconcile_deleted.with_label_values(&[family.name()]).inc_by(deleted as u64);
    }

    /// What nobody needs any more could not be removed from our nftables table.
    pub fn nftables_cleanup_failed(&self, family: IpFamily) {
        if let Some(failures) = &self.0.families.cleanup_failures {
            failures.with_label_values(&[family.name()]).inc();
        }
    }

    /// `/healthz` was answered with this code.
    pub fn healthz_answered(&self, code: StatusCode) {
        self.0.families.healthz.with_label_values(&[code.as_str()]).inc();
    }

    /// `/livez` was answered with this code.
    pub fn livez_answered(&self, code: StatusCode) {
        self.0.families.livez.with_label_values(&[code.as_str()]).inc();
    }

    /// The page, in the text format of Prometheus.
    pub async fn page(&self) -> String {
        let known = &self.0.families;
        if let Some(packets) = &self.0.packets {
            for (counter, shown) in [
                (INVALID_DROPPED, &known.invalid_dropped),
                (LOCALHOST_ACCEPTED, &known.localhost_node_ports),
            ] {
                if let (Some(shown), Ok(count)) = (shown, packets.count(counter).await) {
                    shown.reset();
                    shown.inc_by(count.packets);
                }
            }
        }
        known.usage.update();
        let encoder = TextEncoder::new();
        encoder.encode_to_string(&known.registry.gather()).unwrap_or_default()
    }

    fn show_tables(&self, family: IpFamily, tables: &BTreeMap<&'static str, TableRules>) {
        let known = &self.0.families;
        let (Some(total), Some(last)) = (&known.rules_total, &known.rules_last) else { return };
        for (table, rules) in tables {
            let label = &[family.name(), table];
            total.with_label_values(label).set(rules.total as f64);
            last.with_label_values(label).set(rules.written as f64);
        }
    }

    /// What waited is done.
    fn observe_waiting(&self, family: IpFamily) {
        let mut pending = self.pending();
        let now = (self.0.clock)();
        for at in pending.remove(&family).unwrap_or_default().triggers {
            let seconds = now.duration_since(at).as_secs_f64().max(0.0);
            self.0.families.programming.with_label_values(&[family.name()]).observe(seconds);
        }
        self.show_pending(&pending);
    }

    fn show_pending(&self, pending: &BTreeMap<IpFamily, Waiting>) {
        let sum = |count: fn(&Waiting) -> usize| pending.values().map(count).sum::<usize>() as f64;
        self.0.families.service_pending.set(sum(|waiting| waiting.services));
        self.0.families.endpoint_pending.set(sum(|waiting| waiting.slices));
    }

    fn pending(&self) -> MutexGuard<'_, BTreeMap<IpFamily, Waiting>> {
        self.0.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seconds(&self) -> f64 {
        let now = (self.0.clock)();
        now.as_nanosecond() as f64 / 1e9
    }
}

#[cfg(test)]
mod tests;
