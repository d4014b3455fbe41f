//! Usage figures: what the node says, whether Prometheus and metrics-server take it, and whether
//! the kubelet says the same of the same pod.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::agent_process::AgentProcess;
use integration::exposition::Page;
use integration::kubectl::Kubectl;
use integration::metrics_server::MetricsServer;
use integration::node::{Node, NodeOptions};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        summary_tells_of_node_pods_and_volumes,
        pages_of_metrics_are_well_formed,
        kubectl_top_works_through_metrics_server;
        alone: figures_are_those_the_kubelet_gives
    ]
}

/// Uses CPU for a while, then none; holds 40 MB of memory that is no file's all the time; leaves a
/// file of 8 MiB in the volume `/scratch` and one of 4 MiB in its own layer.
const BUSY: &str = "dd if=/dev/zero of=/scratch/file bs=1M count=8; \
    dd if=/dev/zero of=/layer bs=1M count=4; \
    i=0; while [ $i -lt 2000000 ]; do i=$((i+1)); done; echo worked; \
    (head -c 40000000 /dev/zero; sleep 1000000) | tail -n 1";

fn busy_pod(namespace: &str, node: &str) -> Value {
    let mut pod = pods::script_pod(namespace, "busy", node, BUSY);
    pod["spec"]["volumes"] = json!([{"name": "scratch", "emptyDir": {}}]);
    let container = &mut pod["spec"]["containers"][0];
    container["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    container["resources"] = json!({"limits": {"memory": "256Mi"}});
    pod
}

fn proxy(node: &Node, path: &str) -> String {
    format!("{}/proxy{path}", node.api_path())
}

async fn summary(node: &Node) -> Result<Value> {
    node.cluster().get_json(&proxy(node, "/stats/summary")).await
}

async fn page(node: &Node, path: &str) -> Result<Page> {
    let text = node.cluster().client().get_text(&proxy(node, path)).await?;
    let page = Page::read(&text);
    ensure!(page.problems.is_empty(), "{path}: {:#?}", page.problems);
    Ok(page)
}

fn pod_of<'a>(summary: &'a Value, namespace: &str, name: &str) -> Result<&'a Value> {
    let mut pods = summary["pods"].as_array().into_iter().flatten();
    pods.find(|pod| pod["podRef"]["namespace"] == namespace && pod["podRef"]["name"] == name)
        .with_context(|| format!("pod {name} is not in the summary"))
}

/// The figure at a path of names and positions.
fn figure(value: &Value, path: &str) -> Result<u64> {
    value.pointer(path).and_then(Value::as_u64).with_context(|| format!("{path} in {value}"))
}

/// What the volume `/scratch` takes; the token of the service account is a volume too.
fn scratch(pod: &Value) -> Result<u64> {
    let mut volumes = pod["volume"].as_array().into_iter().flatten();
    let found = volumes.find(|volume| volume["name"] == "scratch");
    figure(found.with_context(|| format!("no scratch in {}", pod["volume"]))?, "/usedBytes")
}

async fn summary_tells_of_node_pods_and_volumes(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    pods::run(&cluster, &busy_pod(&namespace, node.name()), LIMIT).await?;
    let figures = [
        ("/containers/0/cpu/usageNanoCores", 0),
        ("/containers/0/cpu/usageCoreNanoSeconds", 1_000_000),
        ("/containers/0/memory/workingSetBytes", 1 << 20),
        ("/containers/0/memory/availableBytes", 100 << 20),
        ("/containers/0/rootfs/usedBytes", 4 << 20),
        ("/containers/0/rootfs/capacityBytes", 1 << 20),
        ("/containers/0/logs/usedBytes", 1),
        ("/cpu/usageCoreNanoSeconds", 1_000_000),
        ("/memory/workingSetBytes", 1 << 20),
        ("/network/rxBytes", 0),
        ("/network/interfaces/0/txBytes", 0),
        ("/ephemeral-storage/usedBytes", 12 << 20),
        ("/process_stats/process_count", 1),
    ];
    // Volumes are looked at once a minute, and containerd has its own period for layers.
    let told = wait::until("figures of the pod", Duration::from_secs(150), || async {
        let summary = summary(&node).await?;
        let pod = pod_of(&summary, &namespace, "busy")?;
        for (path, least) in figures {
            let found = figure(pod, path)?;
            if found < least {
                return Ok(Look::NotYet(format!("{path} is {found}")));
            }
        }
        if scratch(pod)? < 8 << 20 {
            return Ok(Look::NotYet(format!("volumes: {}", pod["volume"])));
        }
        Ok(Look::Met(summary))
    })
    .await?;
    let pod = pod_of(&told, &namespace, "busy")?;
    ensure!(pod["network"]["name"] == "eth0", "{}", pod["network"]);
    let of_node = &told["node"];
    ensure!(of_node["nodeName"] == node.name());
    for path in [
        "/cpu/usageCoreNanoSeconds",
        "/memory/availableBytes",
        "/fs/capacityBytes",
        "/fs/inodes",
        "/runtime/imageFs/usedBytes",
        "/runtime/containerFs/capacityBytes",
        "/rlimit/maxpid",
        "/rlimit/curproc",
        "/swap/swapUsageBytes",
    ] {
        figure(of_node, path)?;
    }
    let groups = of_node["systemContainers"].as_array().into_iter().flatten();
    ensure!(groups.into_iter().any(|group| group["name"] == "pods"), "{of_node}");

    let less = cluster.get_json(&proxy(&node, "/stats/summary?only_cpu_and_memory=true")).await?;
    let pod = pod_of(&less, &namespace, "busy")?;
    figure(pod, "/containers/0/memory/workingSetBytes")?;
    ensure!(pod.get("volume").is_none() && less["node"].get("fs").is_none(), "{less}");
    Ok(())
}

async fn pages_of_metrics_are_well_formed(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = busy_pod(&namespace, node.name());
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let id = pods::container_id(&pod, "main")?;

    let resource = page(&node, "/metrics/resource").await?;
    let labels = [("container", "main"), ("namespace", &*namespace), ("pod", "busy")];
    for name in ["container_cpu_usage_seconds_total", "container_memory_working_set_bytes"] {
        let sample = resource.find(name, &labels).next().with_context(|| name.to_owned())?;
        ensure!(sample.at.is_some() && sample.labels.len() == 3, "{sample:?}");
    }
    for name in ["node_cpu_usage_seconds_total", "node_memory_working_set_bytes"] {
        ensure!(resource.find(name, &[]).count() == 1, "{name}");
    }
    ensure!(resource.find("resource_scrape_error", &[]).all(|sample| sample.value == 0.0));

    let cadvisor = page(&node, "/metrics/cadvisor").await?;
    let found = |name: &'static str, labels: &[(&str, &str)]| {
        ensure!(cadvisor.find(name, labels).next().is_some(), "{name} {labels:?}");
        Ok(())
    };
    let of_container = [&labels[..], &[("name", &*id)]].concat();
    found("container_cpu_usage_seconds_total", &of_container)?;
    found("container_memory_rss", &of_container)?;
    found("container_file_descriptors", &of_container)?;
    found("container_fs_usage_bytes", &of_container)?;
    let of_pod = [("container", ""), ("namespace", &*namespace), ("pod", "busy")];
    found("container_memory_working_set_bytes", &of_pod)?;
    found(
        "container_network_receive_bytes_total",
        &[&of_pod[..], &[("interface", "eth0")]].concat(),
    )?;
    found("container_cpu_usage_seconds_total", &[("id", "/")])?;
    let kubepods = format!("{}/kubepods", node.cgroup_root());
    found("container_memory_working_set_bytes", &[("id", &kubepods), ("pod", "")])?;
    found("machine_memory_bytes", &[])?;
    found("cadvisor_version_info", &[])?;

    // The others are there when the slices that own them are.
    for path in ["/metrics", "/metrics/probes"] {
        if let Ok(text) = cluster.client().get_text(&proxy(&node, path)).await {
            let problems = Page::read(&text).problems;
            ensure!(problems.is_empty(), "{path}: {problems:#?}");
        }
    }
    Ok(())
}

async fn kubectl_top_works_through_metrics_server(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    pods::run(&cluster, &busy_pod(&namespace, node.name()), LIMIT).await?;
    let server = MetricsServer::start(&cluster).await?;
    // Two rounds of scrapes with new figures in between.
    let limit = Duration::from_secs(120);
    let of_node = wait::until("kubectl top node", limit, || async {
        Ok(Look::Met(cluster.kubectl(&["top", "node", node.name(), "--no-headers"]).await?))
    })
    .await?;
    let fields: Vec<&str> = of_node.split_whitespace().collect();
    ensure!(
        fields.len() == 5 && fields[1].ends_with('m') && fields[3].ends_with("Mi"),
        "{of_node}"
    );
    let args = ["top", "pod", "busy", "-n", &namespace, "--containers", "--no-headers"];
    let of_pod = wait::until("kubectl top pod", limit, || async {
        let printed = cluster.kubectl(&args).await?;
        let memory = printed.split_whitespace().nth(3).unwrap_or_default();
        let memory: u64 = memory.trim_end_matches("Mi").parse()?;
        Ok(if memory >= 30 { Look::Met(printed) } else { Look::NotYet(printed) })
    })
    .await?;
    ensure!(of_pod.starts_with("busy") && of_pod.contains("main"), "{of_pod}");
    for kubectl in Kubectl::of_both_releases(&cluster) {
        let of_pod = kubectl.run(&args, b"").await?;
        ensure!(of_pod.code == 0 && of_pod.text().starts_with("busy"), "{of_pod:?}");
    }
    server.stop(&cluster).await
}

/// Figures of the busy pod that stand still once it has done its work. Traffic is not among them:
/// the kubelet finds it only through a containerd at the usual place.
#[derive(Debug, Clone, Copy)]
struct Figures {
    container_cpu: f64,
    container_memory: f64,
    pod_cpu: f64,
    pod_memory: f64,
    layer: f64,
    volume: f64,
    logs: f64,
}

impl Figures {
    async fn read(node: &Node, namespace: &str) -> Result<Self> {
        let page = page(node, "/metrics/resource").await?;
        let labels = [("namespace", namespace), ("pod", "busy")];
        let value = |name: &'static str| {
            page.find(name, &labels).next().map(|sample| sample.value).context(name)
        };
        let summary = summary(node).await?;
        let pod = pod_of(&summary, namespace, "busy")?;
        #[expect(clippy::cast_precision_loss, reason = "compared within some per cent")]
        let wide = |figure: u64| figure as f64;
        let told = |path: &str| figure(pod, path).map(wide);
        Ok(Self {
            container_cpu: value("container_cpu_usage_seconds_total")?,
            container_memory: value("container_memory_working_set_bytes")?,
            pod_cpu: value("pod_cpu_usage_seconds_total")?,
            pod_memory: value("pod_memory_working_set_bytes")?,
            layer: told("/containers/0/rootfs/usedBytes")?,
            volume: scratch(pod).map(wide)?,
            logs: told("/containers/0/logs/usedBytes")?,
        })
    }

    fn named(&self) -> [(&'static str, f64); 7] {
        [
            ("CPU of the container", self.container_cpu),
            ("working set of the container", self.container_memory),
            ("CPU of the pod", self.pod_cpu),
            ("working set of the pod", self.pod_memory),
            ("writable layer", self.layer),
            ("volume", self.volume),
            ("logs", self.logs),
        ]
    }

    /// Names of the figures that are further apart than `share` of the first.
    fn apart(&self, other: &Self, share: f64) -> Vec<String> {
        let pairs = self.named().into_iter().zip(other.named());
        let far = pairs.filter(|((_, one), (_, two))| (one - two).abs() > one.abs() * share);
        far.map(|((name, one), (_, two))| format!("{name}: {one} and {two}")).collect()
    }
}

/// How far apart two readings are that must be the same: more than two periods of sampling.
const APART: Duration = Duration::from_secs(25);

/// Reads until the work is done and two readings far apart are the same.
async fn settled(node: &Node, namespace: &str) -> Result<Figures> {
    let earlier: Mutex<Option<(Instant, Figures)>> = Mutex::default();
    wait::until("figures that stand still", Duration::from_secs(240), || async {
        let figures = Figures::read(node, namespace).await?;
        let mut earlier = earlier.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, before) = *earlier.get_or_insert((Instant::now(), figures));
        if at.elapsed() < APART {
            return Ok(Look::NotYet(format!("{figures:?}")));
        }
        *earlier = Some((Instant::now(), figures));
        let worked = figures.container_memory > 35e6 && figures.volume > 8e6;
        let moved = before.apart(&figures, 0.01);
        Ok(if worked && moved.is_empty() {
            Look::Met(figures)
        } else {
            Look::NotYet(format!("{figures:?}, moved: {moved:?}"))
        })
    })
    .await
}

/// Families of the kubelet's pages that a node of noded may lack here. Of the first eight the
/// kubelet shows 0 or -1 for everything: nothing measures them. The others it has for the cgroup
/// `/` alone, from the machine's disks, where noded has what the cgroups themselves count.
const LEFT_OUT: [&str; 19] = [
    "container_health_state",
    "container_cpu_load_average_10s",
    "container_cpu_load_d_average_10s",
    "container_tasks_state",
    "machine_cpu_books",
    "machine_cpu_drawers",
    "machine_nvm_avg_power_budget_watts",
    "machine_nvm_capacity",
    "container_fs_io_current",
    "container_fs_io_time_seconds_total",
    "container_fs_io_time_weighted_seconds_total",
    "container_fs_read_seconds_total",
    "container_fs_reads_merged_total",
    "container_fs_reads_total",
    "container_fs_sector_reads_total",
    "container_fs_sector_writes_total",
    "container_fs_write_seconds_total",
    "container_fs_writes_merged_total",
    "container_fs_writes_total",
];

/// The families of a page with their types and labels.
async fn families(node: &Node, path: &str) -> Result<BTreeMap<String, String>> {
    let text = node.cluster().client().get_text(&proxy(node, path)).await?;
    let page = Page::read(&text);
    Ok(page
        .families()
        .map(|(name, kind, labels)| (name.to_owned(), format!("{kind} {labels:?}")))
        .collect())
}

/// Families of the first page that the second has not, or has otherwise.
fn missing(one: &BTreeMap<String, String>, two: &BTreeMap<String, String>) -> Vec<String> {
    one.iter()
        .filter(|(name, _)| !LEFT_OUT.contains(&name.as_str()))
        .filter(|(name, shape)| two.get(*name) != Some(shape))
        .map(|(name, shape)| format!("{name}: {shape}, not {:?}", two.get(name)))
        .collect()
}

const PAGES: [&str; 2] = ["/metrics/resource", "/metrics/cadvisor"];

/// The kubelet runs the pod and tells its figures; then noded takes the node over, with the same
/// containers, and tells them.
async fn figures_are_those_the_kubelet_gives(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.peer_node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let pod = pods::run(&cluster, &busy_pod(&namespace, node.name()), LIMIT).await?;
    let by_kubelet = settled(&node, &namespace).await.context("figures of the kubelet")?;
    let mut pages_of_kubelet = Vec::new();
    for path in PAGES {
        pages_of_kubelet.push(families(&node, path).await?);
    }
    node.agent()?.stop().await?;
    node.start_as(AgentProcess::noded(&node)?)?;
    node.wait_ready(LIMIT).await?;
    let by_noded = settled(&node, &namespace).await.context("figures of noded")?;
    let now = cluster.get_json(&pods::path(&namespace, "busy")).await?;
    ensure!(
        pods::container_id(&now, "main")? == pods::container_id(&pod, "main")?,
        "the container was made anew"
    );
    let apart = by_kubelet.apart(&by_noded, 0.05);
    ensure!(apart.is_empty(), "the kubelet's and noded's figures: {apart:#?}");
    for (path, of_kubelet) in PAGES.into_iter().zip(pages_of_kubelet) {
        let missing = missing(&of_kubelet, &families(&node, path).await?);
        ensure!(missing.is_empty(), "{path} lacks what the kubelet's has: {missing:#?}");
    }
    Ok(())
}
