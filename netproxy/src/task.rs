//! The loop of the proxy.
//!
//! ```text
//! changes > ServiceMap > FamilyProxy (one for each family) > RuleSet > Applier > kernel
//!                                                                  \> ProxyStatus
//! ```

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::config::{ConfigProblem, IpFamily, NodePortAddresses, ProxyConfig};
use crate::conntrack::{Conntrack, ConntrackError, NetlinkConntrack, stale_flows};
use crate::family::FamilyProxy;
use crate::input::ServiceChange;
use crate::iptables::{Iptables, IptablesCommand, IptablesError};
use crate::machine::{LinuxMachine, Machine};
use crate::model::changes::ServiceMap;
use crate::pacing::Pacer;
use crate::rules::RuleContext;
use crate::rules::context::MachineFacts;
use crate::status::{FamilyStatus, ProxyStatus, SyncOutcome};
use crate::sysctl;

/// Changes taken in at once before a look at the clock. Bounds the time between two looks, not
/// the memory, which the channel bounds.
const BATCH: usize = 1024;

/// What the proxy works on.
#[derive(Clone)]
pub struct Backends {
    /// The families to program, each with its iptables; at least one.
    pub iptables: BTreeMap<IpFamily, Arc<dyn Iptables>>,
    /// Connection tracking.
    pub conntrack: Arc<dyn Conntrack>,
    /// Addresses and settings.
    pub machine: Arc<dyn Machine>,
}

impl Backends {
    /// The real ones, for every family whose iptables works here. Fails when none does.
    pub async fn detect() -> Result<Self, ProxyError> {
        let mut iptables: BTreeMap<IpFamily, Arc<dyn Iptables>> = BTreeMap::new();
        let mut failure = None;
        for family in [IpFamily::V4, IpFamily::V6] {
            let command = IptablesCommand::new(family);
            // A dump touches the kernel; the version alone would say yes without IPv6.
            match command.save().await {
                Ok(_) => {
                    iptables.insert(family, Arc::new(command));
                }
                Err(error) => {
                    info!(%family, %error, "family is not programmed");
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            Some(failure) if iptables.is_empty() => Err(ProxyError::NoFamily(failure)),
            _ => Ok(Self {
                iptables,
                conntrack: Arc::new(NetlinkConntrack),
                machine: Arc::new(LinuxMachine),
            }),
        }
    }
}

/// The proxy cannot run, or cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The configuration is unusable.
    #[error("proxy configuration is unusable: {}", join(.0))]
    Config(Vec<ConfigProblem>),
    /// iptables works for no family.
    #[error("iptables works neither for IPv4 nor for IPv6")]
    NoFamily(#[source] IptablesError),
    /// Whoever sent the changes is gone.
    #[error("changes of services and endpoints have ended")]
    ChangesEnded,
}

fn join(problems: &[ConfigProblem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Programs the rules for the services and endpoints that `changes` tells of, until `stop`.
///
/// Nothing is written before every kind of object was listed once. On return the rules stay in
/// place, so that traffic survives a restart; [`cleanup`](crate::iptables::cleanup::cleanup)
/// removes them. `status` gets a new value after each sync and whenever changes begin to wait.
pub async fn run(
    config: ProxyConfig,
    changes: mpsc::Receiver<ServiceChange>,
    backends: Backends,
    status: watch::Sender<ProxyStatus>,
    stop: CancellationToken,
) -> Result<(), ProxyError> {
    let problems = config.problems();
    if !problems.is_empty() {
        return Err(ProxyError::Config(problems));
    }
    ProxyTask::start(config, backends, status).await.run(changes, stop).await
}

struct ProxyTask {
    config: ProxyConfig,
    conntrack: Arc<dyn Conntrack>,
    machine: Arc<dyn Machine>,
    liberal_conntrack: bool,
    map: ServiceMap,
    families: Vec<FamilyProxy>,
    next_check: Instant,
    status: watch::Sender<ProxyStatus>,
}

impl ProxyTask {
    async fn start(
        config: ProxyConfig,
        backends: Backends,
        status: watch::Sender<ProxyStatus>,
    ) -> Self {
        sysctl::ensure_settings(&config, &*backends.machine);
        let mut families = Vec::new();
        for (family, iptables) in backends.iptables {
            let random_fully = match iptables.version().await {
                Ok(version) => version.has_random_fully(),
                Err(error) => {
                    warn!(%family, %error, "cannot tell the iptables version");
                    false
                }
            };
            let pacer = Pacer::new(config.min_sync_period, config.sync_period);
            let mut proxy = FamilyProxy::new(family, iptables, pacer);
            proxy.random_fully = random_fully;
            // The fixed rules have to be written even if there is not a single service.
            proxy.pacer.changed(Instant::now());
            families.push(proxy);
        }
        Self {
            next_check: Instant::now() + config.sync_period,
            liberal_conntrack: sysctl::liberal_conntrack(&*backends.machine),
            config,
            conntrack: backends.conntrack,
            machine: backends.machine,
            map: ServiceMap::default(),
            families,
            status,
        }
    }

    async fn run(
        mut self,
        mut changes: mpsc::Receiver<ServiceChange>,
        stop: CancellationToken,
    ) -> Result<(), ProxyError> {
        let mut batch = Vec::with_capacity(BATCH);
        self.publish();
        loop {
            let wake = self.next_wake();
            // All three are cancel safe: a token and a timer hold nothing, and `recv_many` takes
            // changes only when it is the arm that ends the wait.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = changes.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return Err(ProxyError::ChangesEnded);
                    }
                    self.take_in(&mut batch);
                }
                () = tokio::time::sleep_until(wake) => {}
            }
            // Also after changes, so that a steady stream of them cannot keep syncs away.
            self.run_due().await;
        }
    }

    /// The earliest time at which something has to be done.
    fn next_wake(&self) -> Instant {
        let due = self.families.iter().filter_map(|family| family.pacer.next_run());
        // Without the lists there is nothing to sync.
        let due = due.filter(|_| self.map.all_synced()).min();
        due.map_or(self.next_check, |due| due.min(self.next_check))
    }

    fn take_in(&mut self, batch: &mut Vec<ServiceChange>) {
        for change in batch.drain(..) {
            if let Some(unreadable) = self.map.apply(change) {
                let texts: Vec<&str> = unreadable.texts.iter().map(|text| &**text).collect();
                warn!(
                    kind = ?unreadable.kind,
                    object = %unreadable.object,
                    values = ?texts,
                    "values cannot be read, the rest of the object is used"
                );
            }
        }
        let dirty = self.map.take_dirty();
        if dirty.is_empty() {
            return;
        }
        let waited = self.families.iter().any(|family| family.pacer.waiting_since().is_some());
        let now = Instant::now();
        for family in &mut self.families {
            family.mark(&dirty, now);
        }
        if !waited {
            self.publish();
        }
    }

    async fn run_due(&mut self) {
        let now = Instant::now();
        if now >= self.next_check {
            self.next_check = now + self.config.sync_period;
            self.check_for_flush(now).await;
        }
        if !self.map.all_synced() {
            return;
        }
        for position in 0..self.families.len() {
            let due = self.families[position].pacer.next_run();
            if due.is_some_and(|due| due <= Instant::now()) {
                self.sync(position).await;
            }
        }
    }

    /// Somebody may have flushed our chains, a restarted firewall for instance.
    async fn check_for_flush(&mut self, now: Instant) {
        for proxy in &mut self.families {
            match proxy.applier.lost().await {
                Ok(false) => {}
                Ok(true) => {
                    warn!(family = %proxy.family, "rules were flushed by somebody else, writing them again");
                    proxy.applier.forget();
                    proxy.pacer.changed(now);
                }
                Err(error) => {
                    debug!(family = %proxy.family, %error, "cannot check for flushed rules");
                }
            }
        }
    }

    async fn sync(&mut self, position: usize) {
        let start = Instant::now();
        let local_addresses = self.node_port_candidates();
        let proxy = &mut self.families[position];
        let machine = MachineFacts {
            local_addresses: &local_addresses,
            random_fully: proxy.random_fully,
            liberal_conntrack: self.liberal_conntrack,
        };
        let context = RuleContext::new(&self.config, proxy.family, self.map.node(), machine);
        let rules = proxy.plan(&self.map, context);
        let rule_count = rules.rule_count();
        if proxy.pacer.full_due(start) {
            proxy.applier.forget();
        }
        let full = proxy.applier.needs_full();
        let failure = match proxy.applier.sync(rules).await {
            Ok(report) => {
                proxy.pacer.succeeded(start, report.full);
                debug!(family = %proxy.family, ?report, "synced");
                None
            }
            Err(error) => {
                proxy.pacer.failed(start);
                Some(Arc::from(with_causes(&error)))
            }
        };
        if failure.is_none() && proxy.udp_changed {
            self.clear_stale_flows(position).await;
        }
        let outcome = SyncOutcome { failure, full, duration: start.elapsed() };
        self.report(position, outcome, rule_count);
    }

    /// Addresses that a restricted list of NodePort addresses is matched with.
    fn node_port_candidates(&self) -> Vec<IpAddr> {
        match self.config.node_port_addresses {
            NodePortAddresses::All | NodePortAddresses::Primary => Vec::new(),
            NodePortAddresses::Within(_) => {
                self.machine.local_addresses().unwrap_or_else(|error| {
                    warn!(%error, "cannot list local addresses, node ports do not answer");
                    Vec::new()
                })
            }
        }
    }

    /// Only after the rules are in place; before, a packet could bring a stale entry back. A
    /// failure leaves the flag set, so the next sync tries again.
    async fn clear_stale_flows(&mut self, position: usize) {
        let proxy = &mut self.families[position];
        let local = self.machine.local_addresses().unwrap_or_default();
        let cleared: Result<usize, ConntrackError> = async {
            if proxy.udp_targets().next().is_none() {
                return Ok(0);
            }
            let flows = self.conntrack.list_udp(proxy.family).await?;
            let stale = stale_flows(&flows, proxy.udp_targets(), &local);
            if !stale.is_empty() {
                self.conntrack.delete(&stale).await?;
            }
            Ok(stale.len())
        }
        .await;
        match cleared {
            Ok(count) => {
                proxy.udp_changed = false;
                debug!(family = %proxy.family, count, "cleared stale UDP flows");
            }
            Err(error) => {
                warn!(family = %proxy.family, error = %with_causes(&error), "cannot clear stale UDP flows");
            }
        }
    }

    /// Logs a failure or a recovery once, and publishes the outcome.
    fn report(&self, position: usize, outcome: SyncOutcome, rules: usize) {
        let proxy = &self.families[position];
        let family = proxy.family;
        self.status.send_modify(|status| {
            self.fill(status);
            let entry: &mut FamilyStatus = status.families.entry(family).or_default();
            let before = entry.last_sync.take().and_then(|last| last.failure);
            match (&before, &outcome.failure) {
                (Some(_), None) => info!(%family, "sync works again"),
                (before, Some(failure)) if before.as_ref() != Some(failure) => {
                    error!(%family, error = %failure, "sync failed");
                }
                _ => {}
            }
            if outcome.failure.is_none() {
                let counts = proxy.counts();
                entry.last_success = Some(Instant::now());
                entry.rules = rules;
                entry.service_ports = counts.service_ports;
                entry.endpoints = counts.endpoints;
            }
            entry.last_sync = Some(outcome);
        });
    }

    fn publish(&self) {
        self.status.send_modify(|status| self.fill(status));
    }

    fn fill(&self, status: &mut ProxyStatus) {
        status.services = self.map.service_count();
        status.slices = self.map.slice_count();
        for proxy in &self.families {
            let entry = status.families.entry(proxy.family).or_default();
            entry.queued_since = proxy.pacer.waiting_since();
        }
    }
}

/// An error with everything that caused it, on one line.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// How long changes may wait before the proxy counts as unhealthy (twice the sync period,
/// kube-proxy v1.36).
pub fn health_timeout(config: &ProxyConfig) -> Duration {
    config.sync_period * 2
}
