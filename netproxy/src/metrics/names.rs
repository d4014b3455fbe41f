//! Every metric with its name, help, labels and buckets.

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, Opts, Registry,
};

use super::usage::Usage;
use super::{BuildFacts, show_build};
use crate::config::ProxyMode;

const FAMILY: &[&str] = &["ip_family"];

/// All metrics of one mode.
pub(super) struct Families {
    pub(super) registry: Registry,
    pub(super) sync_duration: HistogramVec,
    pub(super) full_duration: HistogramVec,
    pub(super) partial_duration: HistogramVec,
    pub(super) programming: HistogramVec,
    pub(super) last_sync: GaugeVec,
    pub(super) last_queued: GaugeVec,
    pub(super) endpoint_changes: IntCounter,
    pub(super) endpoint_pending: Gauge,
    pub(super) service_changes: IntCounter,
    pub(super) service_pending: Gauge,
    /// Failures of the back end in use.
    pub(super) failures: IntCounterVec,
    pub(super) partial_failures: Option<IntCounterVec>,
    pub(super) cleanup_failures: Option<IntCounterVec>,
    pub(super) rules_total: Option<GaugeVec>,
    pub(super) rules_last: Option<GaugeVec>,
    pub(super) invalid_dropped: Option<IntCounter>,
    pub(super) localhost_node_ports: Option<IntCounter>,
    pub(super) no_local: GaugeVec,
    /// Ours; kube-proxy has nothing like it.
    pub(super) refused: GaugeVec,
    pub(super) healthz: IntCounterVec,
    pub(super) livez: IntCounterVec,
    pub(super) reconcile_duration: HistogramVec,
    pub(super) reconcile_deleted: IntCounterVec,
    pub(super) usage: Usage,
}

impl Families {
    pub(super) fn new(mode: ProxyMode, build: &BuildFacts) -> Self {
        let page = Page(Registry::new());
        show_build(&page.0, build);
        let iptables = mode != ProxyMode::Nftables;
        let (failures, partial_failures, cleanup_failures) = failures(&page, iptables);
        Self {
            sync_duration: page.durations(
                "sync_proxy_rules_duration_seconds",
                "Seconds that a sync of the rules took",
            ),
            full_duration: page.durations(
                "sync_full_proxy_rules_duration_seconds",
                "Seconds that a sync took which compared all rules",
            ),
            partial_duration: page.durations(
                "sync_partial_proxy_rules_duration_seconds",
                "Seconds that a sync took which wrote changes only",
            ),
            programming: page.histogram(
                "network_programming_duration_seconds",
                "Seconds from the change of a pod or Service until its rules were in place",
                programming_buckets(),
            ),
            last_sync: page.gauge(
                "sync_proxy_rules_last_timestamp_seconds",
                "When rules were last synced, in seconds since 1970",
                FAMILY,
            ),
            last_queued: page.gauge(
                "sync_proxy_rules_last_queued_timestamp_seconds",
                "When a sync was last asked for, in seconds since 1970",
                FAMILY,
            ),
            endpoint_changes: page
                .plain("sync_proxy_rules_endpoint_changes_total", "Changes of EndpointSlices"),
            endpoint_pending: page.plain_gauge(
                "sync_proxy_rules_endpoint_changes_pending",
                "Changes of EndpointSlices that wait for a sync",
            ),
            service_changes: page
                .plain("sync_proxy_rules_service_changes_total", "Changes of Services"),
            service_pending: page.plain_gauge(
                "sync_proxy_rules_service_changes_pending",
                "Changes of Services that wait for a sync",
            ),
            failures,
            partial_failures,
            cleanup_failures,
            rules_total: iptables.then(|| {
                page.gauge(
                    "sync_proxy_rules_iptables_total",
                    "Rules of the proxy in each table",
                    &["ip_family", "table"],
                )
            }),
            rules_last: iptables.then(|| {
                page.gauge(
                    "sync_proxy_rules_iptables_last",
                    "Rules that the last sync wrote to each table",
                    &["ip_family", "table"],
                )
            }),
            invalid_dropped: iptables.then(|| {
                page.plain(
                    "iptables_ct_state_invalid_dropped_packets_total",
                    "Forwarded packets dropped because connection tracking calls them invalid",
                )
            }),
            localhost_node_ports: iptables.then(|| {
                page.plain(
                    "iptables_localhost_nodeports_accepted_packets_total",
                    "Packets taken on NodePorts of loopback addresses",
                )
            }),
            no_local: page.gauge(
                "sync_proxy_rules_no_local_endpoints_total",
                "Service ports with endpoints, none of which a Local traffic policy finds here",
                &["traffic_policy", "ip_family"],
            ),
            refused: refused(&page),
            healthz: page.counter(
                "proxy_healthz_total",
                "Answers of /healthz by status code",
                &["code"],
            ),
            livez: page.counter("proxy_livez_total", "Answers of /livez by status code", &["code"]),
            reconcile_duration: page.durations(
                "conntrack_reconciler_sync_duration_seconds",
                "Seconds that a look for stale entries of connection tracking took",
            ),
            reconcile_deleted: page.counter(
                "conntrack_reconciler_deleted_entries_total",
                "Stale entries deleted from connection tracking",
                FAMILY,
            ),
            usage: Usage::new(&page.0),
            registry: page.0,
        }
    }
}

/// kube-proxy has nothing like it, so the name is ours.
fn refused(page: &Page) -> GaugeVec {
    let help = "Services whose rules the kernel refuses and that are left out";
    page.add(GaugeVec::new(Opts::new("noded_proxy_refused_services", help), FAMILY))
}

/// Failures of the back end in use; of its syncs of changes only; of removing what is not used.
fn failures(
    page: &Page,
    iptables: bool,
) -> (IntCounterVec, Option<IntCounterVec>, Option<IntCounterVec>) {
    let counter = |name, help| page.counter(name, help, FAMILY);
    if iptables {
        let all = counter(
            "sync_proxy_rules_iptables_restore_failures_total",
            "Syncs that iptables-restore refused",
        );
        let partial = counter(
            "sync_proxy_rules_iptables_partial_restore_failures_total",
            "Syncs of changes only that iptables-restore refused",
        );
        return (all, Some(partial), None);
    }
    let all =
        counter("sync_proxy_rules_nftables_sync_failures_total", "Syncs that nftables refused");
    let cleanup = counter(
        "sync_proxy_rules_nftables_cleanup_failures_total",
        "Removals of unused parts that nftables refused",
    );
    (all, None, Some(cleanup))
}

/// Registers metrics under the prefix `kubeproxy_`.
struct Page(Registry);

impl Page {
    fn add<T: Collector + Clone + 'static>(&self, metric: prometheus::Result<T>) -> T {
        let metric = metric.expect("names and labels are constants of the right form");
        self.0.register(Box::new(metric.clone())).expect("each name is used once");
        metric
    }

    fn durations(&self, name: &str, help: &str) -> HistogramVec {
        // 1 ms to 16 s, each twice the one before.
        let buckets = (0..15).map(|doublings| 0.001 * f64::from(1 << doublings));
        self.histogram(name, help, buckets.collect())
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> HistogramVec {
        let options = HistogramOpts::new(format!("kubeproxy_{name}"), help).buckets(buckets);
        self.add(HistogramVec::new(options, FAMILY))
    }

    fn gauge(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(format!("kubeproxy_{name}"), help), labels))
    }

    fn counter(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(Opts::new(format!("kubeproxy_{name}"), help), labels))
    }

    fn plain(&self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(Opts::new(format!("kubeproxy_{name}"), help)))
    }

    fn plain_gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(Opts::new(format!("kubeproxy_{name}"), help)))
    }
}

/// 0.25, 0.5, 1 to 59 by one, 60 to 115 by five, 120 to 300 by thirty.
fn programming_buckets() -> Vec<f64> {
    let seconds = (1..60).chain((60..120).step_by(5)).chain((120..=300).step_by(30));
    [0.25, 0.5].into_iter().chain(seconds.map(f64::from)).collect()
}
