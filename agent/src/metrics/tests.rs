use std::time::Duration;

use expect_test::expect;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use netproxy::metrics::BuildFacts;
use tokio::time::Instant;

use super::{Answer, CgroupOperation, Kind, NodeCounts, NodeMetrics, ProbeTarget, SyncKind, count};
use crate::model::PodUid;
use crate::server::serve::{RequestLabels, RequestMetrics, ServerKind};

const SECOND: Duration = Duration::from_secs(1);
const PODS: RequestLabels =
    RequestLabels { method: "GET", path: "pods", server: ServerKind::Secure, long_running: false };

fn metrics() -> NodeMetrics {
    let build =
        BuildFacts { kubernetes_version: "v1.36.3".to_owned(), own_version: "0.1.0".to_owned() };
    NodeMetrics::new("node-1", &build)
}

fn now() -> Timestamp {
    "2026-11-29T12:00:00Z".parse().unwrap()
}

fn lines(page: &str, prefix: &str) -> String {
    page.lines().filter(|line| line.starts_with(prefix)).map(|line| format!("{line}\n")).collect()
}

/// Every metric fed once, so that all of them show.
fn fed() -> NodeMetrics {
    let all = metrics();
    all.runtime.begin("version".to_owned()).succeeded();
    drop(all.runtime.begin("version".to_owned()));
    all.runtime.sandbox_made("", SECOND, false);
    all.runtime.losing_support("1.36.0");
    all.pleg.relisted(SECOND);
    all.pods.synced(SyncKind::Create, SECOND);
    all.pods.started(SECOND, Some(SECOND), true);
    all.pods.restarted(true);
    all.pods.preempted("cpu");
    all.pods.rejected("OutOfcpu");
    all.containers.start_begun(Kind::Regular);
    all.containers.start_failed(Kind::Init, "ErrImagePull");
    all.containers.ended_since(&api::PodStatus::default(), &ended("main", 137, "OOMKilled"));
    all.images.pulled(20 << 20, SECOND);
    all.volumes.mounted("kubernetes.io/empty-dir", true, SECOND);
    all.cgroups.worked(CgroupOperation::Create, SECOND);
    all.api.answered(Some(200), "GET", "10.0.0.1:6443", Instant::now());
    all.server.began(&PODS);
    all.server.ended(&PODS, None, SECOND);
    all.server.websocket("exec");
    all.certificates.client(Some(now()));
    all.certificates.serving(None);
    all
}

fn ended(name: &str, exit_code: i32, reason: &str) -> api::PodStatus {
    let terminated = api::ContainerStateTerminated {
        exit_code,
        reason: Some(reason.to_owned()),
        ..Default::default()
    };
    let state = api::ContainerState { terminated: Some(terminated), ..Default::default() };
    let status =
        api::ContainerStatus { name: name.to_owned(), state: Some(state), ..Default::default() };
    api::PodStatus { container_statuses: Some(vec![status]), ..Default::default() }
}

/// Name, type and labels of every family on the page.
fn families(page: &str) -> String {
    let mut shown = String::new();
    for line in page.lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            shown.push_str(&format!("{family}{}\n", labels(page, family)));
        }
    }
    shown
}

fn labels(page: &str, family: &str) -> String {
    let name = family.split(' ').next().unwrap_or_default();
    let series = page.lines().filter(|line| !line.starts_with('#'));
    let mut own = series.filter(|line| {
        line.strip_prefix(name).is_some_and(|rest| {
            ["{", " ", "_bucket{", "_count"].iter().any(|next| rest.starts_with(next))
        })
    });
    let Some((_, inner)) = own.next().and_then(|line| line.split_once('{')) else {
        return String::new();
    };
    let names = inner.split("\",").filter_map(|part| part.split_once("=\"")).map(|(name, _)| name);
    let names: Vec<&str> = names.filter(|name| *name != "le").collect();
    if names.is_empty() { String::new() } else { format!(" {{{}}}", names.join(",")) }
}

#[test]
fn every_metric_has_the_kubelets_name_type_and_labels() {
    let counts = count(&Default::default(), &Default::default(), Some(&Default::default()));
    expect![[r#"
        kubelet_active_pods gauge {static}
        kubelet_admission_rejections_total counter {reason}
        kubelet_certificate_manager_client_expiration_renew_errors counter
        kubelet_certificate_manager_client_ttl_seconds gauge
        kubelet_certificate_manager_server_rotation_seconds histogram
        kubelet_certificate_manager_server_ttl_seconds gauge
        kubelet_cgroup_manager_duration_seconds histogram {operation_type}
        kubelet_cgroup_version gauge
        kubelet_containers_per_pod_count histogram
        kubelet_cri_losing_support gauge {version}
        kubelet_desired_pods gauge {static}
        kubelet_evented_pleg_connection_error_count counter
        kubelet_evented_pleg_connection_success_count counter
        kubelet_first_network_pod_start_sli_duration_seconds gauge
        kubelet_http_inflight_requests gauge {long_running,method,path,server_type}
        kubelet_http_requests_duration_seconds histogram {long_running,method,path,server_type}
        kubelet_http_requests_total counter {long_running,method,path,server_type}
        kubelet_image_pull_duration_seconds histogram {image_size_in_bytes}
        kubelet_lifecycle_handler_http_fallbacks_total counter
        kubelet_managed_ephemeral_containers gauge
        kubelet_mirror_pods gauge
        kubelet_node_name gauge {node}
        kubelet_orphaned_runtime_pods_total counter
        kubelet_pleg_discard_events counter
        kubelet_pleg_last_seen_seconds gauge
        kubelet_pleg_pod_relist_duration_seconds histogram
        kubelet_pleg_relist_duration_seconds histogram
        kubelet_pleg_relist_interval_seconds histogram
        kubelet_pod_start_duration_seconds histogram
        kubelet_pod_start_sli_duration_seconds histogram
        kubelet_pod_start_total_duration_seconds histogram
        kubelet_pod_status_sync_duration_seconds histogram
        kubelet_pod_worker_duration_seconds histogram {operation_type}
        kubelet_pod_worker_start_duration_seconds histogram
        kubelet_preemptions counter {preemption_signal}
        kubelet_restarted_pods_total counter {static}
        kubelet_run_podsandbox_duration_seconds histogram {runtime_handler}
        kubelet_run_podsandbox_errors_total counter {runtime_handler}
        kubelet_running_pods gauge
        kubelet_runtime_operations_duration_seconds histogram {operation_type}
        kubelet_runtime_operations_errors_total counter {operation_type}
        kubelet_runtime_operations_total counter {operation_type}
        kubelet_server_expiration_renew_errors counter
        kubelet_sleep_action_terminated_early_total counter
        kubelet_started_containers_errors_total counter {code,container_type}
        kubelet_started_containers_total counter {container_type}
        kubelet_started_pods_errors_total counter
        kubelet_started_pods_total counter
        kubelet_started_user_namespaced_pods_errors_total counter
        kubelet_started_user_namespaced_pods_total counter
        kubelet_terminated_containers_total counter {container_type,exit_code,reason}
        kubelet_websocket_streaming_requests_total counter {subresource}
        kubelet_working_pods gauge {config,lifecycle,static}
        kubernetes_build_info gauge {compiler,git_version,major,minor,noded_version,platform}
        process_cpu_seconds_total counter
        process_max_fds gauge
        process_open_fds gauge
        process_resident_memory_bytes gauge
        process_start_time_seconds gauge
        process_virtual_memory_bytes gauge
        rest_client_request_duration_seconds histogram {host,verb}
        rest_client_requests_total counter {code,host,method}
        storage_operation_duration_seconds histogram {migrated,operation_name,status,volume_plugin}
    "#]]
    .assert_eq(&families(&fed().page(&counts, now())));
}

#[test]
fn probes_and_health_checks_have_pages_of_their_own() {
    let all = metrics();
    all.health.checked("ping", true);
    let series = all.probes.series(target());
    series.answered(Answer::Successful, SECOND);
    expect![[r#"
        prober_probe_duration_seconds histogram {container,namespace,pod,probe_type}
        prober_probe_total counter {container,namespace,pod,pod_uid,probe_type,result}
        process_start_time_seconds gauge
    "#]]
    .assert_eq(&families(&all.probes_page()));
    expect![[r#"
        kubernetes_healthcheck gauge {name,type}
        kubernetes_healthchecks_total counter {name,status,type}
        process_start_time_seconds gauge
    "#]]
    .assert_eq(&families(&all.slis_page()));
}

fn target() -> ProbeTarget {
    ProbeTarget {
        kind: "Liveness",
        container: "main".to_owned(),
        pod: "web".to_owned(),
        namespace: "shop".to_owned(),
        pod_uid: "u-1".to_owned(),
    }
}

#[test]
fn buckets_are_the_kubelets() {
    let page = fed().page(&NodeCounts::default(), now());
    let limits = |family: &str| {
        let lines = lines(&page, &format!("{family}_bucket"));
        let limits = lines.lines().filter_map(|line| line.split("le=\"").nth(1)?.split('"').next());
        limits.collect::<Vec<_>>().join(" ")
    };
    expect!["0.005 0.0125 0.03125 0.078125 0.1953125 0.48828125 1.220703125 3.0517578125 7.62939453125 19.073486328125 47.6837158203125 119.20928955078125 298.0232238769531 745.0580596923828 +Inf"]
        .assert_eq(&limits("kubelet_runtime_operations_duration_seconds"));
    expect!["0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 +Inf"]
        .assert_eq(&limits("kubelet_pleg_relist_duration_seconds"));
    expect![
        "0.5 1 2 3 4 5 6 8 10 20 30 45 60 120 180 240 300 360 480 600 900 1200 1800 2700 3600 +Inf"
    ]
    .assert_eq(&limits("kubelet_pod_start_duration_seconds"));
    expect!["0.01 0.05 0.1 0.5 1 5 10 20 30 45 60 +Inf"]
        .assert_eq(&limits("kubelet_pod_status_sync_duration_seconds"));
    expect!["1 2 4 8 16 +Inf"].assert_eq(&limits("kubelet_containers_per_pod_count"));
    expect!["1 5 10 20 30 60 120 180 240 300 360 480 600 900 1200 1800 2700 3600 +Inf"]
        .assert_eq(&limits("kubelet_image_pull_duration_seconds"));
    expect!["60 3600 14400 86400 604800 2592000 7776000 15552000 31104000 124416000 +Inf"]
        .assert_eq(&limits("kubelet_certificate_manager_server_rotation_seconds"));
}

#[test]
fn a_runtime_call_that_is_given_up_counts_as_failed() {
    let all = metrics();
    all.runtime.begin("version".to_owned()).succeeded();
    drop(all.runtime.begin("version".to_owned()));
    let page = all.page(&NodeCounts::default(), now());
    let total = "kubelet_runtime_operations_total{operation_type=\"version\"} 2\n";
    let errors = "kubelet_runtime_operations_errors_total{operation_type=\"version\"} 1\n";
    assert!(page.contains(total) && page.contains(errors), "{page}");
}

#[test]
fn reasons_of_refusals_are_a_closed_set() {
    let all = metrics();
    for reason in ["OutOfpods", "OutOfexample.com/gpu", "Whatever", "NodeAffinity"] {
        all.pods.rejected(reason);
    }
    expect![[r#"
        kubelet_admission_rejections_total{reason="Other"} 2
        kubelet_admission_rejections_total{reason="OutOfExtendedResources"} 1
        kubelet_admission_rejections_total{reason="OutOfpods"} 1
    "#]]
    .assert_eq(&lines(
        &all.page(&NodeCounts::default(), now()),
        "kubelet_admission_rejections_total",
    ));
}

#[test]
fn an_end_of_a_container_counts_once() {
    let all = metrics();
    let (first, other) = (ended("main", 1, "Error"), ended("main", 1, "Error"));
    all.containers.ended_since(&api::PodStatus::default(), &first);
    all.containers.ended_since(&first, &other);
    let page = all.page(&NodeCounts::default(), now());
    expect![[r#"
        kubelet_terminated_containers_total{container_type="container",exit_code="1",reason="Error"} 1
    "#]]
    .assert_eq(&lines(&page, "kubelet_terminated_containers_total"));
}

#[test]
fn requests_count_while_they_are_answered_and_after() {
    let all = metrics();
    let shown = |all: &NodeMetrics| {
        lines(&all.page(&NodeCounts::default(), now()), "kubelet_http_")
            .lines()
            .filter(|line| !line.contains("_bucket"))
            .map(|line| format!("{line}\n"))
            .collect::<String>()
    };
    all.server.began(&PODS);
    expect![[r#"
        kubelet_http_inflight_requests{long_running="false",method="GET",path="pods",server_type="readwrite"} 1
        kubelet_http_requests_total{long_running="false",method="GET",path="pods",server_type="readwrite"} 1
    "#]]
    .assert_eq(&shown(&all));
    all.server.ended(&PODS, None, SECOND);
    expect![[r#"
        kubelet_http_inflight_requests{long_running="false",method="GET",path="pods",server_type="readwrite"} 0
        kubelet_http_requests_duration_seconds_sum{long_running="false",method="GET",path="pods",server_type="readwrite"} 1
        kubelet_http_requests_duration_seconds_count{long_running="false",method="GET",path="pods",server_type="readwrite"} 1
        kubelet_http_requests_total{long_running="false",method="GET",path="pods",server_type="readwrite"} 1
    "#]]
    .assert_eq(&shown(&all));
}

#[test]
fn certificates_show_what_is_left_of_them_once_they_are_renewed() {
    let all = metrics();
    let left = |all: &NodeMetrics| {
        let page = all.page(&NodeCounts::default(), now());
        lines(&page, "kubelet_certificate_manager_client_ttl")
            + &lines(&page, "kubelet_certificate_manager_server_ttl")
    };
    assert_eq!(left(&all), "");
    all.certificates.client(Some(now() + jiff::SignedDuration::from_mins(2)));
    all.certificates.serving(None);
    expect![[r#"
        kubelet_certificate_manager_client_ttl_seconds 120
        kubelet_certificate_manager_server_ttl_seconds inf
    "#]]
    .assert_eq(&left(&all));
    all.certificates.serving(Some(now() - jiff::SignedDuration::from_secs(5)));
    assert!(left(&all).contains("server_ttl_seconds -5\n"));
}

#[test]
fn series_of_a_probe_go_with_it() {
    let all = metrics();
    let series = all.probes.series(target());
    series.answered(Answer::Failed, SECOND);
    series.answered(Answer::Unknown, SECOND);
    expect![[r#"
        prober_probe_duration_seconds_count{container="main",namespace="shop",pod="web",probe_type="Liveness"} 1
        prober_probe_total{container="main",namespace="shop",pod="web",pod_uid="u-1",probe_type="Liveness",result="failed"} 1
        prober_probe_total{container="main",namespace="shop",pod="web",pod_uid="u-1",probe_type="Liveness",result="unknown"} 1
    "#]]
    .assert_eq(
        &(lines(&all.probes_page(), "prober_probe_duration_seconds_count")
            + &lines(&all.probes_page(), "prober_probe_total")),
    );
    drop(series);
    assert_eq!(lines(&all.probes_page(), "prober"), "");
}

#[test]
fn health_checks_are_forgotten_on_demand() {
    let all = metrics();
    all.health.checked("syncloop", true);
    all.health.checked("syncloop", false);
    expect![[r#"
        kubernetes_healthcheck{name="syncloop",type="healthz"} 0
        kubernetes_healthchecks_total{name="syncloop",status="error",type="healthz"} 1
        kubernetes_healthchecks_total{name="syncloop",status="success",type="healthz"} 1
    "#]]
    .assert_eq(&lines(&all.slis_page(), "kubernetes_healthcheck"));
    all.health.reset();
    assert_eq!(lines(&all.slis_page(), "kubernetes_healthcheck"), "");
}

#[tokio::test(start_paused = true)]
async fn pulls_at_the_same_time_count_once_for_a_starting_pod() {
    let starts = metrics().pods.starts;
    let uid = PodUid::from("u-1");
    starts.pulled(&uid, Instant::now());
    assert_eq!(starts.end(&uid), None);
    starts.begin(&uid);
    let first = Instant::now();
    tokio::time::advance(SECOND).await;
    let second = Instant::now();
    tokio::time::advance(SECOND).await;
    starts.pulled(&uid, first);
    tokio::time::advance(SECOND).await;
    starts.pulled(&uid, second);
    assert_eq!(starts.end(&uid), Some(3 * SECOND));
    assert_eq!(starts.end(&uid), None);
}
