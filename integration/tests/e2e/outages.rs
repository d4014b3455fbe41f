//! What survives when the agent, containerd or the API server goes away.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use integration::node::{Node, NodeOptions, condition, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods, services};
use serde_json::{Value, json};

use crate::LIMIT;
use crate::services::rules;

/// How long the API server stays away: longer than the 40 s of a Node's Lease.
const OUTAGE: Duration = Duration::from_secs(60);
/// How often the agent is killed.
const KILLS: u32 = 20;

pub fn tests() -> Vec<Test> {
    integration::tests![
        twenty_kills_of_the_agent_restart_no_container,
        restart_count_and_back_off_survive_a_kill,
        what_happens_without_the_agent_is_caught_up_with,
        pods_outlive_containerd;
        alone: pods_outlive_the_api_server,
    ]
}

/// A node of the test's own, with a folder in which pods leave notes.
struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
    notes: PathBuf,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        let cluster = context.cluster().await?;
        let node = context.node(NodeOptions::default()).await?;
        let namespace = context.namespace().await?;
        let notes = node.directory().join("notes");
        fs::create_dir_all(&notes)?;
        Ok(Self { cluster, node, namespace, notes })
    }

    /// A pod that adds a line to the note of its name at each start, then runs `script`.
    fn noting_pod(&self, name: &str, script: &str) -> Value {
        let script = format!("echo started >> /notes/{name}; trap 'exit 0' TERM; {script}");
        let mut pod = pods::script_pod(&self.namespace, name, self.node.name(), &script);
        pod["spec"]["volumes"] = json!([{"name": "notes", "hostPath": {"path": self.notes}}]);
        pod["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "notes", "mountPath": "/notes"}]);
        pod
    }

    async fn run(&self, name: &str, script: &str) -> Result<Value> {
        pods::run(&self.cluster, &self.noting_pod(name, script), LIMIT).await
    }

    fn path(&self, name: &str) -> String {
        pods::path(&self.namespace, name)
    }

    /// How often the container of a pod was started.
    fn starts(&self, name: &str) -> usize {
        let text = fs::read_to_string(self.notes.join(name)).unwrap_or_default();
        text.lines().count()
    }
}

const FOREVER: &str = "while :; do sleep 0.2; done";

fn same_container(before: &Value, after: &Value) -> Result<()> {
    let (before, after) =
        (pods::container_status(before, "main")?, pods::container_status(after, "main")?);
    ensure!(before["containerID"] == after["containerID"], "{before}\nbecame {after}");
    ensure!(after["restartCount"] == 0 && after["state"]["running"].is_object(), "{after}");
    Ok(())
}

async fn twenty_kills_of_the_agent_restart_no_container(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let agent = fixture.node.agent()?;
    let mut steady = BTreeMap::new();
    for name in ["steady-1", "steady-2", "steady-3"] {
        steady.insert(name, fixture.run(name, FOREVER).await?);
    }
    for round in 0..KILLS {
        fixture.cluster.create(&fixture.noting_pod(&format!("churn-{round}"), FOREVER)).await?;
        if let Some(old) = round.checked_sub(4) {
            fixture.cluster.client().delete(&fixture.path(&format!("churn-{old}"))).await?;
        }
        // Not a wait for something: it moves the kill through all stages of a start.
        tokio::time::sleep(Duration::from_millis(u64::from(round) * 90)).await;
        agent.kill9().await?;
        agent.start()?;
    }
    let kept: Vec<String> = (KILLS - 4..KILLS).map(|round| format!("churn-{round}")).collect();
    for name in &kept {
        pods::wait_ready(&fixture.cluster, &fixture.path(name), LIMIT).await?;
    }
    for round in 0..KILLS - 4 {
        let path = fixture.path(&format!("churn-{round}"));
        pods::wait_gone(&fixture.cluster, &path, LIMIT).await?;
    }
    for (name, before) in &steady {
        let after = pods::wait_ready(&fixture.cluster, &fixture.path(name), LIMIT).await?;
        same_container(before, &after)?;
    }
    for name in steady.keys() {
        let starts = fixture.starts(name);
        ensure!(starts == 1, "{name} was started {starts} times");
    }
    for name in &kept {
        check_churned(&fixture, name).await?;
    }
    wait_running(&fixture.node, (steady.len() + kept.len()) * 2).await
}

/// A pod whose start met a kill was started once, unless the kill cut the call that starts the
/// container: containerd then ends what it has just begun, and says so.
async fn check_churned(fixture: &Fixture, name: &str) -> Result<()> {
    let starts = || async { Ok(fixture.starts(name)) };
    // A container is Ready a moment before its first line ran.
    wait::until_value("note of the start", LIMIT, starts, |starts| *starts > 0).await?;
    let pod = fixture.cluster.get_json(&fixture.path(name)).await?;
    let status = pods::container_status(&pod, "main")?;
    let restarts = status["restartCount"].as_u64().unwrap_or_default();
    let starts = u64::try_from(fixture.starts(name))?;
    ensure!(starts <= 1 + restarts, "{name} was started {starts} times: {status}");
    let cut = status["lastState"]["terminated"]["reason"] == "StartError";
    ensure!(restarts == 0 || cut, "{name} was restarted: {status}");
    Ok(())
}

/// Waits until just so many containers run, sandboxes included.
async fn wait_running(node: &Node, count: usize) -> Result<()> {
    wait::until("running containers", LIMIT, || async {
        let tasks = node.runtime().ctr(&["task", "list"]).await?;
        let running = tasks.lines().filter(|line| line.contains("RUNNING")).count();
        Ok(if running == count { Look::Met(()) } else { Look::NotYet(tasks) })
    })
    .await
}

async fn restart_count_and_back_off_survive_a_kill(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let agent = fixture.node.agent()?;
    let crashing = pods::script_pod(&fixture.namespace, "crash", fixture.node.name(), "exit 5");
    fixture.cluster.create(&crashing).await?;
    let mut over = pods::script_pod(&fixture.namespace, "over", fixture.node.name(), "exit 6");
    over["spec"]["restartPolicy"] = "Never".into();
    pods::run_to_end(&fixture.cluster, &over, LIMIT).await?;
    let count = |pod: &Value| {
        pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
    };
    let path = fixture.path("crash");
    let before = pods::wait_for(&fixture.cluster, &path, LIMIT, |pod| {
        let state = &pod["status"]["containerStatuses"][0]["state"];
        count(pod) == 1 && state["waiting"]["reason"] == "CrashLoopBackOff"
    })
    .await?;
    agent.kill9().await?;
    agent.start()?;
    let after = pods::wait_for(&fixture.cluster, &path, LIMIT, |pod| count(pod) != 1).await?;
    ensure!(count(&after) == 2, "restart count {} after {}", count(&after), count(&before));
    let over = fixture.cluster.get_json(&fixture.path("over")).await?;
    let state = &pods::container_status(&over, "main")?["state"]["terminated"];
    ensure!(state["exitCode"] == 6 && over["status"]["phase"] == "Failed", "{}", over["status"]);
    Ok(())
}

async fn what_happens_without_the_agent_is_caught_up_with(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let steady = fixture.run("steady", FOREVER).await?;
    let script = "until test -f /notes/go; do sleep 0.1; done; exit 7";
    let mut ending = fixture.noting_pod("ending", script);
    ending["spec"]["restartPolicy"] = "Never".into();
    let ending = pods::run(&fixture.cluster, &ending, LIMIT).await?;
    for name in ["deleted", "forgotten"] {
        fixture.run(name, FOREVER).await?;
    }
    let agent = fixture.node.agent()?;
    agent.stop().await?;
    fs::write(fixture.notes.join("go"), "")?;
    let id = pods::container_id(&ending, "main")?;
    wait::until("end of a container", LIMIT, || async {
        let tasks = fixture.node.runtime().ctr(&["task", "list"]).await?;
        let line = tasks.lines().find(|line| line.starts_with(&id)).unwrap_or_default();
        Ok(if line.contains("RUNNING") { Look::NotYet(line.to_owned()) } else { Look::Met(()) })
    })
    .await?;
    fixture.cluster.create(&fixture.noting_pod("created", FOREVER)).await?;
    fixture.cluster.client().delete(&fixture.path("deleted")).await?;
    // Leaves the API at once: only the runtime knows of it.
    fixture.cluster.client().force_delete(&fixture.path("forgotten")).await?;
    agent.start()?;

    pods::wait_ready(&fixture.cluster, &fixture.path("created"), LIMIT).await?;
    pods::wait_gone(&fixture.cluster, &fixture.path("deleted"), LIMIT).await?;
    let ended = pods::wait_for(&fixture.cluster, &fixture.path("ending"), LIMIT, |pod| {
        pod["status"]["phase"] == "Failed"
    })
    .await?;
    let state = &pods::container_status(&ended, "main")?["state"]["terminated"];
    ensure!(state["exitCode"] == 7, "{state}");
    let after = pods::wait_ready(&fixture.cluster, &fixture.path("steady"), LIMIT).await?;
    same_container(&steady, &after)?;
    for name in ["steady", "ending", "deleted", "forgotten"] {
        ensure!(fixture.starts(name) == 1, "{name} was started {} times", fixture.starts(name));
    }
    wait_running(&fixture.node, 4).await
}

async fn pods_outlive_containerd(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let before = fixture.run("steady", FOREVER).await?;
    let limit = Duration::from_secs(120);
    fixture.node.runtime().kill().await?;
    let path = fixture.node.api_path();
    wait::until("Node that is not Ready", limit, || async {
        let node = fixture.cluster.get_json(&path).await?;
        let ready = condition(&node, "Ready").cloned().unwrap_or_default();
        Ok(if ready["status"] == "False" {
            let message = ready["message"].as_str().unwrap_or_default();
            ensure!(message.contains("runtime"), "message: {message}");
            Look::Met(())
        } else {
            Look::NotYet(ready.to_string())
        })
    })
    .await?;
    let during = fixture.cluster.get_json(&fixture.path("steady")).await?;
    same_container(&before, &during)?;
    fixture.node.runtime().start_again().await?;
    fixture.node.wait_ready(limit).await?;
    let after = pods::wait_ready(&fixture.cluster, &fixture.path("steady"), LIMIT).await?;
    same_container(&before, &after)?;
    fixture.run("new", FOREVER).await?;
    ensure!(fixture.starts("steady") == 1, "started {} times", fixture.starts("steady"));
    fixture.cluster.client().delete(&fixture.path("steady")).await?;
    pods::wait_gone(&fixture.cluster, &fixture.path("steady"), LIMIT).await
}

/// Waits until Services lead to this endpoint, or do not.
async fn wait_target(node: &Node, target: SocketAddr, wanted: bool) -> Result<()> {
    let target = format!("--to-destination {target}");
    wait::until(&format!("{target} {wanted}"), LIMIT, || async {
        let text = rules(node).await?;
        let found = text.lines().any(|line| line.ends_with(&target));
        Ok(if found == wanted { Look::Met(()) } else { Look::NotYet(text) })
    })
    .await
}

async fn pods_outlive_the_api_server(context: Arc<TestContext>) -> Result<()> {
    let fixture = Fixture::new(&context).await?;
    let wait_for = |name: &str| format!("until test -f /notes/go-{name}; do sleep 0.1; done");
    let steady = fixture.run("steady", FOREVER).await?;
    let mut ending = fixture.noting_pod("ending", &format!("{}; exit 7", wait_for("ending")));
    ending["spec"]["restartPolicy"] = "Never".into();
    ending["metadata"]["labels"] = json!({"app": "behind"});
    let ending = pods::run(&fixture.cluster, &ending, LIMIT).await?;
    let service = services::service(&fixture.namespace, "behind", "behind", "ClusterIP");
    fixture.cluster.create(&service).await?;
    let target = services::pod_address(&ending)?;
    wait_target(&fixture.node, target, true).await?;
    let again = format!("test -f /notes/go-again && {FOREVER}; {}; exit 8", wait_for("again"));
    fixture.run("again", &again).await?;

    fixture.cluster.stop_api_server().await?;
    let stopped = Instant::now();
    for name in ["ending", "again"] {
        fs::write(fixture.notes.join(format!("go-{name}")), "")?;
    }
    wait::until("restart without an API server", LIMIT, || async {
        let starts = fixture.starts("again");
        Ok(if starts == 2 { Look::Met(()) } else { Look::NotYet(format!("{starts} starts")) })
    })
    .await?;
    // kube-proxy would have to hear of it from the API.
    if !peers_wanted() {
        wait_target(&fixture.node, target, false).await?;
    }
    // The length of the outage is the point of this test.
    tokio::time::sleep(OUTAGE.saturating_sub(stopped.elapsed())).await;
    fixture.node.agent()?.expect_running()?;
    fixture.cluster.start_api_server().await?;

    let ended = pods::wait_for(&fixture.cluster, &fixture.path("ending"), LIMIT, |pod| {
        pod["status"]["phase"] == "Failed"
    })
    .await?;
    let state = &pods::container_status(&ended, "main")?["state"]["terminated"];
    ensure!(state["exitCode"] == 7, "{state}");
    let restarted = pods::wait_for(&fixture.cluster, &fixture.path("again"), LIMIT, |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"] == 1 && pods::is_ready(pod)
    })
    .await?;
    let last = &pods::container_status(&restarted, "main")?["lastState"]["terminated"];
    ensure!(last["exitCode"] == 8, "{last}");
    let limit = if peers_wanted() { 2 * LIMIT } else { LIMIT / 2 };
    fixture.node.wait_ready(limit).await?;
    let after = pods::wait_ready(&fixture.cluster, &fixture.path("steady"), LIMIT).await?;
    same_container(&steady, &after)?;
    ensure!(fixture.starts("steady") == 1 && fixture.starts("ending") == 1);
    fixture.run("new", FOREVER).await?;
    Ok(())
}
