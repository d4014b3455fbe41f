//! What volumes cost a pod's start, and what watching their objects costs a node.
//!
//! Pods start one at a time, in turn without volumes, with [`VOLUMES`] of ConfigMaps and Secrets
//! that all of them share, and with as many of objects of their own, which the node has to fetch
//! first. Then a node is filled with such pods, and its watches and connections are counted.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use integration::console::print;
use integration::isolation::Run;
use integration::node::Node;
use integration::pods;
use integration::real_cluster::Cluster;
use integration::watch::Watch;
use serde_json::{Value, json};

use crate::Extent;
use crate::cri_log;
use crate::subject::Subject;
use crate::table::percentile;

const NAMESPACE: &str = "bench";
/// Half of them ConfigMaps, half Secrets.
const VOLUMES: usize = 20;
/// Pods of each sort.
const ROUNDS: usize = 15;
const LIMIT: Duration = Duration::from_secs(300);
/// Requests to the API server side by side.
const PARALLEL: usize = 16;

/// What a pod has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sort {
    Bare,
    Shared,
    Own,
}

impl Sort {
    fn name(self) -> &'static str {
        match self {
            Self::Bare => "no volumes",
            Self::Shared => "20 volumes, objects known",
            Self::Own => "20 volumes, objects of its own",
        }
    }

    /// Prefix of the names of a pod's objects.
    fn objects(self, pod: &str) -> Option<String> {
        match self {
            Self::Bare => None,
            Self::Shared => Some("shared".to_owned()),
            Self::Own => Some(pod.to_owned()),
        }
    }
}

/// Measures noded and prints the figures.
pub async fn run(run: &Run, extent: Extent) -> Result<()> {
    print("bench: starting the control plane\n");
    let cluster = Cluster::start(run).await?;
    cluster.create_namespace(NAMESPACE).await?;
    let node = Subject::Noded.start(&cluster, "bench").await?;
    let mut watch = cluster.watch(&node.pods_path()).await?;
    create_objects(&cluster, &["shared".to_owned()]).await?;
    let rounds = if extent == Extent::Quick { 3 } else { ROUNDS };
    let mut times: BTreeMap<Sort, Vec<(String, Duration)>> = BTreeMap::new();
    for round in 0..=rounds {
        for sort in [Sort::Bare, Sort::Shared, Sort::Own] {
            let name = format!("{}-{round}", format!("{sort:?}").to_lowercase());
            if sort == Sort::Own {
                create_objects(&cluster, std::slice::from_ref(&name)).await?;
            }
            let took = start(&cluster, &mut watch, &pod(&node, &name, sort)).await?;
            // The first of each sort finds cold caches.
            if round > 0 {
                times.entry(sort).or_default().push((name, took));
            }
        }
    }
    let log = fs::read(node.runtime().log()).context("cannot read containerd's log")?;
    let inside = cri_log::times(&String::from_utf8_lossy(&log));
    print(
        "\n| pods with | Ready p50, ms | inside CRI calls p50 | beyond them p50 |\n|---|---|---|---|\n",
    );
    for (sort, times) in &times {
        let of = |pod: &str| inside.get(pod).copied().unwrap_or_default();
        let total = percentile(times.iter().map(|(_, took)| *took).collect(), 50);
        let calls = percentile(times.iter().map(|(pod, _)| of(pod)).collect(), 50);
        let beyond = times.iter().map(|(pod, took)| took.saturating_sub(of(pod))).collect();
        let beyond = percentile(beyond, 50);
        print(&format!("| {} | {total:.1} | {calls:.1} | {beyond:.1} |\n", sort.name()));
    }
    fill(&cluster, &node, &mut watch, extent.pods()).await?;
    node.remove().await
}

fn pod(node: &Node, name: &str, sort: Sort) -> Value {
    let mut pod = pods::pause_pod(NAMESPACE, name, node.name());
    pod["spec"]["automountServiceAccountToken"] = false.into();
    pod["spec"]["terminationGracePeriodSeconds"] = 1.into();
    let Some(objects) = sort.objects(name) else { return pod };
    let volumes = (0..VOLUMES).map(|number| {
        let object = format!("{objects}-{number}");
        let volume = format!("v{number}");
        match number % 2 {
            0 => json!({"name": volume, "configMap": {"name": object}}),
            _ => json!({"name": volume, "secret": {"secretName": object}}),
        }
    });
    pod["spec"]["volumes"] = volumes.collect();
    let mounts = (0..VOLUMES)
        .map(|number| json!({"name": format!("v{number}"), "mountPath": format!("/v{number}")}));
    pod["spec"]["containers"][0]["volumeMounts"] = mounts.collect();
    pod
}

/// The objects of pods with these prefixes.
async fn create_objects(cluster: &Cluster, prefixes: &[String]) -> Result<()> {
    let all = prefixes.iter().flat_map(|prefix| (0..VOLUMES).map(move |number| (prefix, number)));
    stream::iter(all.map(|(prefix, number)| async move {
        let metadata = json!({"name": format!("{prefix}-{number}"), "namespace": NAMESPACE});
        let (kind, field) = match number % 2 {
            0 => ("ConfigMap", "data"),
            _ => ("Secret", "stringData"),
        };
        let object = json!({"apiVersion": "v1", "kind": kind, "metadata": metadata,
            field: {"key": "value"}});
        cluster.create(&object).await.map(drop)
    }))
    .buffer_unordered(PARALLEL)
    .try_collect()
    .await
}

/// Starts a pod and ends it again; from created to Ready as a watcher sees it.
async fn start(cluster: &Cluster, watch: &mut Watch, pod: &Value) -> Result<Duration> {
    cluster.create(pod).await?;
    let mut began: Option<Instant> = None;
    let ready = watch.until("Ready pod", LIMIT, |event| {
        began.get_or_insert(event.at);
        pods::is_ready(&event.object)
    });
    let ready = ready.await?.at;
    let name = pod["metadata"]["name"].as_str().context("pod without a name")?;
    cluster.client().delete(&pods::path(NAMESPACE, name)).await?;
    watch.until("end of the pod", LIMIT, |event| event.kind == "DELETED").await?;
    Ok(ready - began.unwrap_or(ready))
}

/// Runs pods with objects of their own all at once and counts what the node opened for them.
async fn fill(cluster: &Arc<Cluster>, node: &Node, watch: &mut Watch, count: usize) -> Result<()> {
    for sort in [Sort::Shared, Sort::Own] {
        print(&format!("\nbench: {count} pods with {}\n", sort.name()));
        let names: Vec<String> =
            (0..count).map(|number| format!("full-{}-{number}", sort as u8)).collect();
        if sort == Sort::Own {
            create_objects(cluster, &names).await?;
        }
        stream::iter(
            names
                .iter()
                .map(|name| async move { cluster.create(&pod(node, name, sort)).await.map(drop) }),
        )
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await?;
        let mut ready = std::collections::BTreeSet::new();
        watch
            .until("Ready pods", LIMIT, |event| {
                if pods::is_ready(&event.object) {
                    ready.insert(event.name().to_owned());
                }
                ready.len() == count
            })
            .await
            .with_context(|| format!("{} of {count} pods were Ready", ready.len()))?;
        let watches = watches(cluster).await?;
        print(&format!(
            "bench: watches of ConfigMaps and Secrets by name at the API server: {watches}; \
             connections of noded to it: {}\n",
            connections(node)?
        ));
        stream::iter(names.iter().map(|name| async move {
            cluster.client().delete(&pods::path(NAMESPACE, name)).await
        }))
        .buffer_unordered(PARALLEL)
        .try_collect::<()>()
        .await?;
        let mut left = count;
        watch
            .until("end of the pods", LIMIT, |event| {
                left -= usize::from(event.kind == "DELETED");
                left == 0
            })
            .await?;
    }
    Ok(())
}

/// Open watches of single ConfigMaps and Secrets, as the API server's metrics count them.
async fn watches(cluster: &Cluster) -> Result<u64> {
    let page = cluster.client().get_text("/metrics").await?;
    let of_objects = page.lines().filter(|line| {
        line.starts_with("apiserver_longrunning_requests{")
            && line.contains("verb=\"WATCH\"")
            && (line.contains("resource=\"configmaps\"") || line.contains("resource=\"secrets\""))
            && line.contains("scope=\"resource\"")
    });
    let counts = of_objects.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    Ok(counts.sum::<f64>() as u64)
}

/// Established connections from the node's network to the API server's port.
fn connections(node: &Node) -> Result<usize> {
    let table = node.namespaces().run(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?))?;
    let port = format!(":{:04X}", 6443);
    let open = table.lines().filter(|line| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|remote| remote.ends_with(&port)) && fields.next() == Some("01")
    });
    Ok(open.count())
}
