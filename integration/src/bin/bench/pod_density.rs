//! A node that is filled with pods at once and emptied at once.
//!
//! All pods are created bound to the node at the same time; half of them have a readiness and a
//! liveness probe. A pod's first clock runs from the watch event that shows it created to the one
//! that shows it Ready. Then all are deleted, and its second clock runs from the event that shows
//! its deletion asked for to the one that shows it gone. The bare client's clocks are those of its
//! calls, and it knows no probes.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::{try_join, try_join_all};
use futures::{StreamExt, TryStreamExt};
use integration::console::print;
use integration::isolation::Run;
use integration::node::Node;
use integration::pods;
use integration::real_cluster::Cluster;
use integration::real_runtime::{AGNHOST_IMAGE, PAUSE_IMAGE};
use integration::watch::Watch;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::audit::AuditLog;
use crate::bare::{BareClient, Ran};
use crate::subject::Subject;
use crate::table::percentile;
use crate::usage;

const NAMESPACE: &str = "bench";
/// A node that takes longer to be filled or emptied has failed.
const LIMIT: Duration = Duration::from_secs(300);
/// What a container may take to end. The pods end at the first signal.
const GRACE: Duration = Duration::from_secs(5);
/// Pods created, or deleted, at the same time, as a controller may do it.
const CALLS: usize = 8;
const SERVER: [&str; 2] = ["netexec", "--http-port=8080"];

/// One subject's figures.
struct Row {
    subject: Subject,
    ready: Vec<Duration>,
    gone: Vec<Duration>,
    /// What an agent took; the bare client is none.
    cost: Option<Cost>,
}

struct Cost {
    cpu_per_pod: f64,
    peak_memory: f64,
    /// Changes of Pod objects, their deletions included, for each pod.
    pod_writes: f64,
    /// Events written for each pod.
    event_writes: f64,
}

/// Measures all subjects with this many pods and prints the table.
pub async fn run(run: &Run, pods: usize) -> Result<()> {
    print("bench: starting the control plane\n");
    let audit = AuditLog::prepare(&run.directory().join("audit"))?;
    let cluster = Cluster::start_with(run, &audit.api_server_args()).await?;
    cluster.create_namespace(NAMESPACE).await?;
    let mut rows = Vec::new();
    for (number, subject) in [Subject::Noded, Subject::Peers, Subject::Bare].into_iter().enumerate()
    {
        print(&format!("bench: {}: {pods} pods\n", subject.name()));
        let node = subject.start(&cluster, &format!("bench-{number}")).await?;
        let mut bench = Bench::start(&cluster, &node, subject).await?;
        let measured = bench.measure(pods, &audit).await;
        if let (Err(_), Ok(agent)) = (&measured, node.agent()) {
            print(&format!("{}\n", agent.tail(40)));
        }
        rows.push(measured?);
        node.remove().await?;
    }
    print(&render(&rows));
    Ok(())
}

/// One subject on its node.
struct Bench {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    subject: Subject,
    bare: Option<BareClient>,
    watch: Watch,
    created: usize,
}

impl Bench {
    async fn start(cluster: &Arc<Cluster>, node: &Arc<Node>, subject: Subject) -> Result<Self> {
        let bare = match subject {
            Subject::Bare => Some(BareClient::connect(node).await?),
            _ => None,
        };
        // Not the pods of the node: of such a watch the API server holds ten events at most before
        // it closes it, and this one has to see them all.
        let watch = cluster.watch(&format!("/api/v1/namespaces/{NAMESPACE}/pods")).await?;
        let (cluster, node) = (Arc::clone(cluster), Arc::clone(node));
        Ok(Self { cluster, node, subject, bare, watch, created: 0 })
    }

    async fn measure(&mut self, pods: usize, audit: &AuditLog) -> Result<Row> {
        // The first pods find cold caches, whoever runs them; one of each kind.
        self.fill_and_empty(2).await?;
        let mark = audit.mark();
        let before = self.cpu()?;
        let (ready, gone) = self.fill_and_empty(pods).await?;
        let cost = match (before, self.cpu()?) {
            (Some(before), Some(after)) => Some(self.cost(pods, after - before, audit, mark)?),
            _ => None,
        };
        Ok(Row { subject: self.subject, ready, gone, cost })
    }

    /// CPU seconds of the agent so far, `None` without one.
    fn cpu(&self) -> Result<Option<f64>> {
        match self.bare {
            Some(_) => Ok(None),
            None => Ok(Some(usage::of(&self.node.agent()?.ids())?.cpu)),
        }
    }

    fn cost(&self, pods: usize, cpu: f64, audit: &AuditLog, mark: u64) -> Result<Cost> {
        let requests = audit.requests_since(mark)?;
        let writes = |resources: &[&str]| -> f64 {
            let found = requests.iter().filter(|(kind, _)| {
                let (verb, resource) = kind.split_once(' ').unwrap_or_default();
                ["create", "update", "patch", "delete"].contains(&verb)
                    && resources.contains(&resource)
            });
            f64::from(found.map(|(_, count)| count).sum::<u32>())
        };
        let list: Vec<String> =
            requests.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
        print(&format!("bench: {} asked: {}\n", self.subject.name(), list.join(", ")));
        let pods = f64::from(u32::try_from(pods)?);
        Ok(Cost {
            cpu_per_pod: cpu / pods,
            peak_memory: usage::peak_memory(&self.node.agent()?.ids())?,
            pod_writes: writes(&["pods", "pods/status"]) / pods,
            event_writes: writes(&["events"]) / pods,
        })
    }

    /// Runs pods and ends them; how long each took to Ready and to gone.
    async fn fill_and_empty(&mut self, pods: usize) -> Result<(Vec<Duration>, Vec<Duration>)> {
        let numbers = self.created..self.created + pods;
        self.created += pods;
        let names: Vec<String> = numbers.map(|number| format!("pod-{number}")).collect();
        if let Some(bare) = &self.bare {
            names.iter().try_for_each(|name| bare.prepare(name))?;
        }
        let (cluster, node) = (Arc::clone(&self.cluster), self.node.name().to_owned());
        let creations = futures::stream::iter(names.iter().enumerate())
            .map(|(index, name)| {
                let (pod, cluster) = (pod(name, &node, has_probes(index)), &cluster);
                async move { cluster.create(&pod).await.map(drop) }
            })
            .buffer_unordered(CALLS)
            .try_collect::<()>();
        match self.bare.clone() {
            None => {
                let ready = try_join(creations, follow_up(&mut self.watch, pods)).await?.1;
                let gone = follow_down(&mut self.watch, pods);
                Ok((ready, try_join(delete(&cluster, &names), gone).await?.1))
            }
            Some(bare) => {
                let kinds =
                    names.iter().enumerate().map(|(at, name)| (name.clone(), has_probes(at)));
                let kinds: HashMap<String, bool> = kinds.collect();
                let ran = try_join(creations, serve(&mut self.watch, &bare, kinds)).await?.1;
                let gone = try_join_all(ran.iter().map(|ran| bare.end(ran, GRACE))).await?;
                for name in &names {
                    cluster.client().force_delete(&pods::path(NAMESPACE, name)).await?;
                }
                wait_deleted(&mut self.watch, pods).await?;
                Ok((ran.iter().map(|ran| ran.took).collect(), gone))
            }
        }
    }
}

/// Every second pod is probed.
fn has_probes(index: usize) -> bool {
    index % 2 == 1
}

/// A pause pod, or a server with probes.
fn pod(name: &str, node: &str, probed: bool) -> Value {
    let mut pod = pods::pause_pod(NAMESPACE, name, node);
    pod["spec"]["terminationGracePeriodSeconds"] = GRACE.as_secs().into();
    if probed {
        pod["spec"]["containers"][0] = json!({
            "name": "server",
            "image": AGNHOST_IMAGE,
            "args": SERVER,
            "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
            "livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 5},
        });
    }
    pod
}

async fn delete(cluster: &Cluster, names: &[String]) -> Result<()> {
    let delete = |name: &String| {
        let path = pods::path(NAMESPACE, name);
        async move { cluster.client().delete(&path).await }
    };
    futures::stream::iter(names).map(delete).buffer_unordered(CALLS).try_collect().await
}

/// The time of each pod from its first event to the one that shows it Ready.
async fn follow_up(watch: &mut Watch, pods: usize) -> Result<Vec<Duration>> {
    let mut begun: BTreeMap<String, Instant> = BTreeMap::new();
    let mut times = BTreeMap::new();
    watch
        .until("Ready pods", LIMIT, |event| {
            let began = *begun.entry(event.name().to_owned()).or_insert(event.at);
            if pods::is_ready(&event.object) {
                times.entry(event.name().to_owned()).or_insert(event.at - began);
            }
            times.len() == pods
        })
        .await
        .with_context(|| format!("{} of {pods} pods were Ready", times.len()))?;
    Ok(times.into_values().collect())
}

/// The time of each pod from the event that shows its deletion asked for to its last.
async fn follow_down(watch: &mut Watch, pods: usize) -> Result<Vec<Duration>> {
    let mut begun: BTreeMap<String, Instant> = BTreeMap::new();
    let mut times = Vec::new();
    watch
        .until("end of the pods", LIMIT, |event| {
            if event.object["metadata"]["deletionTimestamp"].is_string() {
                let began = *begun.entry(event.name().to_owned()).or_insert(event.at);
                if event.kind == "DELETED" {
                    times.push(event.at - began);
                }
            }
            times.len() == pods
        })
        .await
        .with_context(|| format!("{} of {pods} pods were gone", times.len()))?;
    Ok(times)
}

async fn wait_deleted(watch: &mut Watch, pods: usize) -> Result<()> {
    let mut left = pods;
    let is_last = |event: &integration::watch::WatchEvent| {
        left -= usize::from(event.kind == "DELETED");
        left == 0
    };
    watch.until("end of the pods", LIMIT, is_last).await.map(drop)
}

/// Lets the bare client run each pod as its creation arrives. `kinds` says which are servers.
async fn serve(
    watch: &mut Watch,
    bare: &BareClient,
    kinds: HashMap<String, bool>,
) -> Result<Vec<Ran>> {
    let mut calls = JoinSet::new();
    while calls.len() < kinds.len() {
        let event = watch.next(LIMIT).await?;
        if event.kind == "ADDED" {
            let (bare, server) = (bare.clone(), kinds.get(event.name()) == Some(&true));
            calls.spawn(async move {
                match server {
                    true => bare.run(event.name(), AGNHOST_IMAGE, &SERVER).await,
                    false => bare.run(event.name(), PAUSE_IMAGE, &[]).await,
                }
            });
        }
    }
    let mut ran = Vec::new();
    while let Some(call) = calls.join_next().await {
        ran.push(call??);
    }
    Ok(ran)
}

/// A Markdown table, the bare client first, and how the others compare.
fn render(rows: &[Row]) -> String {
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| row.subject);
    let mut text = String::from(
        "\n| who | pods | Ready p50, ms | p99 | gone p50, ms | p99 | CPU, s/pod | Pod writes/pod \
         | Event writes/pod | peak memory, MiB |\n|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for row in &sorted {
        let cost = row.cost.as_ref().map_or_else(
            || " | | | ".to_owned(),
            |cost| {
                format!(
                    "{:.3} | {:.1} | {:.1} | {:.1}",
                    cost.cpu_per_pod, cost.pod_writes, cost.event_writes, cost.peak_memory
                )
            },
        );
        text += &format!(
            "| {} | {} | {:.0} | {:.0} | {:.0} | {:.0} | {cost} |\n",
            row.subject.name(),
            row.ready.len(),
            percentile(row.ready.clone(), 50),
            percentile(row.ready.clone(), 99),
            percentile(row.gone.clone(), 50),
            percentile(row.gone.clone(), 99),
        );
    }
    text + &ratios(rows)
}

/// Times by those of the bare client, costs of the peers by noded's.
fn ratios(rows: &[Row]) -> String {
    let find = |subject| rows.iter().find(|row: &&Row| row.subject == subject);
    let mut text = String::new();
    if let Some(bare) = find(Subject::Bare) {
        for row in rows.iter().filter(|row| row.subject != Subject::Bare) {
            let ratio = |pick: fn(&Row) -> &Vec<Duration>, percent| {
                percentile(pick(row).clone(), percent) / percentile(pick(bare).clone(), percent)
            };
            text += &format!(
                "\n{} takes {:.2} times the bare client's time to Ready at p50, {:.2} at p99, and \
                 {:.2} and {:.2} to gone\n",
                row.subject.name(),
                ratio(|row| &row.ready, 50),
                ratio(|row| &row.ready, 99),
                ratio(|row| &row.gone, 50),
                ratio(|row| &row.gone, 99),
            );
        }
    }
    let cost = |subject| find(subject).and_then(|row| row.cost.as_ref());
    if let (Some(ours), Some(theirs)) = (cost(Subject::Noded), cost(Subject::Peers)) {
        text += &format!(
            "\n{} takes {:.1} times the CPU, {:.1} times the memory and {:.1} times the Pod writes \
             of noded\n",
            Subject::Peers.name(),
            theirs.cpu_per_pod / ours.cpu_per_pod,
            theirs.peak_memory / ours.peak_memory,
            theirs.pod_writes / ours.pod_writes,
        );
    }
    text
}
