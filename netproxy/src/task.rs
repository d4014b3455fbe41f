//! The loop of the proxy.
//!
//! ```text
//! changes > ServiceMap > FamilyProxy (one for each family) > RuleSet > Applier > kernel
//!                                                                  \> ProxyStatus
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::backend::{Backend, TableRules};
use crate::config::{ConfigProblem, IpFamily, ProxyConfig};
use crate::conntrack::{
    Conntrack, ConntrackReconciler, NetlinkConntrack, Reconcile, ReconcileOutcome,
};
use crate::events::ProxyEvent;
use crate::family::FamilyProxy;
use crate::health::{ServiceHealth, wanted_ports};
use crate::input::ServiceChange;
use crate::interference::{
    Interest, Mend, Mending, RuleEvent, RuleWatch, watch_legacy, watch_nftables,
};
use crate::iptables::{Flavour, Iptables, IptablesBackend, IptablesError, flavour};
use crate::machine::{LinuxMachine, Machine};
use crate::metrics::ProxyMetrics;
use crate::mode::Leftovers;
use crate::model::changes::ServiceMap;
use crate::nfacct::{self, AccountingCounters, AccountingObjects, NetlinkAccounting};
use crate::node_addresses::NodeAddresses;
use crate::outside::Outside;
use crate::pacing::Pacer;
use crate::rules::context::MachineFacts;
use crate::rules::{NodePortDestinations, RuleContext};
use crate::status::{FamilyStatus, ProxyStatus, SyncOutcome, with_causes};
use crate::sysctl::{self, ConntrackEnsured};

/// Changes taken in at once before a look at the clock. Bounds the time between two looks, not
/// the memory, which the channel bounds.
const BATCH: usize = 1024;

/// What the proxy works on.
pub struct Backends {
    /// The families to program; at least one.
    pub families: BTreeMap<IpFamily, Box<dyn Backend>>,
    /// Connection tracking.
    pub conntrack: Arc<dyn Conntrack>,
    /// Addresses and settings.
    pub machine: Arc<dyn Machine>,
    /// Counters that rules count in; without, rules count nothing.
    pub counters: Option<Arc<dyn AccountingCounters>>,
    /// Metrics, events and ports; nobody by default.
    pub outside: Outside,
    /// Tells of rules that others change; without, only the check for lost rules notices them.
    pub watch: Option<Box<dyn RuleWatch>>,
    /// Rules of the other mode, to be removed once ours are in place.
    pub leftovers: Vec<Leftovers>,
}

impl Backends {
    /// Back ends that write through these, without counters.
    pub fn over_iptables(
        iptables: BTreeMap<IpFamily, Arc<dyn Iptables>>,
        conntrack: Arc<dyn Conntrack>,
        machine: Arc<dyn Machine>,
    ) -> Self {
        let families = iptables.into_iter().map(|(family, iptables)| {
            let backend: Box<dyn Backend> = Box::new(IptablesBackend::new(iptables, family));
            (family, backend)
        });
        Self {
            families: families.collect(),
            conntrack,
            machine,
            counters: None,
            outside: Outside::default(),
            watch: None,
            leftovers: Vec::new(),
        }
    }

    /// The real ones, for every family whose iptables works here. Fails when none does.
    pub async fn detect() -> Result<Self, ProxyError> {
        let mut families: BTreeMap<IpFamily, Box<dyn Backend>> = BTreeMap::new();
        let mut failure = None;
        let choice = flavour::detect().await.map_err(ProxyError::NoFamily)?;
        for family in [IpFamily::V4, IpFamily::V6] {
            let command = choice.command(family);
            // A dump touches the kernel; the version alone would say yes without IPv6.
            match command.save_mangle().await {
                Ok(_) => {
                    // The other flavour is seen in both families at once and told once.
                    let other = choice.other.filter(|_| families.is_empty());
                    let backend = IptablesBackend::new(Arc::new(command), family).beside(other);
                    families.insert(family, Box::new(backend));
                }
                Err(error) => {
                    info!(%family, %error, "family is not programmed");
                    failure.get_or_insert(error);
                }
            }
        }
        match failure {
            Some(failure) if families.is_empty() => Err(ProxyError::NoFamily(failure)),
            _ => {
                let watch = match choice.flavour {
                    Flavour::Nft => watch_nftables(Interest::Iptables),
                    Flavour::Legacy => watch_legacy(),
                };
                Ok(Self { watch, ..Self::over_kernel(families) })
            }
        }
    }

    /// These back ends beside the rest of this machine.
    pub fn over_kernel(families: BTreeMap<IpFamily, Box<dyn Backend>>) -> Self {
        Self {
            families,
            conntrack: Arc::new(NetlinkConntrack),
            machine: Arc::new(LinuxMachine),
            counters: Some(Arc::new(NetlinkAccounting)),
            outside: Outside::default(),
            watch: None,
            leftovers: Vec::new(),
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
    reconciler: ConntrackReconciler,
    machine: Arc<dyn Machine>,
    addresses: NodeAddresses,
    counters: AccountingObjects,
    conntrack_ensured: ConntrackEnsured,
    liberal_conntrack: bool,
    map: ServiceMap,
    families: Vec<FamilyProxy>,
    next_check: Instant,
    status: watch::Sender<ProxyStatus>,
    outside: Outside,
    service_health: Option<ServiceHealth>,
    watch: Option<Box<dyn RuleWatch>>,
    mending: Mending,
    leftovers: Vec<Leftovers>,
}

impl ProxyTask {
    async fn start(
        config: ProxyConfig,
        backends: Backends,
        status: watch::Sender<ProxyStatus>,
    ) -> Self {
        let machine = backends.machine;
        sysctl::ensure_route_localnet(&config, &*machine);
        let conntrack_ensured = sysctl::ensure_conntrack(&config.conntrack, &*machine);
        let counters = match &backends.counters {
            Some(counters) => nfacct::ensure_counters(&**counters).await,
            None => AccountingObjects::default(),
        };
        let outside = backends.outside;
        let mut families = Vec::new();
        for (family, backend) in backends.families {
            let random_fully = backend.random_fully().await;
            let pacer = Pacer::new(config.min_sync_period, config.sync_period);
            let mut proxy = FamilyProxy::new(family, backend, pacer);
            proxy.random_fully = random_fully;
            // The fixed rules have to be written even if there is not a single service.
            proxy.pacer.changed(Instant::now());
            outside.metrics.queued(family);
            families.push(proxy);
        }
        outside.events.publish(ProxyEvent::Starting);
        let service_health = outside.ports.clone().map(|ports| {
            let events = Arc::clone(&outside.events);
            ServiceHealth::new(ports, events, status.subscribe(), health_timeout(&config))
        });
        let mending = Mending::new(config.sync_period);
        Self {
            next_check: Instant::now() + config.sync_period,
            liberal_conntrack: sysctl::liberal_conntrack(&config.conntrack, &*machine),
            reconciler: reconciler(backends.conntrack, status.clone(), outside.metrics.clone()),
            addresses: NodeAddresses::start(&config, machine.clone()),
            counters,
            conntrack_ensured,
            machine,
            config,
            map: ServiceMap::default(),
            families,
            status,
            outside,
            service_health,
            watch: backends.watch,
            leftovers: backends.leftovers,
            mending,
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
            // All are cancel safe: a token and a timer hold nothing, `recv_many` takes changes
            // only when it is the arm that ends the wait, a change of addresses is told as soon
            // as it is read, and a watch keeps what it noticed.
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                received = changes.recv_many(&mut batch, BATCH) => {
                    if received == 0 {
                        return Err(ProxyError::ChangesEnded);
                    }
                    self.take_in(&mut batch);
                }
                () = self.addresses.changed() => {
                    let now = Instant::now();
                    self.families.iter_mut().for_each(|family| family.pacer.changed(now));
                }
                event = next_event(&mut self.watch) => self.mend(&event),
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
        let families: Vec<IpFamily> = self.families.iter().map(|proxy| proxy.family).collect();
        self.outside.metrics.changes_seen(&families, &self.map.take_tally());
        let dirty = self.map.take_dirty();
        if dirty.is_empty() {
            // No rule depends on it, but load balancers do.
            if self.status.borrow().eligibility != self.map.node().eligibility {
                self.publish();
            }
            return;
        }
        let waited = self.families.iter().any(|family| family.pacer.waiting_since().is_some());
        let now = Instant::now();
        for family in &mut self.families {
            family.mark(&dirty, now);
            self.outside.metrics.queued(family.family);
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

    /// Somebody else changed rules; what is live is compared with what should be.
    fn mend(&mut self, event: &RuleEvent) {
        let now = Instant::now();
        let mend = match event {
            RuleEvent::Foreign(_) => self.mending.noticed(now),
            // Nobody says that our rules were touched.
            RuleEvent::Missed | RuleEvent::LegacyRun => Mend { at: now, tell: false },
        };
        if mend.tell {
            warn!(%event, "rules were changed by somebody else, mending them");
        } else {
            debug!(%event, "looking at the rules");
        }
        for proxy in self.families.iter_mut().filter(|proxy| event.concerns(proxy.family)) {
            proxy.backend.forget();
            proxy.pacer.changed(mend.at);
        }
    }

    /// Our rules of that family are in place, so those of the other mode can go. What cannot be
    /// removed is tried again after the next full sync.
    async fn remove_leftovers(&mut self, family: IpFamily) {
        let (ours, others) =
            self.leftovers.drain(..).partition(|leftovers| leftovers.family == family);
        self.leftovers = others;
        let ours: Vec<Leftovers> = ours;
        for leftovers in ours {
            match leftovers.remove().await {
                Ok(true) => info!(%family, "removed the rules of the other mode"),
                Ok(false) => {}
                Err(error) => {
                    warn!(%family, error = %with_causes(&error), "rules of the other mode stay");
                    self.leftovers.push(leftovers);
                }
            }
        }
    }

    /// Somebody may have flushed our chains, a restarted firewall for instance.
    async fn check_for_flush(&mut self, now: Instant) {
        for proxy in &mut self.families {
            match proxy.backend.lost().await {
                Ok(false) => {}
                Ok(true) => {
                    warn!(family = %proxy.family, "rules were flushed by somebody else, writing them again");
                    proxy.backend.forget();
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
        let proxy = &mut self.families[position];
        let machine = MachineFacts {
            local_addresses: self.addresses.current(),
            random_fully: proxy.random_fully,
            liberal_conntrack: self.liberal_conntrack,
        };
        let context = RuleContext::new(&self.config, proxy.family, self.map.node(), machine)
            .with_counters(self.counters)
            .with_service_cidrs(self.map.service_cidrs());
        let node_ports = context.node_ports.clone();
        if proxy.pacer.refused_due(start) {
            proxy.mark_refused();
        }
        proxy.plan(&self.map, context);
        if proxy.pacer.full_due(start) {
            proxy.backend.forget();
        }
        let full = proxy.backend.needs_full();
        let (failure, tables) = match proxy.backend.sync().await {
            Ok(report) => {
                proxy.pacer.succeeded(start, report.full);
                proxy.pacer.refused(Instant::now(), proxy.has_refused());
                debug!(family = %proxy.family, ?report, "synced");
                (None, report.tables)
            }
            Err(error) => {
                proxy.pacer.failed(start);
                (Some(Arc::from(with_causes(&error))), BTreeMap::new())
            }
        };
        if failure.is_none() {
            self.follow_up(position, &node_ports);
            if full && !self.leftovers.is_empty() {
                self.remove_leftovers(self.families[position].family).await;
            }
        }
        let outcome = SyncOutcome { failure, full, duration: start.elapsed() };
        self.report(position, outcome, tables);
    }

    /// Load balancers are told only of endpoints that the rules lead to.
    fn show_service_health(&mut self, position: usize, addresses: &NodePortDestinations) {
        let Some(health) = &mut self.service_health else { return };
        let (proxy, map) = (&self.families[position], &self.map);
        let ports = proxy
            .ports()
            .map(|port| (&port.name.service, port.health_check_node_port, &port.local_ready));
        health.apply(proxy.family, addresses, &wanted_ports(ports, |key| map.uid_of(key)));
    }

    /// What waits for rules that are in place.
    fn follow_up(&mut self, position: usize, node_ports: &NodePortDestinations) {
        self.show_service_health(position, node_ports);
        if self.conntrack_ensured == ConntrackEnsured::NotLoaded {
            // Rules made the kernel load it.
            self.conntrack_ensured =
                sysctl::ensure_conntrack(&self.config.conntrack, &*self.machine);
        }
        let proxy = &mut self.families[position];
        if std::mem::take(&mut proxy.udp_changed) {
            // Only now; before, a packet could bring a stale entry back.
            self.reconciler.reconcile(Reconcile {
                family: proxy.family,
                targets: proxy.udp_targets().cloned().collect(),
                node_port_addresses: match node_ports {
                    NodePortDestinations::All => self.machine.local_addresses().unwrap_or_default(),
                    NodePortDestinations::Only(addresses) => addresses.clone(),
                },
            });
        }
    }

    /// Logs a failure or a recovery once, and publishes the outcome.
    fn report(
        &self,
        position: usize,
        outcome: SyncOutcome,
        tables: BTreeMap<&'static str, TableRules>,
    ) {
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
                entry.rules = tables.values().map(|table| table.total).sum();
                entry.tables = tables;
                entry.service_ports = counts.service_ports;
                entry.endpoints = counts.endpoints;
                entry.no_local_internal = counts.no_local_internal;
                entry.no_local_external = counts.no_local_external;
            }
            for finding in proxy.backend.findings().difference(&entry.findings) {
                warn!(%family, %finding, "the rules are not quite what was asked for");
                let event = ProxyEvent::of_finding(finding, |key| self.map.uid_of(key));
                self.outside.events.publish(event);
            }
            entry.findings.clone_from(proxy.backend.findings());
            self.outside.metrics.sync_finished(family, &outcome, entry);
            entry.last_sync = Some(outcome);
        });
    }

    fn publish(&self) {
        self.status.send_modify(|status| self.fill(status));
    }

    fn fill(&self, status: &mut ProxyStatus) {
        status.services = self.map.service_count();
        status.slices = self.map.slice_count();
        status.eligibility = self.map.node().eligibility;
        for proxy in &self.families {
            let entry = status.families.entry(proxy.family).or_default();
            entry.queued_since = proxy.pacer.waiting_since();
        }
    }
}

/// The next event of a watch; none ever without one.
async fn next_event(watch: &mut Option<Box<dyn RuleWatch>>) -> RuleEvent {
    match watch {
        Some(watch) => watch.next().await,
        None => std::future::pending().await,
    }
}

/// The task that clears stale entries; what it did goes into the status.
fn reconciler(
    conntrack: Arc<dyn Conntrack>,
    status: watch::Sender<ProxyStatus>,
    metrics: ProxyMetrics,
) -> ConntrackReconciler {
    ConntrackReconciler::spawn(conntrack, move |outcome: ReconcileOutcome| {
        metrics.conntrack_reconciled(outcome.family, outcome.duration, outcome.deleted);
        status.send_modify(|status| {
            status.families.entry(outcome.family).or_default().conntrack.add(outcome);
        });
    })
}

/// How long changes may wait before the proxy counts as unhealthy (twice the sync period,
/// kube-proxy v1.36).
pub fn health_timeout(config: &ProxyConfig) -> Duration {
    config.sync_period * 2
}
