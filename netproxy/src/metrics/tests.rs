use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use expect_test::expect;
use jiff::Timestamp;

use super::{BuildFacts, ProxyMetrics};
use crate::backend::TableRules;
use crate::config::{IpFamily, ProxyMode};
use crate::model::changes::ChangeTally;
use crate::nfacct::INVALID_DROPPED;
use crate::status::{FamilyStatus, SyncOutcome};
use crate::testing::FakeAccounting;

struct World {
    now: Arc<Mutex<Timestamp>>,
    metrics: ProxyMetrics,
}

fn start() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn build() -> BuildFacts {
    BuildFacts { kubernetes_version: "v1.36.3".into(), own_version: "0.1.0".into() }
}

impl World {
    fn new(mode: ProxyMode) -> Self {
        let now = Arc::new(Mutex::new(start()));
        let clock = Arc::clone(&now);
        let metrics = ProxyMetrics::new(mode, &build(), Arc::new(move || *clock.lock().unwrap()));
        Self { now, metrics }
    }

    fn at(&self, seconds: u64) {
        *self.now.lock().unwrap() = start() + Duration::from_secs(seconds);
    }

    /// The lines of the page that begin so, without what is the same on every page.
    async fn lines(&self, prefix: &str) -> String {
        let page = self.metrics.page().await;
        let lines = page.lines().filter(|line| line.starts_with(prefix));
        lines.map(|line| format!("{line}\n")).collect()
    }
}

fn outcome(failure: Option<&str>, full: bool, millis: u64) -> SyncOutcome {
    let duration = Duration::from_millis(millis);
    SyncOutcome { failure: failure.map(Arc::from), full, duration }
}

fn after() -> FamilyStatus {
    let tables = [("filter", (10, 4)), ("nat", (20, 6))]
        .map(|(table, (total, written))| (table, TableRules { total, written }));
    FamilyStatus { tables: tables.into(), no_local_internal: 2, ..FamilyStatus::default() }
}

async fn names(mode: ProxyMode) -> BTreeSet<String> {
    let world = World::new(mode);
    world.metrics.sync_finished(IpFamily::V4, &outcome(None, true, 5), &after());
    world.metrics.sync_finished(IpFamily::V4, &outcome(Some("no"), false, 5), &after());
    world.metrics.queued(IpFamily::V4);
    world.metrics.conntrack_reconciled(IpFamily::V4, Duration::ZERO, 1);
    world.metrics.nftables_cleanup_failed(IpFamily::V4);
    world.metrics.healthz_answered(http::StatusCode::OK);
    world.metrics.livez_answered(http::StatusCode::OK);
    let trigger = (IpFamily::V4, start());
    let tally = ChangeTally { triggers: vec![trigger], ..ChangeTally::default() };
    world.metrics.changes_seen(&[IpFamily::V4], &tally);
    world.metrics.sync_finished(IpFamily::V4, &outcome(None, true, 5), &after());
    let page = world.metrics.page().await;
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(str::to_owned).collect()
}

#[tokio::test]
async fn names_and_types_are_those_of_kube_proxy() {
    let iptables = names(ProxyMode::Iptables).await;
    let nftables = names(ProxyMode::Nftables).await;
    let text = |set: &mut dyn Iterator<Item = &String>| {
        set.map(|line| format!("{line}\n")).collect::<String>()
    };
    expect![[r#"
        kubeproxy_conntrack_reconciler_deleted_entries_total counter
        kubeproxy_conntrack_reconciler_sync_duration_seconds histogram
        kubeproxy_network_programming_duration_seconds histogram
        kubeproxy_proxy_healthz_total counter
        kubeproxy_proxy_livez_total counter
        kubeproxy_sync_full_proxy_rules_duration_seconds histogram
        kubeproxy_sync_partial_proxy_rules_duration_seconds histogram
        kubeproxy_sync_proxy_rules_duration_seconds histogram
        kubeproxy_sync_proxy_rules_endpoint_changes_pending gauge
        kubeproxy_sync_proxy_rules_endpoint_changes_total counter
        kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds gauge
        kubeproxy_sync_proxy_rules_last_timestamp_seconds gauge
        kubeproxy_sync_proxy_rules_no_local_endpoints_total gauge
        kubeproxy_sync_proxy_rules_service_changes_pending gauge
        kubeproxy_sync_proxy_rules_service_changes_total counter
        kubernetes_build_info gauge
        noded_proxy_refused_services gauge
        process_cpu_seconds_total counter
        process_max_fds gauge
        process_open_fds gauge
        process_resident_memory_bytes gauge
        process_start_time_seconds gauge
        process_virtual_memory_bytes gauge
    "#]]
    .assert_eq(&text(&mut iptables.intersection(&nftables)));
    expect![[r#"
        kubeproxy_iptables_ct_state_invalid_dropped_packets_total counter
        kubeproxy_iptables_localhost_nodeports_accepted_packets_total counter
        kubeproxy_sync_proxy_rules_iptables_last gauge
        kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total counter
        kubeproxy_sync_proxy_rules_iptables_restore_failures_total counter
        kubeproxy_sync_proxy_rules_iptables_total gauge
    "#]]
    .assert_eq(&text(&mut iptables.difference(&nftables)));
    expect![[r#"
        kubeproxy_sync_proxy_rules_nftables_cleanup_failures_total counter
        kubeproxy_sync_proxy_rules_nftables_sync_failures_total counter
    "#]]
    .assert_eq(&text(&mut nftables.difference(&iptables)));
}

#[tokio::test]
async fn page_tells_a_sync_and_what_it_left() {
    let world = World::new(ProxyMode::Iptables);
    world.at(1);
    world.metrics.queued(IpFamily::V4);
    world.at(2);
    world.metrics.sync_finished(IpFamily::V4, &outcome(None, false, 3), &after());
    expect![[r#"
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.001"} 0
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.002"} 0
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.004"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.008"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.016"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.032"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.064"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.128"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.256"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="0.512"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="1.024"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="2.048"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="4.096"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="8.192"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="16.384"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family="IPv4",le="+Inf"} 1
        kubeproxy_sync_proxy_rules_duration_seconds_sum{ip_family="IPv4"} 0.003
        kubeproxy_sync_proxy_rules_duration_seconds_count{ip_family="IPv4"} 1
    "#]]
    .assert_eq(&world.lines("kubeproxy_sync_proxy_rules_duration").await);
    expect![[r#"
        kubeproxy_sync_proxy_rules_iptables_last{ip_family="IPv4",table="filter"} 4
        kubeproxy_sync_proxy_rules_iptables_last{ip_family="IPv4",table="nat"} 6
        kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv4",table="filter"} 10
        kubeproxy_sync_proxy_rules_iptables_total{ip_family="IPv4",table="nat"} 20
        kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds{ip_family="IPv4"} 1795255201
        kubeproxy_sync_proxy_rules_last_timestamp_seconds{ip_family="IPv4"} 1795255202
        kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="external"} 0
        kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family="IPv4",traffic_policy="internal"} 2
    "#]]
    .assert_eq(
        &(world.lines("kubeproxy_sync_proxy_rules_iptables").await
            + &world.lines("kubeproxy_sync_proxy_rules_last").await
            + &world.lines("kubeproxy_sync_proxy_rules_no").await),
    );
    expect![[r#"
        kubernetes_build_info{compiler="rustc",git_version="v1.36.3",major="1",minor="36",noded_version="0.1.0",platform="linux/amd64"} 1
    "#]]
    .assert_eq(&world.lines("kubernetes_build_info").await.replace("arm64", "amd64"));
}

#[tokio::test]
async fn failures_count_by_kind_and_leave_the_rest_as_it_was() {
    let world = World::new(ProxyMode::Iptables);
    for full in [true, false] {
        world.metrics.sync_finished(IpFamily::V6, &outcome(Some("no"), full, 1), &after());
    }
    let prefix = "kubeproxy_sync_proxy_rules_iptables";
    expect![[r#"
        kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total{ip_family="IPv6"} 1
        kubeproxy_sync_proxy_rules_iptables_restore_failures_total{ip_family="IPv6"} 2
    "#]]
    .assert_eq(&world.lines(prefix).await);
    assert_eq!(world.lines("kubeproxy_sync_proxy_rules_last_timestamp").await, "");
}

#[tokio::test]
async fn latency_is_told_from_the_cause_to_the_rules() {
    let world = World::new(ProxyMode::Iptables);
    let trigger = |seconds: i64| (IpFamily::V4, start() + jiff::SignedDuration::from_secs(seconds));
    let tally = ChangeTally {
        services: 2,
        slices: [(IpFamily::V4, 3)].into(),
        triggers: vec![trigger(-1), trigger(1), trigger(4), (IpFamily::V6, start())],
    };
    world.metrics.changes_seen(&[IpFamily::V4], &tally);
    world.at(7);
    let pending = "kubeproxy_sync_proxy_rules_endpoint_changes";
    expect![[r#"
        kubeproxy_sync_proxy_rules_endpoint_changes_pending 3
        kubeproxy_sync_proxy_rules_endpoint_changes_total 3
    "#]]
    .assert_eq(&world.lines(pending).await);
    world.metrics.sync_finished(IpFamily::V4, &outcome(Some("no"), false, 1), &after());
    let latency = "kubeproxy_network_programming_duration_seconds_";
    assert_eq!(world.lines(latency).await, "");
    for _ in 0..2 {
        world.metrics.sync_finished(IpFamily::V4, &outcome(None, true, 1), &after());
    }
    // What happened before the start, and what is of a family that is not programmed, is left out.
    expect![[r#"
        kubeproxy_network_programming_duration_seconds_sum{ip_family="IPv4"} 9
    "#]]
    .assert_eq(&world.lines(&format!("{latency}sum")).await);
    expect![[r#"
        kubeproxy_network_programming_duration_seconds_count{ip_family="IPv4"} 2
    "#]]
    .assert_eq(&world.lines(&format!("{latency}count")).await);
    // 0.25, 0.5, 1 to 59, 60 to 115 by 5, 120 to 300 by 30, and infinity.
    let buckets = world.lines(&format!("{latency}bucket")).await;
    assert_eq!(buckets.lines().count(), 2 + 59 + 12 + 7 + 1);
    expect![[r#"
        kubeproxy_sync_proxy_rules_endpoint_changes_pending 0
        kubeproxy_sync_proxy_rules_endpoint_changes_total 3
    "#]]
    .assert_eq(&world.lines(pending).await);
}

#[tokio::test]
async fn packets_are_those_the_kernel_counted() {
    let clock = Arc::new(start);
    let mode = ProxyMode::Iptables;
    let kernel = FakeAccounting::new();
    kernel.set(INVALID_DROPPED, 7);
    let metrics = ProxyMetrics::with_packets(mode, &build(), clock, Some(kernel));
    for _ in 0..2 {
        let page = metrics.page().await;
        let line = "kubeproxy_iptables_ct_state_invalid_dropped_packets_total 7\n";
        assert!(page.contains(line), "{page}");
    }
}
