//! What an agent takes while nothing happens: memory, CPU time, requests to the API server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Result;
use futures::future::try_join_all;
use integration::console::print;
use integration::isolation::Run;
use integration::node::Node;
use integration::pods;
use integration::real_cluster::Cluster;

use crate::Extent;
use crate::audit::AuditLog;
use crate::subject::Subject;
use crate::usage::{self, Usage};

const NAMESPACE: &str = "bench";
/// How many pods run in the second measurement.
const PODS: usize = 30;
const READY_LIMIT: Duration = Duration::from_secs(120);

/// How long a node is left alone before, and how long it is measured.
struct Windows {
    settle: Duration,
    measure: Duration,
}

impl Windows {
    /// A minute holds six lease renewals and one of every periodic job but the 5 min report.
    fn of(extent: Extent) -> Self {
        let (settle, measure) = match extent {
            Extent::Whole => (30, 60),
            Extent::Quick => (2, 10),
        };
        Self { settle: Duration::from_secs(settle), measure: Duration::from_secs(measure) }
    }
}

/// One measured minute.
struct Row {
    subject: Subject,
    pods: usize,
    memory: Usage,
    cpu_per_minute: f64,
    requests_per_minute: f64,
}

/// Measures noded and the peers, prints what was asked and the table.
pub async fn run(run: &Run, extent: Extent) -> Result<()> {
    let windows = Windows::of(extent);
    print("bench: starting the control plane\n");
    let audit = AuditLog::prepare(&run.directory().join("audit"))?;
    let cluster = Cluster::start_with(run, &audit.api_server_args()).await?;
    cluster.create_namespace(NAMESPACE).await?;
    let seconds = 2 * (windows.settle + windows.measure).as_secs() + 15;
    let mut rows = Vec::new();
    for (number, subject) in [Subject::Noded, Subject::Peers].into_iter().enumerate() {
        print(&format!("bench: {}: about {seconds} s\n", subject.name()));
        let node = subject.start(&cluster, &format!("bench-{number}")).await?;
        rows.push(measure(&node, subject, 0, &windows, &audit).await?);
        run_pods(&cluster, &node).await?;
        rows.push(measure(&node, subject, PODS, &windows, &audit).await?);
        node.remove().await?;
    }
    print(&render(&rows));
    Ok(())
}

async fn run_pods(cluster: &Arc<Cluster>, node: &Arc<Node>) -> Result<()> {
    let names: Vec<String> = (0..PODS).map(|pod| format!("{}-{pod}", node.name())).collect();
    for name in &names {
        cluster.create(&pods::pause_pod(NAMESPACE, name, node.name())).await?;
    }
    let paths: Vec<String> = names.iter().map(|name| pods::path(NAMESPACE, name)).collect();
    try_join_all(paths.iter().map(|path| pods::wait_ready(cluster, path, READY_LIMIT)))
        .await
        .map(drop)
}

async fn measure(
    node: &Node,
    subject: Subject,
    pods: usize,
    windows: &Windows,
    audit: &AuditLog,
) -> Result<Row> {
    tokio::time::sleep(windows.settle).await;
    let agent = node.agent()?;
    let (mark, before, began) = (audit.mark(), usage::of(&agent.ids())?, Instant::now());
    tokio::time::sleep(windows.measure).await;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let after = usage::of(&agent.ids())?;
    let requests = audit.requests_since(mark)?;
    let list: Vec<String> =
        requests.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    print(&format!("bench: {} with {pods} pods asked: {}\n", subject.name(), list.join(", ")));
    Ok(Row {
        subject,
        pods,
        memory: after,
        cpu_per_minute: (after.cpu - before.cpu) / minutes,
        requests_per_minute: f64::from(requests.values().sum::<u32>()) / minutes,
    })
}

fn render(rows: &[Row]) -> String {
    let mut text = String::from(
        "\n| pods | who | resident, MiB | proportional, MiB | CPU, s/min | API requests/min |\n\
         |---|---|---|---|---|---|\n",
    );
    let mut sorted: Vec<&Row> = rows.iter().collect();
    sorted.sort_by_key(|row| (row.pods, row.subject));
    for row in sorted {
        text += &format!(
            "| {} | {} | {:.1} | {:.1} | {:.2} | {:.0} |\n",
            row.pods,
            row.subject.name(),
            row.memory.rss,
            row.memory.pss,
            row.cpu_per_minute,
            row.requests_per_minute,
        );
    }
    text + &ratios(rows)
}

/// One line for each number of pods: the peers' figures by noded's.
fn ratios(rows: &[Row]) -> String {
    let ours = rows.iter().filter(|row| row.subject == Subject::Noded);
    ours.filter_map(|ours| {
        let theirs =
            rows.iter().find(|row| row.subject == Subject::Peers && row.pods == ours.pods)?;
        Some(format!(
            "\nwith {} pods {} takes {:.1} times the memory, {:.1} times the CPU and {:.1} times \
             the requests of noded\n",
            ours.pods,
            theirs.subject.name(),
            theirs.memory.rss / ours.memory.rss,
            theirs.cpu_per_minute / ours.cpu_per_minute,
            theirs.requests_per_minute / ours.requests_per_minute,
        ))
    })
    .collect()
}
