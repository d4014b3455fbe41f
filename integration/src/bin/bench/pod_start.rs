//! How long pods take from their creation until a watcher sees them Ready.
//!
//! Pods of one pause container are created bound to the node, some at a time. The clock of a pod
//! runs from the watch event that shows it created to the one that shows it Ready, both as they
//! arrive. The bare client is woken by the same creations; its clock stops when its last CRI call
//! has answered. The time inside CRI calls is containerd's own account of them.

use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::future::{try_join, try_join_all};
use integration::console::print;
use integration::isolation::Run;
use integration::node::Node;
use integration::pods;
use integration::real_cluster::Cluster;
use integration::watch::Watch;
use tokio::task::JoinSet;

use crate::Extent;
use crate::bare::BareClient;
use crate::cri_log;
use crate::subject::Subject;
use crate::table::{Row, Sample, render};

const NAMESPACE: &str = "bench";
/// A wave that takes longer has failed.
const WAVE_LIMIT: Duration = Duration::from_secs(120);
/// Pods at once, and how often that is repeated.
const WAVES: [(usize, usize); 3] = [(1, 8), (10, 3), (30, 2)];

/// Measures all subjects and prints the table.
pub async fn run(run: &Run, extent: Extent) -> Result<()> {
    print("bench: starting the control plane\n");
    let cluster = Cluster::start(run).await?;
    cluster.create_namespace(NAMESPACE).await?;
    let mut rows = Vec::new();
    for (number, subject) in [Subject::Noded, Subject::Peers, Subject::Bare].into_iter().enumerate()
    {
        print(&format!("bench: {}: about 60 s\n", subject.name()));
        let node = subject.start(&cluster, &format!("bench-{number}")).await?;
        let mut bench = Bench::start(&cluster, &node, subject).await?;
        let measured = bench.measure(extent).await;
        if let (Err(_), Ok(agent)) = (&measured, node.agent()) {
            print(&format!("{}\n", agent.tail(40)));
        }
        rows.extend(measured?);
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
        let watch = cluster.watch(&node.pods_path()).await?;
        let (cluster, node) = (Arc::clone(cluster), Arc::clone(node));
        Ok(Self { cluster, node, subject, bare, watch, created: 0 })
    }

    async fn measure(&mut self, extent: Extent) -> Result<Vec<Row>> {
        // The first pod finds cold caches, whoever runs it.
        self.wave(1).await?;
        let mut rows = Vec::new();
        for (pods, rounds) in WAVES {
            let rounds = if extent == Extent::Quick { 1 } else { rounds };
            let mut times = Vec::new();
            for _ in 0..rounds {
                times.extend(self.wave(pods).await?);
            }
            let row = Row::new(pods, self.subject, self.samples(times)?);
            print(&format!("bench: {row}\n"));
            rows.push(row);
        }
        Ok(rows)
    }

    /// Adds to each pod's time the part of it that was spent inside CRI calls.
    fn samples(&self, times: Vec<(String, Duration)>) -> Result<Vec<Sample>> {
        let log = fs::read(self.node.runtime().log()).context("cannot read containerd's log")?;
        let inside = cri_log::times(&String::from_utf8_lossy(&log));
        times
            .into_iter()
            .map(|(pod, total)| {
                let inside = inside.get(&pod).with_context(|| format!("no CRI calls for {pod}"))?;
                Ok(Sample { total, inside: *inside })
            })
            .collect()
    }

    /// Runs some pods at once, ends them again, and returns how long each took to start.
    async fn wave(&mut self, pods: usize) -> Result<Vec<(String, Duration)>> {
        let names: Vec<String> =
            (0..pods).map(|pod| format!("pod-{}", self.created + pod)).collect();
        self.created += pods;
        if let Some(bare) = &self.bare {
            names.iter().try_for_each(|name| bare.prepare(name))?;
        }
        let node = self.node.name().to_owned();
        let cluster = Arc::clone(&self.cluster);
        let creations = try_join_all(names.iter().map(|name| {
            let pod = pods::pause_pod(NAMESPACE, name, &node);
            let cluster = &cluster;
            async move { cluster.create(&pod).await }
        }));
        let times = match self.bare.clone() {
            None => try_join(creations, follow(&mut self.watch, pods)).await?.1,
            Some(bare) => {
                let calls = serve(&mut self.watch, &bare, pods);
                let (times, sandboxes) = try_join(creations, calls).await?.1;
                try_join_all(sandboxes.iter().map(|id| bare.remove_pod(id))).await?;
                times
            }
        };
        self.end(&names).await?;
        Ok(times)
    }

    /// Deletes pods and waits until they are gone.
    async fn end(&mut self, names: &[String]) -> Result<()> {
        let client = self.cluster.client();
        for name in names {
            let path = pods::path(NAMESPACE, name);
            match self.bare {
                None => client.delete(&path).await?,
                Some(_) => client.force_delete(&path).await?,
            }
        }
        let mut left = names.len();
        self.watch
            .until("end of the pods", WAVE_LIMIT, |event| {
                left -= usize::from(event.kind == "DELETED");
                left == 0
            })
            .await
            .map(drop)
    }
}

/// Follows an agent: the time of each pod from its first event to the one that shows it Ready.
async fn follow(watch: &mut Watch, pods: usize) -> Result<Vec<(String, Duration)>> {
    let mut begun: BTreeMap<String, Instant> = BTreeMap::new();
    let mut times = BTreeMap::new();
    watch
        .until("Ready pods", WAVE_LIMIT, |event| {
            let began = *begun.entry(event.name().to_owned()).or_insert(event.at);
            if pods::is_ready(&event.object) {
                times.entry(event.name().to_owned()).or_insert(event.at - began);
            }
            times.len() == pods
        })
        .await
        .with_context(|| format!("{} of {pods} pods were Ready", times.len()))?;
    Ok(times.into_iter().collect())
}

/// Lets the bare client run each pod as its creation arrives; times and sandboxes.
async fn serve(
    watch: &mut Watch,
    bare: &BareClient,
    pods: usize,
) -> Result<(Vec<(String, Duration)>, Vec<String>)> {
    let mut calls = JoinSet::new();
    while calls.len() < pods {
        let event = watch.next(WAVE_LIMIT).await?;
        if event.kind == "ADDED" {
            let bare = bare.clone();
            calls.spawn(async move {
                let ran = bare.run_pod(event.name()).await;
                ran.map(|(sandbox, took)| (event.name().to_owned(), sandbox, took))
            });
        }
    }
    let mut outcome = (Vec::new(), Vec::new());
    while let Some(call) = calls.join_next().await {
        let (pod, sandbox, took) = call??;
        outcome.0.push((pod, took));
        outcome.1.push(sandbox);
    }
    Ok(outcome)
}
