//! How containers end when their pod is deleted.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::node::{Node, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::watch::Watch;
use integration::{TestContext, pods, wait};
use serde_json::Value;

use crate::LIMIT;

/// Ends with code 3 two seconds after it was asked to.
const SLOW: &str = "trap 'sleep 2; exit 3' TERM; echo up; while :; do sleep 0.1; done";
/// Never ends by itself.
const STUBBORN: &str = "trap '' TERM; echo up; while :; do sleep 0.1; done";
/// A grace in seconds that no test waits out.
const LONG_GRACE: u64 = 300;

pub fn tests() -> Vec<Test> {
    integration::tests![
        container_that_needs_time_ends_by_itself_within_its_grace,
        container_that_ignores_the_signal_is_killed_after_its_grace,
        deletion_without_grace_ends_the_container_at_once,
        second_deletion_shortens_the_grace,
        last_words_are_cut_to_the_last_4096_bytes,
        failed_container_without_last_words_speaks_by_its_log,
    ]
}

/// A pod on the shared node whose script has set its trap.
struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    watch: Watch,
    path: String,
    pod: Value,
}

impl Fixture {
    async fn new(context: &TestContext, script: &str, grace: u64) -> Result<Self> {
        let cluster = context.cluster().await?;
        let node = context.shared_node().await?;
        let namespace = context.namespace().await?;
        let watch = cluster.watch(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
        let mut pod = pods::script_pod(&namespace, "a", node.name(), script);
        pod["spec"]["terminationGracePeriodSeconds"] = grace.into();
        let pod = pods::run(&cluster, &pod, LIMIT).await?;
        let folder = format!("pods/{namespace}_a_{}/main/0.log", pods::uid(&pod)?);
        let log = node.var_log().join(folder);
        wait::until_value(
            "first line of the script",
            LIMIT,
            || async { Ok(fs::read_to_string(&log)?) },
            |text| text.contains("up"),
        )
        .await?;
        Ok(Self { cluster, node, watch, path: pods::path(&namespace, "a"), pod })
    }

    /// The pod as it was when it left the API.
    async fn last(&mut self) -> Result<Value> {
        let gone = self.watch.until("deleted", LIMIT, |event| event.kind == "DELETED").await?;
        Ok(gone.object)
    }

    async fn delete(&self, query: &str) -> Result<()> {
        self.cluster.client().delete(&format!("{}{query}", self.path)).await
    }
}

fn exit_code(pod: &Value) -> Result<i64> {
    let state = &pods::container_status(pod, "main")?["state"];
    state["terminated"]["exitCode"].as_i64().ok_or_else(|| anyhow::anyhow!("state: {state}"))
}

async fn container_that_needs_time_ends_by_itself_within_its_grace(
    context: Arc<TestContext>,
) -> Result<()> {
    let mut fixture = Fixture::new(&context, SLOW, LONG_GRACE).await?;
    let asked = Instant::now();
    fixture.delete("").await?;
    let last = fixture.last().await?;
    let took = asked.elapsed();
    ensure!(exit_code(&last)? == 3, "{}", last["status"]);
    ensure!(took >= Duration::from_secs(2), "gone after {took:?}");
    let state = &pods::container_status(&last, "main")?["state"]["terminated"];
    ensure!(state["reason"] == "Error", "{state}");
    ensure!(last["status"]["phase"] == "Failed", "{}", last["status"]);
    Ok(())
}

async fn container_that_ignores_the_signal_is_killed_after_its_grace(
    context: Arc<TestContext>,
) -> Result<()> {
    let mut fixture = Fixture::new(&context, STUBBORN, 2).await?;
    let asked = Instant::now();
    fixture.delete("").await?;
    let last = fixture.last().await?;
    let took = asked.elapsed();
    ensure!(exit_code(&last)? == 137, "{}", last["status"]);
    ensure!(took >= Duration::from_secs(2), "gone after {took:?}");
    Ok(())
}

async fn deletion_without_grace_ends_the_container_at_once(
    context: Arc<TestContext>,
) -> Result<()> {
    let mut fixture = Fixture::new(&context, STUBBORN, LONG_GRACE).await?;
    let id = pods::container_id(&fixture.pod, "main")?;
    fixture.delete("?gracePeriodSeconds=0").await?;
    fixture.last().await?;
    wait::until_value(
        "end of the container",
        LIMIT,
        || fixture.node.runtime().containers(),
        |containers| !containers.contains(&id),
    )
    .await?;
    Ok(())
}

async fn second_deletion_shortens_the_grace(context: Arc<TestContext>) -> Result<()> {
    if peers_wanted() {
        return Ok(()); // The kubelet waits out the first grace on this runtime.
    }
    let mut fixture = Fixture::new(&context, STUBBORN, LONG_GRACE).await?;
    fixture.delete("").await?;
    pods::wait_events(&fixture.cluster, &fixture.pod, &["Killing"], LIMIT).await?;
    fixture.delete("?gracePeriodSeconds=1").await?;
    let last = fixture.last().await?;
    ensure!(exit_code(&last)? == 137, "{}", last["status"]);
    Ok(())
}

/// How the container of a pod of this script ended; it does not restart.
async fn ended(context: &TestContext, script: &str, policy: &str) -> Result<Value> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::script_pod(&namespace, "a", node.name(), script);
    pod["spec"]["restartPolicy"] = "Never".into();
    pod["spec"]["containers"][0]["terminationMessagePolicy"] = policy.into();
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    Ok(pods::container_status(&pod, "main")?["state"]["terminated"].clone())
}

async fn last_words_are_cut_to_the_last_4096_bytes(context: Arc<TestContext>) -> Result<()> {
    let script = "(echo begin; head -c 4092 /dev/zero | tr '\\0' x; echo end) \
                  > /dev/termination-log; echo in the log; exit 1";
    let ended = ended(&context, script, "FallbackToLogsOnError").await?;
    let words = format!("{}end\n", "x".repeat(4092));
    ensure!(ended["message"] == words, "{ended}");
    Ok(())
}

async fn failed_container_without_last_words_speaks_by_its_log(
    context: Arc<TestContext>,
) -> Result<()> {
    let ended = ended(&context, "echo in the log; exit 1", "FallbackToLogsOnError").await?;
    ensure!(ended["message"] == "in the log\n", "{ended}");
    Ok(())
}
