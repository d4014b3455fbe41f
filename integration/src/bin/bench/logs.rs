//! Reading container logs: one large log with `kubectl logs`, and many followers of busy containers.
//!
//! The large log is written beforehand as the runtime writes it, so that only its reading is
//! measured. Followers read through the API server like `kubectl logs --follow`, each over a
//! connection of its own; each busy container writes its lines one by one. An agent's figures are
//! those of its process that serves logs: noded, which is its proxy too, or the kubelet alone.

use std::fs::{self, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use integration::api_client::ApiClient;
use integration::console::print;
use integration::isolation::Run;
use integration::node::{Node, NodeOptions};
use integration::pki::Identity;
use integration::pods;
use integration::real_cluster::Cluster;
use integration::wait::{self, Look};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::task::JoinSet;

use crate::Extent;
use crate::subject::Subject;
use crate::usage;

const NAMESPACE: &str = "bench";
const LIMIT: Duration = Duration::from_secs(180);
/// Bytes of text in a line of the large log, its end included: an access log has about so many.
const LINE: usize = 120;
/// A busy container writes so many lines one after the other, then it sleeps.
const BURST: &str = "i=0; while :; do n=0; while [ $n -lt 10 ]; do n=$((n+1)); i=$((i+1)); \
                     echo \"$i GET /index.html 200 0.004 some-client/1.0 (compatible) 10.1.2.3\"; \
                     done; sleep 0.2; done";

/// How much is read.
struct Load {
    log_bytes: usize,
    reads: usize,
    pods: usize,
    followers: usize,
    window: Duration,
}

impl Load {
    fn of(extent: Extent) -> Self {
        match extent {
            Extent::Whole => Self {
                log_bytes: 1 << 30,
                reads: 3,
                pods: 20,
                followers: 200,
                window: Duration::from_secs(60),
            },
            Extent::Quick => Self {
                log_bytes: 64 << 20,
                reads: 1,
                pods: 2,
                followers: 20,
                window: Duration::from_secs(10),
            },
        }
    }
}

/// One subject's figures.
struct Row {
    subject: Subject,
    /// Of text, the best of all reads.
    read_mb_per_second: f64,
    /// CPU seconds for one gigabyte of text.
    read_cpu: f64,
    read_peak: f64,
    followed_mb: f64,
    follow_cpu_per_minute: f64,
    follow_peak: f64,
}

/// Measures noded and the kubelet, prints the table.
pub async fn run(run: &Run, extent: Extent) -> Result<()> {
    let load = Load::of(extent);
    print("bench: starting the control plane\n");
    let cluster = Cluster::start(run).await?;
    cluster.create_namespace(NAMESPACE).await?;
    let mut rows = Vec::new();
    for (number, subject) in [Subject::Noded, Subject::Peers].into_iter().enumerate() {
        let node = start(&cluster, subject, &format!("bench-{number}")).await?;
        let bench = Bench { cluster: &cluster, node: &node, subject };
        let measured = bench.measure(&load).await;
        if let (Err(_), Ok(agent)) = (&measured, node.agent()) {
            print(&format!("{}\n", agent.tail(40)));
        }
        rows.push(measured?);
        node.remove().await?;
    }
    print(&render(&rows));
    Ok(())
}

/// A node whose logs are not rotated, as the large one would be at once.
async fn start(cluster: &Arc<Cluster>, subject: Subject, name: &str) -> Result<Arc<Node>> {
    let options = NodeOptions {
        kubelet_config: json!({"containerLogMaxSize": "100Gi"}),
        ..NodeOptions::default()
    };
    let node = Arc::new(Node::start(cluster, name, options).await?);
    match subject {
        Subject::Peers => node.start_peers(),
        _ => node.start_agent(),
    }?;
    node.join().await?;
    Ok(node)
}

/// One subject on its node.
struct Bench<'a> {
    cluster: &'a Arc<Cluster>,
    node: &'a Node,
    subject: Subject,
}

impl Bench<'_> {
    /// The process that serves logs.
    fn server(&self) -> Result<[u32; 1]> {
        let ids = self.node.agent()?.ids();
        Ok([*ids.first().context("no agent runs")?])
    }

    fn name(&self, pod: &str) -> String {
        format!("{}-{pod}", self.node.name())
    }

    async fn measure(&self, load: &Load) -> Result<Row> {
        let who = self.subject.name();
        print(&format!("bench: {who}: a log of {} MiB\n", load.log_bytes >> 20));
        let name = self.name("large");
        let pod = pods::script_pod(NAMESPACE, &name, self.node.name(), "exec sleep 100000");
        let pod = pods::run(self.cluster, &pod, LIMIT).await?;
        let path = self.log_path(&pod)?;
        let bytes = tokio::task::spawn_blocking({
            let (path, bytes) = (path.clone(), load.log_bytes);
            move || write_log(&path, bytes)
        })
        .await??;
        let megabytes = bytes as f64 / 1e6;
        let server = self.server()?;
        usage::forget_peaks(&server)?;
        let (mut best, before) = (0.0_f64, usage::of(&server)?.cpu);
        for _ in 0..load.reads {
            let began = Instant::now();
            let read = self.read(&name).await?;
            ensure!(read == bytes, "{who}: kubectl logs printed {read} bytes of {bytes}");
            let rate = megabytes / began.elapsed().as_secs_f64();
            print(&format!("bench: {who}: {rate:.0} MB/s\n"));
            best = best.max(rate);
        }
        let cpu = usage::of(&server)?.cpu - before;
        let read_peak = usage::peak_memory(&server)?;
        // It would stay in memory on the tmpfs that a test node is on.
        fs::write(&path, "")?;
        let (followed_mb, follow_cpu, follow_peak) = self.follow(load).await?;
        Ok(Row {
            subject: self.subject,
            read_mb_per_second: best,
            read_cpu: cpu / (megabytes / 1000.0 * load.reads as f64),
            read_peak,
            followed_mb,
            follow_cpu_per_minute: follow_cpu / load.window.as_secs_f64() * 60.0,
            follow_peak,
        })
    }

    /// Where the log of the pod's container `main` lies.
    fn log_path(&self, pod: &Value) -> Result<PathBuf> {
        let name = pod["metadata"]["name"].as_str().context("pod without a name")?;
        let dir = format!("{NAMESPACE}_{name}_{}", pods::uid(pod)?);
        Ok(self.node.var_log().join("pods").join(dir).join("main/0.log"))
    }

    /// Bytes that `kubectl logs` prints.
    async fn read(&self, pod: &str) -> Result<u64> {
        let mut child = Command::new(self.cluster.ground().binary("kubectl"))
            .arg("--kubeconfig")
            .arg(self.cluster.admin_kubeconfig())
            .args(["logs", "-n", NAMESPACE, pod])
            .env_clear()
            .env("HOME", self.node.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run kubectl")?;
        let mut output = child.stdout.take().context("no pipe from kubectl")?;
        let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0);
        loop {
            match output.read(&mut buffer).await? {
                0 => break,
                read => bytes += read as u64,
            }
        }
        ensure!(child.wait().await?.success(), "kubectl logs failed");
        Ok(bytes)
    }

    /// Megabytes that followers got, and CPU seconds and peak memory that it took.
    async fn follow(&self, load: &Load) -> Result<(f64, f64, f64)> {
        let names: Vec<String> =
            (0..load.pods).map(|pod| self.name(&format!("busy-{pod}"))).collect();
        let pods = names.iter().map(|name| {
            let pod = pods::script_pod(NAMESPACE, name, self.node.name(), BURST);
            async move { pods::run(self.cluster, &pod, LIMIT).await.map(drop) }
        });
        try_join_all(pods).await?;
        print(&format!("bench: {}: {} followers\n", self.subject.name(), load.followers));
        let server = self.server()?;
        usage::forget_peaks(&server)?;
        let counts: Vec<Arc<AtomicU64>> = (0..load.followers).map(|_| Arc::default()).collect();
        let mut followers = JoinSet::new();
        for (number, count) in counts.iter().enumerate() {
            let pod = &names[number % names.len()];
            let identity = Identity { user: "bench", group: Some("system:masters") };
            let client = ApiClient::new(self.cluster.pki(), identity)?;
            let path = format!("{}/log?follow=true&tailLines=1", pods::path(NAMESPACE, pod));
            followers.spawn(follow_one(client, path, Arc::clone(count)));
        }
        wait::until("lines at every follower", LIMIT, || async {
            let silent = counts.iter().filter(|count| count.load(Ordering::Relaxed) == 0).count();
            Ok(match silent {
                0 => Look::Met(()),
                _ => Look::NotYet(format!("{silent} have none")),
            })
        })
        .await?;
        let total = || counts.iter().map(|count| count.load(Ordering::Relaxed)).sum::<u64>();
        let (before, cpu) = (total(), usage::of(&server)?.cpu);
        tokio::select! {
            () = tokio::time::sleep(load.window) => {}
            Some(ended) = followers.join_next() => {
                ended??;
                anyhow::bail!("a follower came to an end");
            }
        }
        let figures = ((total() - before) as f64 / 1e6, usage::of(&server)?.cpu - cpu);
        Ok((figures.0, figures.1, usage::peak_memory(&server)?))
    }
}

/// Reads a log as long as it comes and counts its bytes.
async fn follow_one(client: ApiClient, path: String, count: Arc<AtomicU64>) -> Result<()> {
    let mut response = client.open(&path).await?;
    while let Some(chunk) = response.chunk().await? {
        count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
    Ok(())
}

/// Adds lines with about so many bytes of text to a log that holds none; how many they are.
fn write_log(path: &PathBuf, bytes: usize) -> Result<u64> {
    let text = "x".repeat(LINE - 1);
    let line = format!("2026-01-02T03:04:05.123456789Z stdout F {text}\n");
    let file = OpenOptions::new().append(true).open(path);
    let file = file.with_context(|| format!("cannot write {}", path.display()))?;
    let mut file = BufWriter::with_capacity(1 << 20, file);
    let lines = bytes / LINE;
    for _ in 0..lines {
        file.write_all(line.as_bytes())?;
    }
    file.flush()?;
    Ok((lines * LINE) as u64)
}

fn render(rows: &[Row]) -> String {
    let mut text = String::from(
        "\n| who | kubectl logs, MB/s | CPU, s/GB | peak memory, MiB | followed, MB | CPU, s/min \
         | peak memory, MiB |\n|---|---|---|---|---|---|---|\n",
    );
    for row in rows {
        text += &format!(
            "| {} | {:.0} | {:.2} | {:.1} | {:.1} | {:.1} | {:.1} |\n",
            if row.subject == Subject::Peers { "kubelet" } else { row.subject.name() },
            row.read_mb_per_second,
            row.read_cpu,
            row.read_peak,
            row.followed_mb,
            row.follow_cpu_per_minute,
            row.follow_peak,
        );
    }
    if let [ours, theirs] = rows {
        text += &format!(
            "\nnoded reads {:.1} times as fast with {:.2} of the CPU time and {:.2} of the memory \
             of the kubelet; its followers take {:.2} of the CPU time and {:.2} of the memory\n",
            ours.read_mb_per_second / theirs.read_mb_per_second,
            ours.read_cpu / theirs.read_cpu,
            ours.read_peak / theirs.read_peak,
            ours.follow_cpu_per_minute / theirs.follow_cpu_per_minute,
            ours.follow_peak / theirs.follow_peak,
        );
    }
    text
}
