//! What the proxy shows to the outside: health, metrics, settings, events.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods, services, traffic};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        proxy_tells_health_metrics_mode_and_settings,
        node_that_is_about_to_go_takes_no_new_connections,
        health_port_of_a_load_balancer_follows_local_endpoints,
        taken_port_of_the_proxy_is_told_by_an_event,
    ]
}

const ANSWER: Duration = Duration::from_secs(5);

/// What dashboards read, of kube-proxy v1.36 in iptables mode after a sync.
const METRICS: [&str; 18] = [
    "kubeproxy_network_programming_duration_seconds",
    "kubeproxy_sync_full_proxy_rules_duration_seconds",
    "kubeproxy_sync_proxy_rules_duration_seconds",
    "kubeproxy_sync_proxy_rules_endpoint_changes_pending",
    "kubeproxy_sync_proxy_rules_endpoint_changes_total",
    "kubeproxy_sync_proxy_rules_iptables_last",
    "kubeproxy_sync_proxy_rules_iptables_total",
    "kubeproxy_sync_proxy_rules_last_queued_timestamp_seconds",
    "kubeproxy_sync_proxy_rules_last_timestamp_seconds",
    "kubeproxy_sync_proxy_rules_no_local_endpoints_total",
    "kubeproxy_sync_proxy_rules_service_changes_pending",
    "kubeproxy_sync_proxy_rules_service_changes_total",
    "kubeproxy_proxy_healthz_total",
    "kubeproxy_proxy_livez_total",
    "kubernetes_build_info",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

/// What is on the page only after something happened, or where the kernel counts packets.
const MORE_METRICS: [&str; 7] = [
    "kubeproxy_conntrack_reconciler_deleted_entries_total",
    "kubeproxy_conntrack_reconciler_sync_duration_seconds",
    "kubeproxy_iptables_ct_state_invalid_dropped_packets_total",
    "kubeproxy_iptables_localhost_nodeports_accepted_packets_total",
    "kubeproxy_sync_partial_proxy_rules_duration_seconds",
    "kubeproxy_sync_proxy_rules_iptables_partial_restore_failures_total",
    "kubeproxy_sync_proxy_rules_iptables_restore_failures_total",
];

/// Asks the node's own metrics port.
async fn metrics_port(node: &Node, path: &str) -> Result<(u16, String)> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 10249));
    traffic::http_get(Some(node.namespaces()), address, path, ANSWER).await
}

/// Asks the node's health port from the network.
async fn health_port(node: &Node, path: &str) -> Result<(u16, Value)> {
    let address = SocketAddr::new(node.place().v4().into(), 10256);
    let outside = Some(node.cluster().network().outside());
    let (status, body) = traffic::http_get(outside, address, path, ANSWER).await?;
    Ok((status, serde_json::from_str(&body).with_context(|| body.clone())?))
}

async fn wait_health(node: &Node, what: &str, expected: (u16, u16)) -> Result<()> {
    wait::until(what, LIMIT, || async {
        let (healthz, body) = health_port(node, "/healthz").await?;
        let (livez, _) = health_port(node, "/livez").await?;
        let eligible = &body["nodeEligible"];
        ensure!(*eligible == (healthz == 200) || livez != 200, "{healthz} {body}");
        Ok(match (healthz, livez) == expected {
            true => Look::Met(()),
            false => Look::NotYet(format!("/healthz {healthz}, /livez {livez}: {body}")),
        })
    })
    .await
}

async fn proxy_tells_health_metrics_mode_and_settings(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    // The slice of its pod says when the pod changed, which makes a sample of latency.
    let namespace = context.namespace().await?;
    cluster.create(&services::service(&namespace, "web", "server", "ClusterIP")).await?;
    let pod = services::server_pod(&namespace, "server", node.name(), "server");
    pods::run(&cluster, &pod, LIMIT).await?;
    wait_health(&node, "health", (200, 200)).await?;
    let (_, body) = health_port(&node, "/healthz").await?;
    let fields: Vec<&str> = body.as_object().into_iter().flatten().map(|(k, _)| &**k).collect();
    let expected = ["currentTime", "healthy", "lastUpdated", "nodeEligible", "status"];
    ensure!(fields == expected, "{body}");
    let family = &body["status"]["IPv4"];
    ensure!(family["healthy"] == true && family["lastUpdated"].is_string(), "{body}");
    let (_, body) = health_port(&node, "/livez").await?;
    ensure!(body["nodeEligible"].is_null() && body["healthy"] == true, "{body}");

    ensure!(metrics_port(&node, "/proxyMode").await? == (200, "iptables".to_owned()));
    ensure!(metrics_port(&node, "/healthz").await? == (200, "ok".to_owned()));
    ensure!(metrics_port(&node, "/nothing").await?.0 == 404);
    let (status, body) = metrics_port(&node, "/configz").await?;
    let body: Value = serde_json::from_str(&body).context(body)?;
    let config = &body["kubeproxy.config.k8s.io"];
    ensure!(status == 200, "{body}");
    for (pointer, value) in [
        ("/metricsBindAddress", json!("127.0.0.1:10249")),
        ("/iptables/syncPeriod", json!("30s")),
        ("/iptables/masqueradeBit", json!(14)),
        ("/hostnameOverride", json!(node.name())),
    ] {
        ensure!(config.pointer(pointer) == Some(&value), "{pointer}: {body}");
    }

    let page = wait::until("metrics of a sync", LIMIT, || async {
        let (status, page) = metrics_port(&node, "/metrics").await?;
        ensure!(status == 200, "{page}");
        let found: BTreeSet<&str> = page
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
            .collect();
        let missing: Vec<_> = METRICS.iter().filter(|name| !found.contains(*name)).collect();
        let known = |name: &str| METRICS.contains(&name) || MORE_METRICS.contains(&name);
        let strange: Vec<_> =
            found.iter().filter(|name| name.starts_with("kubeproxy_") && !known(name)).collect();
        ensure!(strange.is_empty(), "not of kube-proxy: {strange:?}");
        Ok(match missing.is_empty() {
            true => Look::Met(page),
            false => Look::NotYet(format!("missing {missing:?}\n{page}")),
        })
    })
    .await?;
    for line in [
        "kubeproxy_sync_proxy_rules_iptables_total{ip_family=\"IPv4\",table=\"nat\"}",
        "kubeproxy_sync_proxy_rules_duration_seconds_bucket{ip_family=\"IPv4\",le=\"0.001\"}",
        "kubeproxy_proxy_healthz_total{code=\"200\"}",
        "kubeproxy_sync_proxy_rules_endpoint_changes_total ",
        "kubeproxy_sync_proxy_rules_service_changes_pending ",
        "kubeproxy_sync_proxy_rules_no_local_endpoints_total{ip_family=\"IPv4\",\
         traffic_policy=\"internal\"}",
    ] {
        ensure!(page.lines().any(|found| found.starts_with(line)), "no {line}:\n{page}");
    }
    Ok(())
}

async fn node_that_is_about_to_go_takes_no_new_connections(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let client = cluster.client();
    let path = node.api_path();
    wait_health(&node, "health of a new node", (200, 200)).await?;
    let taint = |key: &str| json!({"spec": {"taints": [{"key": key, "effect": "NoSchedule", "value": "1"}]}});
    client.merge_patch(&path, &taint("ToBeDeletedByClusterAutoscaler")).await?;
    wait_health(&node, "health under the autoscaler's taint", (503, 200)).await?;
    client.merge_patch(&path, &taint("noded.test/other")).await?;
    wait_health(&node, "health under another taint", (200, 200)).await?;

    let finalizers = |list: &[&str]| json!({"metadata": {"finalizers": list}});
    client.merge_patch(&path, &finalizers(&["noded.test/hold"])).await?;
    client.delete(&path).await?;
    wait_health(&node, "health of a node being deleted", (503, 200)).await?;
    client.merge_patch(&path, &finalizers(&[])).await?;
    Ok(())
}

/// The whole answer, head and all, in lower case.
async fn ask_service(node: &Node, port: u16) -> Result<String> {
    let address = SocketAddr::new(node.place().v4().into(), port);
    let outside = Some(node.cluster().network().outside());
    let request = format!("GET / HTTP/1.0\r\nHost: {address}\r\n\r\n").into_bytes();
    let answer = traffic::tcp_exchange(outside, address, request, ANSWER).await?;
    Ok(String::from_utf8(answer)?.to_lowercase())
}

async fn wait_weight(node: &Node, port: u16, (status, weight): (&str, usize)) -> Result<String> {
    let header = format!("\r\nx-load-balancing-endpoint-weight: {weight}\r\n");
    wait::until(&format!("weight {weight} on port {port}"), LIMIT, || async {
        let answer = ask_service(node, port).await?;
        Ok(match answer.contains(&header) && answer.contains(&format!(" {status} ")) {
            true => Look::Met(answer),
            false => Look::NotYet(answer),
        })
    })
    .await
}

async fn health_port_of_a_load_balancer_follows_local_endpoints(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut service = services::service(&namespace, "web", "server", "LoadBalancer");
    service["spec"]["externalTrafficPolicy"] = "Local".into();
    let service = cluster.create(&service).await?;
    let port = service["spec"]["healthCheckNodePort"].as_u64().context("no health port")?;
    let port = u16::try_from(port)?;
    wait_weight(&node, port, ("503", 0)).await?;
    let pod = services::server_pod(&namespace, "server", node.name(), "server");
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let answer = wait_weight(&node, port, ("200", 1)).await?;
    let (_, body) = answer.split_once("\r\n\r\n").context("no body")?;
    let body: Value = serde_json::from_str(body).with_context(|| answer.clone())?;
    let expected = json!({
        "service": {"namespace": namespace, "name": "web"},
        "localendpoints": 1,
        "serviceproxyhealthy": true,
    });
    ensure!(body == expected, "{body}");
    let name = pod["metadata"]["name"].as_str().context("no name")?;
    cluster.client().delete(&pods::path(&namespace, name)).await?;
    wait_weight(&node, port, ("503", 0)).await?;
    cluster.client().delete(&format!("/api/v1/namespaces/{namespace}/services/web")).await?;
    wait::until("end of the health port", LIMIT, || async {
        match ask_service(&node, port).await {
            Ok(answer) => Ok(Look::NotYet(answer)),
            Err(error) => {
                let refused = error.chain().any(|cause| {
                    cause
                        .downcast_ref::<std::io::Error>()
                        .is_some_and(|cause| cause.kind() == std::io::ErrorKind::ConnectionRefused)
                });
                if refused { Ok(Look::Met(())) } else { bail!("{error:#}") }
            }
        }
    })
    .await
}

async fn taken_port_of_the_proxy_is_told_by_an_event(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    // The kubelet's health port.
    let proxy_config = json!({"metricsBindAddress": "127.0.0.1:10248"});
    let node = context.node(NodeOptions { proxy_config, ..NodeOptions::default() }).await?;
    let path = format!(
        "/api/v1/namespaces/default/events?fieldSelector=involvedObject.kind%3DNode,\
         involvedObject.name%3D{}",
        node.name()
    );
    wait::until("events of the proxy", LIMIT, || async {
        let events = cluster.client().list(&path).await?;
        let of_proxy = |reason: &str, kind: &str| {
            events.iter().any(|event| {
                event["reason"] == reason
                    && event["type"] == kind
                    && event["reportingComponent"] == "kube-proxy"
                    && event["action"] == "StartKubeProxy"
            })
        };
        // kube-proxy v1.36 fails before it begins to publish events, and never tells.
        let told = of_proxy("Starting", "Normal")
            && (peers_wanted() || of_proxy("FailedToStartMetricServer", "Warning"));
        Ok(if told { Look::Met(()) } else { Look::NotYet(format!("{events:#?}")) })
    })
    .await
}
