//! The pages of the kubelet server that tell of the node's own work: metrics, configuration,
//! files, profiles and checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use integration::agent_config::KUBELET_PORT;
use integration::exposition::Page;
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::pki::Identity;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use reqwest::{Certificate, Client, Method};
use serde_json::{Value, json};

use crate::LIMIT;

/// A call that answers later than this has failed.
const DEADLINE: Duration = Duration::from_secs(60);

pub fn tests() -> Vec<Test> {
    integration::tests![
        pages_are_read_through_the_api_server,
        metrics_tell_of_the_life_of_a_pod,
        metrics_and_configuration_match_the_upstream_kubelets,
        logs_never_leave_their_directory,
        queries_of_node_logs_need_to_be_enabled,
        checkpoints_say_why_there_are_none,
        profiles_and_verbosity_are_for_those_who_may_everything,
        pages_can_be_switched_off,
    ]
}

/// A caller who may do everything, at the node's own port.
struct Direct {
    client: Client,
    address: String,
}

impl Direct {
    fn to(node: &Node) -> Result<Self> {
        let authority = node.cluster().pki().authority();
        let pair = authority.client(Identity { user: "tester", group: Some("system:masters") })?;
        let identity = format!("{}{}", pair.certificate, pair.key);
        let trusted = fs::read(node.root_directory().join("pki/kubelet.crt"))?;
        let client = Client::builder()
            .tls_certs_only(Certificate::from_pem_bundle(&trusted)?)
            .identity(reqwest::Identity::from_pem(identity.as_bytes())?)
            .resolve(node.name(), SocketAddr::new(node.place().v4().into(), KUBELET_PORT))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(DEADLINE)
            .no_proxy()
            .build()?;
        Ok(Self { client, address: format!("https://{}:{KUBELET_PORT}", node.name()) })
    }

    async fn send(&self, method: Method, path: &str, body: &str) -> Result<(u16, String)> {
        let request = self.client.request(method, format!("{}{path}", self.address));
        let answer = request.body(body.to_owned()).send().await.with_context(|| path.to_owned())?;
        let code = answer.status().as_u16();
        Ok((code, String::from_utf8_lossy(&answer.bytes().await?).into_owned()))
    }

    async fn get(&self, path: &str) -> Result<(u16, String)> {
        self.send(Method::GET, path, "").await
    }

    async fn expect(&self, path: &str, code: u16) -> Result<String> {
        let (found, text) = self.get(path).await?;
        ensure!(found == code, "{path}: {found} {text}");
        Ok(text)
    }
}

/// A pod that is probed.
fn probed_pod(namespace: &str, node: &Node) -> Value {
    let mut pod = pods::script_pod(namespace, "probed", node.name(), "sleep 3600");
    pod["spec"]["containers"][0]["livenessProbe"] =
        json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    pod
}

async fn pages_are_read_through_the_api_server(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::run(&cluster, &probed_pod(&namespace, &node), LIMIT).await?;
    let uid = pods::uid(&pod)?.to_owned();
    let raw = async |path: &str| {
        let path = format!("{}/proxy{path}", node.api_path());
        cluster.kubectl(&["get", "--raw", &path]).await
    };
    let successful = format!("pod_uid=\"{uid}\",probe_type=\"Liveness\",result=\"successful\"}}");
    wait::until("the probe is counted", LIMIT, || async {
        let page = raw("/metrics/probes").await?;
        let counted = page
            .lines()
            .any(|line| line.starts_with("prober_probe_total{") && line.contains(&successful));
        Ok(if counted { Look::Met(()) } else { Look::NotYet(page) })
    })
    .await?;
    raw("/healthz").await?;
    for (path, part) in [
        ("/metrics", "kubelet_node_name{node="),
        ("/metrics/slis", "kubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1"),
        ("/runningpods/", uid.as_str()),
        ("/flagz", "kubelet flagz"),
        ("/statusz", "kubelet statusz"),
        ("/logs/", "<a href=\"pods/\">pods/</a>"),
        ("/debug/pprof/", "profile"),
    ] {
        let page = raw(path).await?;
        ensure!(page.contains(part), "{path} lacks {part}: {page}");
    }
    let configz: Value = serde_json::from_str(&raw("/configz").await?)?;
    ensure!(configz["kubeletconfig"]["clusterDomain"] == "cluster.local", "{configz}");
    let list: Value = serde_json::from_str(&raw("/runningpods/").await?)?;
    ensure!(list["kind"] == "PodList" && list["apiVersion"] == "v1", "{list}");
    Ok(())
}

async fn metrics_tell_of_the_life_of_a_pod(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let direct = Direct::to(&node)?;
    let namespace = context.namespace().await?;
    pods::run(&cluster, &probed_pod(&namespace, &node), LIMIT).await?;
    let mut broken = pods::pause_pod(&namespace, "broken", node.name());
    broken["spec"]["containers"][0]["image"] = json!("registry.invalid/none:1");
    broken["spec"]["containers"][0]["imagePullPolicy"] = json!("Never");
    cluster.create(&broken).await?;
    let ended = pods::script_pod(&namespace, "ended", node.name(), "exit 3");
    let mut ended = ended;
    ended["spec"]["restartPolicy"] = json!("Never");
    pods::run_to_end(&cluster, &ended, LIMIT).await?;
    let wanted = [
        ("kubelet_running_pods", 1.0),
        ("kubelet_running_containers{container_state=\"running\"}", 1.0),
        ("kubelet_desired_pods{static=\"\"}", 3.0),
        ("kubelet_started_pods_total", 2.0),
        ("kubelet_started_containers_total{container_type=\"container\"}", 2.0),
        (
            "kubelet_started_containers_errors_total{code=\"ErrImageNeverPull\",\
             container_type=\"container\"}",
            1.0,
        ),
        (
            "kubelet_terminated_containers_total{container_type=\"container\",exit_code=\"3\",\
             reason=\"Error\"}",
            1.0,
        ),
        ("kubelet_runtime_operations_total{operation_type=\"run_podsandbox\"}", 2.0),
        ("kubelet_runtime_operations_total{operation_type=\"exec_sync\"}", 1.0),
        ("kubelet_pod_start_duration_seconds_count", 1.0),
        ("kubelet_pod_start_sli_duration_seconds_count", 1.0),
        ("kubelet_pod_status_sync_duration_seconds_count", 3.0),
        ("kubelet_pod_worker_duration_seconds_count{operation_type=\"create\"}", 3.0),
        ("kubelet_cgroup_manager_duration_seconds_count{operation_type=\"create\"}", 2.0),
        ("kubelet_pleg_relist_duration_seconds_count", 1.0),
        ("process_cpu_seconds_total", 0.01),
    ];
    wait::until("all of it is counted", LIMIT, || async {
        let page = direct.expect("/metrics", 200).await?;
        well_formed(&page)?;
        let values = samples(&page);
        let missing: Vec<_> = wanted
            .iter()
            .filter(|(series, least)| values.get(*series).is_none_or(|value| value < least))
            .map(|(series, least)| format!("{series} >= {least}: {:?}", values.get(*series)))
            .collect();
        Ok(if missing.is_empty() { Look::Met(()) } else { Look::NotYet(missing.join("\n")) })
    })
    .await?;
    well_formed(&direct.expect("/metrics/probes", 200).await?)?;
    well_formed(&direct.expect("/metrics/slis", 200).await?)?;
    // What goes takes its series with it.
    cluster.client().force_delete(&pods::path(&namespace, "probed")).await?;
    wait::until("the series are gone", LIMIT, || async {
        let page = direct.expect("/metrics/probes", 200).await?;
        Ok(if page.contains(&namespace) { Look::NotYet(page) } else { Look::Met(()) })
    })
    .await
}

/// The values of a page by series.
fn samples(page: &str) -> BTreeMap<&str, f64> {
    let lines = page.lines().filter(|line| !line.starts_with('#'));
    let parts = lines.filter_map(|line| line.rsplit_once(' '));
    parts.filter_map(|(series, value)| Some((series, value.parse().ok()?))).collect()
}

/// The families of a page with their types.
fn families(page: &str) -> BTreeMap<&str, &str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' ')).collect()
}

/// Whether Prometheus would have nothing against the page.
fn well_formed(page: &str) -> Result<()> {
    let problems = Page::read(page).problems;
    ensure!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

async fn metrics_and_configuration_match_the_upstream_kubelets(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let namespace = context.namespace().await?;
    let ours = context.node(NodeOptions::default()).await?;
    let theirs = context.peer_node(NodeOptions::default()).await?;
    for (number, node) in [&ours, &theirs].into_iter().enumerate() {
        let mut pod = probed_pod(&namespace, node);
        pod["metadata"]["name"] = json!(format!("probed-{number}"));
        pods::run(&cluster, &pod, LIMIT).await?;
    }
    // Where the upstream kubelet keeps its certificate is its own business.
    let page = async |node: &Node, path: &str| {
        cluster.client().get_text(&format!("{}/proxy{path}", node.api_path())).await
    };
    let (mine, upstream) = (page(&ours, "/metrics").await?, page(&theirs, "/metrics").await?);
    let (mine, upstream) = (families(&mine), families(&upstream));
    let known = ["kubelet_", "rest_client_", "kubernetes_build_info", "process_"];
    let shared = mine.iter().filter(|(name, _)| known.iter().any(|part| name.starts_with(part)));
    let mut strange = Vec::new();
    for (name, kind) in shared {
        match upstream.get(name) {
            Some(theirs) if theirs == kind => {}
            // Families with labels show once something happened.
            None if SHOWN_EARLIER.contains(name) => {}
            other => strange.push(format!("{name} {kind}, upstream {other:?}")),
        }
    }
    ensure!(strange.is_empty(), "{strange:#?}");
    let missing: Vec<_> = ALERTED_ON.iter().filter(|name| !mine.contains_key(*name)).collect();
    ensure!(missing.is_empty(), "{missing:?}");

    let configuration = async |node: &Node| -> Result<Value> {
        let mut page: Value = serde_json::from_str(&page(node, "/configz").await?)?;
        let config = page["kubeletconfig"].as_object_mut().context("no kubeletconfig")?;
        // Each node has its own.
        for field in [
            "cgroupRoot",
            "containerRuntimeEndpoint",
            "staticPodPath",
            "tlsCertFile",
            "tlsPrivateKeyFile",
        ] {
            ensure!(config.remove(field).is_some(), "{field} is missing");
        }
        Ok(page)
    };
    let (mine, upstream) = (configuration(&ours).await?, configuration(&theirs).await?);
    let differ = differences("", &mine, &upstream);
    ensure!(differ.is_empty(), "noded, upstream: {differ:#?}");

    for path in ["/flagz", "/statusz", "/metrics/slis", "/metrics/probes", "/runningpods/"] {
        page(&ours, path).await?;
        page(&theirs, path).await.context("upstream")?;
    }
    Ok(())
}

/// Families that noded shows from the start and upstream once something has happened, or where it
/// renews certificates.
const SHOWN_EARLIER: [&str; 10] = [
    "kubelet_active_pods",
    "kubelet_certificate_manager_client_expiration_renew_errors",
    "kubelet_certificate_manager_client_ttl_seconds",
    "kubelet_certificate_manager_server_rotation_seconds",
    "kubelet_desired_pods",
    "kubelet_pod_start_sli_duration_seconds",
    "kubelet_pod_start_total_duration_seconds",
    "kubelet_running_containers",
    "kubelet_server_expiration_renew_errors",
    "kubelet_working_pods",
];

/// What the rules of kube-prometheus and common dashboards read.
const ALERTED_ON: [&str; 15] = [
    "kubelet_node_name",
    "kubelet_running_pods",
    "kubelet_running_containers",
    "kubelet_pleg_relist_duration_seconds",
    "kubelet_pleg_relist_interval_seconds",
    "kubelet_pod_worker_duration_seconds",
    "kubelet_pod_start_duration_seconds",
    "kubelet_runtime_operations_total",
    "kubelet_runtime_operations_duration_seconds",
    "kubelet_cgroup_manager_duration_seconds",
    "kubelet_http_requests_total",
    "kubernetes_build_info",
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
];

/// Where two values differ.
fn differences(path: &str, one: &Value, other: &Value) -> Vec<String> {
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
            let null = Value::Null;
            names
                .into_iter()
                .flat_map(|name| {
                    let values = (one.get(name).unwrap_or(&null), other.get(name).unwrap_or(&null));
                    differences(&format!("{path}.{name}"), values.0, values.1)
                })
                .collect()
        }
        _ if one == other => Vec::new(),
        _ => vec![format!("{path}: {one}, {other}")],
    }
}

async fn logs_never_leave_their_directory(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let direct = Direct::to(&node)?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "echo seen; sleep 3600");
    pods::run(&cluster, &pod, LIMIT).await?;
    fs::write(node.var_log().join("plain.log"), "one\ntwo\n")?;
    symlink("/etc/passwd", node.var_log().join("passwd"))?;
    symlink("../../etc", node.var_log().join("etc"))?;
    ensure!(direct.expect("/logs/plain.log", 200).await? == "one\ntwo\n");
    ensure!(direct.expect("/logs/", 200).await?.contains("<a href=\"plain.log\">plain.log</a>"));
    direct.expect("/logs/containers", 301).await?;
    let listing = direct.expect("/logs/containers/", 200).await?;
    let log = listing.split('"').find(|part| part.starts_with("a_")).context("no log")?.to_owned();
    // The links of containers name what is below, too.
    wait::until("the container's line is in its log", LIMIT, || async {
        let text = direct.expect(&format!("/logs/containers/{log}"), 200).await?;
        Ok(if text.contains(" seen\n") { Look::Met(()) } else { Look::NotYet(text) })
    })
    .await?;
    let mut outside = vec!["/logs/nothing", "/logs/..%2f..%2fetc/passwd"];
    if !peers_wanted() {
        // Upstream follows links wherever they lead.
        outside.extend(["/logs/passwd", "/logs/etc/passwd", "/logs/etc/"]);
    }
    for path in outside {
        let text = direct.expect(path, 404).await?;
        ensure!(text == "404 page not found\n", "{path}: {text}");
    }
    let (code, _) = direct.send(Method::POST, "/logs/plain.log", "").await?;
    ensure!(code == 405, "POST: {code}");
    Ok(())
}

async fn queries_of_node_logs_need_to_be_enabled(context: Arc<TestContext>) -> Result<()> {
    let off = Direct::to(&*context.shared_node().await?)?;
    let text = off.expect("/logs/?query=none", 200).await?;
    ensure!(text.starts_with("<!doctype html>"), "a query was answered: {text}");

    let options = NodeOptions {
        kubelet_config: json!({"enableSystemLogQuery": true}),
        ..NodeOptions::default()
    };
    let node = context.node(options).await?;
    let direct = Direct::to(&node)?;
    fs::create_dir_all(node.var_log().join("web"))?;
    fs::write(node.var_log().join("web/web.log"), "hello\n")?;
    symlink("/etc/passwd", node.var_log().join("passwd"))?;
    ensure!(direct.expect("/logs/?query=web", 200).await? == "hello\n");
    ensure!(direct.expect("/logs/?query=/web/web.log", 200).await? == "hello\n");
    let missing = direct.expect("/logs/?query=no-such-service", 200).await?;
    ensure!(missing == "\nlog not found for no-such-service\n", "{missing}");
    for (query, code, words) in [
        ("query=", 400, "query: Invalid value: [\"\"]: may not be empty\n"),
        (
            "query=web&tailLines=x",
            400,
            "tailLines: Invalid value: \"x\": strconv.Atoi: parsing \"x\": invalid syntax\n",
        ),
        (
            "query=web%3Breboot",
            406,
            "query: Invalid value: \"web;reboot\": input contains unsupported characters\n",
        ),
        ("tailLines=1", 406, "query: Required value: cannot be empty with options\n"),
        ("query=web&boot=1", 406, "boot: Invalid value: 1: must be less than 1\n"),
    ] {
        let text = direct.expect(&format!("/logs/?{query}"), code).await?;
        ensure!(text == words, "{query}: {text}");
    }
    direct.expect("/logs/?query=/passwd", 406).await?;
    Ok(())
}

async fn checkpoints_say_why_there_are_none(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let direct = Direct::to(&node)?;
    let namespace = context.namespace().await?;
    pods::run(&cluster, &pods::pause_pod(&namespace, "a", node.name()), LIMIT).await?;
    let post = async |path: &str| direct.send(Method::POST, path, "").await;
    for (path, words) in [
        ("nobody/none/main".to_owned(), "pod does not exist".to_owned()),
        (format!("{namespace}/a/none"), "container none does not exist".to_owned()),
        (
            format!("{namespace}/a/pause?timeout=soon"),
            "cannot parse value of timeout parameter".to_owned(),
        ),
    ] {
        let (code, text) = post(&format!("/checkpoint/{path}")).await?;
        ensure!((code, &text) == (404, &words), "{path}: {code} {text}");
    }
    // The machines that run this have no criu.
    let (code, text) = post(&format!("/checkpoint/{namespace}/a/pause")).await?;
    if code == 200 {
        let answer: Value = serde_json::from_str(&text)?;
        let archive = answer["items"][0].as_str().context("no archive")?;
        ensure!(fs::metadata(archive)?.len() > 0, "{archive} is empty");
    } else {
        let begin = format!("checkpointing of {namespace}/a/pause failed (rpc error: code = ");
        ensure!(code == 500 && text.starts_with(&begin), "{code} {text}");
    }
    let directory = fs::metadata(node.root_directory().join("checkpoints"))?;
    let mode = std::os::unix::fs::PermissionsExt::mode(&directory.permissions()) & 0o777;
    ensure!(mode == 0o700, "{mode:o}");
    direct.expect(&format!("/checkpoint/{namespace}/a/pause"), 405).await?;
    Ok(())
}

async fn profiles_and_verbosity_are_for_those_who_may_everything(
    context: Arc<TestContext>,
) -> Result<()> {
    let node = context.node(NodeOptions::default()).await?;
    let direct = Direct::to(&node)?;
    let (code, profile) = direct.get("/debug/pprof/profile?seconds=1").await?;
    ensure!(code == 200 && !profile.is_empty(), "{code}");
    for path in ["", "cmdline", "goroutine", "heap", "threadcreate"] {
        direct.expect(&format!("/debug/pprof/{path}?debug=1"), 200).await?;
    }
    direct.expect("/debug/pprof/nothing", 404).await?;
    let put = async |text: &str| direct.send(Method::PUT, "/debug/flags/v", text).await;
    let (code, text) = put("5").await?;
    let words = "successfully set klog.logging.verbosity to 5";
    ensure!((code, text.as_str()) == (200, words), "{code} {text}");
    let (code, text) = put("loud").await?;
    ensure!(code == 400, "{code} {text}");
    direct.expect("/debug/flags/v", 406).await?;
    Ok(())
}

async fn pages_can_be_switched_off(context: Arc<TestContext>) -> Result<()> {
    let options = NodeOptions {
        kubelet_config: json!({
            "enableSystemLogHandler": false,
            "enableProfilingHandler": false,
            "enableDebugFlagsHandler": false,
            "featureGates": {"ContainerCheckpoint": false},
        }),
        ..NodeOptions::default()
    };
    let some = Direct::to(&*context.node(options).await?)?;
    for (path, words) in [
        ("/logs/", "logs endpoint is disabled.\n"),
        ("/debug/pprof/", "profiling endpoint is disabled.\n"),
        ("/debug/flags/v", "flags endpoint is disabled.\n"),
    ] {
        let text = some.expect(path, 405).await?;
        ensure!(text == words, "{path}: {text}");
    }
    let (code, _) = some.send(Method::POST, "/checkpoint/a/b/c", "").await?;
    ensure!(code == 404, "checkpoint: {code}");
    some.expect("/configz", 200).await?;

    let options = NodeOptions {
        kubelet_config: json!({"enableDebuggingHandlers": false}),
        ..NodeOptions::default()
    };
    let none = Direct::to(&*context.node(options).await?)?;
    for path in ["/runningpods/", "/logs/", "/debug/pprof/"] {
        let text = none.expect(path, 405).await?;
        ensure!(text == "Debug endpoints are disabled.\n", "{path}: {text}");
    }
    for path in ["/configz", "/flagz", "/statusz", "/debug/flags/v"] {
        none.expect(path, 404).await?;
    }
    none.expect("/metrics", 200).await?;
    Ok(())
}
