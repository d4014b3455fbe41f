//! What containers do right after their start and right before their end.

use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use integration::node::{Node, NodeOptions, peers_wanted};
use integration::real_cluster::Cluster;
use integration::runner::Test;
use integration::watch::Watch;
use integration::{TestContext, in_pod, pods, services, wait};
use serde_json::{Value, json};

use crate::LIMIT;

/// Ends well at once when asked to.
const POLITE: &str = "trap 'exit 0' TERM; while :; do sleep 0.1; done";
/// A grace in seconds that no test waits out.
const LONG_GRACE: u64 = 300;

pub fn tests() -> Vec<Test> {
    integration::tests![
        post_start_hook_ends_before_the_next_container_starts,
        failed_post_start_hook_ends_the_container_and_is_told,
        pre_stop_command_runs_before_the_signal,
        pre_stop_request_falls_back_to_plain_http,
        pre_stop_sleep_delays_the_end,
        pre_stop_hook_is_cut_off_when_the_grace_is_over,
        second_deletion_with_less_grace_cuts_a_hook,
        hooks_across_an_absence_of_the_agent,
    ]
}

/// A pod on the shared node, and a watch of its namespace.
struct Fixture {
    cluster: Arc<Cluster>,
    node: Arc<Node>,
    namespace: String,
    watch: Watch,
}

impl Fixture {
    async fn new(context: &TestContext) -> Result<Self> {
        let cluster = context.cluster().await?;
        let node = context.shared_node().await?;
        let namespace = context.namespace().await?;
        let watch = cluster.watch(&format!("/api/v1/namespaces/{namespace}/pods")).await?;
        Ok(Self { cluster, node, namespace, watch })
    }

    /// A pod `a` whose container `main` runs the script and has these hooks.
    fn pod(&self, script: &str, grace: u64, hooks: Value) -> Value {
        let mut pod = pods::script_pod(&self.namespace, "a", self.node.name(), script);
        pod["spec"]["terminationGracePeriodSeconds"] = grace.into();
        pod["spec"]["containers"][0]["lifecycle"] = hooks;
        with_state(pod)
    }

    async fn run(&self, pod: &Value) -> Result<Value> {
        pods::run(&self.cluster, pod, LIMIT).await
    }

    async fn delete(&self, query: &str) -> Result<()> {
        let path = pods::path(&self.namespace, "a");
        self.cluster.client().delete(&format!("{path}{query}")).await
    }

    /// The end of `main` as the pod showed it last.
    async fn end(&mut self) -> Result<Value> {
        let gone = self.watch.until("deleted", LIMIT, |event| event.kind == "DELETED").await?;
        let state = &pods::container_status(&gone.object, "main")?["state"]["terminated"];
        ensure!(state.is_object(), "{}", gone.object["status"]);
        Ok(state.clone())
    }
}

/// The pod with a folder `/state` that all its containers share.
fn with_state(mut pod: Value) -> Value {
    pod["spec"]["volumes"] = json!([{"name": "state", "emptyDir": {}}]);
    for container in pod["spec"]["containers"].as_array_mut().into_iter().flatten() {
        container["volumeMounts"] = json!([{"name": "state", "mountPath": "/state"}]);
    }
    pod
}

fn command(script: &str) -> Value {
    json!({"exec": {"command": ["/bin/sh", "-c", script]}})
}

async fn post_start_hook_ends_before_the_next_container_starts(
    context: Arc<TestContext>,
) -> Result<()> {
    let mut fixture = Fixture::new(&context).await?;
    let hooks = json!({"postStart": command("sleep 2; touch /state/hooked")});
    let mut pod = fixture.pod(POLITE, 1, hooks);
    let mut next = pod["spec"]["containers"][0].clone();
    next["name"] = "next".into();
    next["command"] =
        json!(["/bin/sh", "-c", format!("test -f /state/hooked || exit 7; {POLITE}")]);
    next.as_object_mut().context("container")?.remove("lifecycle");
    pod["spec"]["containers"].as_array_mut().context("containers")?.push(next);
    fixture.cluster.create(&pod).await?;
    let ready = fixture.watch.until("Ready", LIMIT, |event| pods::is_ready(&event.object)).await?;
    let status = pods::container_status(&ready.object, "next")?;
    ensure!(status["restartCount"] == 0, "{status}");
    Ok(())
}

async fn failed_post_start_hook_ends_the_container_and_is_told(
    context: Arc<TestContext>,
) -> Result<()> {
    let mut fixture = Fixture::new(&context).await?;
    let hooks = json!({"postStart": command("echo no luck; exit 3")});
    let pod = fixture.pod(POLITE, 1, hooks);
    let pod = fixture.cluster.create(&pod).await?;
    let waiting = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["waiting"].clone();
    let failed = fixture
        .watch
        .until("the hook's failure", LIMIT, |event| {
            waiting(&event.object)["reason"] == "PostStartHookError"
        })
        .await?;
    let message = waiting(&failed.object)["message"].as_str().unwrap_or_default().to_owned();
    let place = format!(
        "for Container \"main\" in Pod \"a_{}({})\" failed",
        fixture.namespace,
        pods::uid(&pod)?
    );
    for part in ["Exec lifecycle hook ([/bin/sh -c ", &place, "message: \"no luck\\n\""] {
        ensure!(message.contains(part), "no {part:?} in {message:?}");
    }
    let events = pods::wait_events(
        &fixture.cluster,
        &pod,
        &["Started", "FailedPostStartHook", "Killing"],
        LIMIT,
    )
    .await?;
    let told = events.iter().find(|event| event["reason"] == "FailedPostStartHook");
    let told = told.context("the event")?;
    ensure!(told["type"] == "Warning" && told["message"] == "PostStartHook failed", "{told}");
    fixture
        .watch
        .until("a restart", LIMIT, |event| {
            event.object["status"]["containerStatuses"][0]["restartCount"].as_u64() > Some(0)
        })
        .await?;
    Ok(())
}

async fn pre_stop_command_runs_before_the_signal(context: Arc<TestContext>) -> Result<()> {
    let mut fixture = Fixture::new(&context).await?;
    let script = "trap 'test -f /state/bye && exit 4; exit 5' TERM; while :; do sleep 0.1; done";
    let hooks = json!({"preStop": command("sleep 1; touch /state/bye")});
    let pod = fixture.run(&fixture.pod(script, LONG_GRACE, hooks)).await?;
    fixture.delete("").await?;
    let end = fixture.end().await?;
    ensure!(end["exitCode"] == 4, "{end}");
    let events = pods::wait_events(&fixture.cluster, &pod, &["Killing"], LIMIT).await?;
    let kills = events.iter().filter(|event| event["reason"] == "Killing");
    ensure!(kills.count() == 1, "{events:?}");
    ensure!(events.iter().all(|event| event["reason"] != "FailedPreStopHook"), "{events:?}");
    Ok(())
}

async fn pre_stop_request_falls_back_to_plain_http(context: Arc<TestContext>) -> Result<()> {
    let mut fixture = Fixture::new(&context).await?;
    let mut pod = services::server_pod(&fixture.namespace, "a", fixture.node.name(), "a");
    pod["spec"]["terminationGracePeriodSeconds"] = LONG_GRACE.into();
    let container = &mut pod["spec"]["containers"][0];
    container["name"] = "main".into();
    // The server does in its container what the request asks for.
    container["lifecycle"] = json!({"preStop": {"httpGet": {
        "scheme": "HTTPS",
        "port": 8080,
        "path": "/shell?shellCommand=echo%20bye%20%3E/dev/termination-log",
    }}});
    let pod = fixture.run(&pod).await?;
    in_pod::listening(&pod).await?;
    fixture.delete("").await?;
    let end = fixture.end().await?;
    ensure!(end["message"] == "bye\n", "{end}");
    pods::wait_events(&fixture.cluster, &pod, &["LifecycleHTTPFallback"], LIMIT).await?;
    Ok(())
}

async fn pre_stop_sleep_delays_the_end(context: Arc<TestContext>) -> Result<()> {
    let mut fixture = Fixture::new(&context).await?;
    let hooks = json!({"preStop": {"sleep": {"seconds": 3}}});
    fixture.run(&fixture.pod(POLITE, LONG_GRACE, hooks)).await?;
    let asked = Instant::now();
    fixture.delete("").await?;
    let end = fixture.end().await?;
    let took = asked.elapsed();
    ensure!(end["exitCode"] == 0 && took >= Duration::from_secs(3), "{end} after {took:?}");
    Ok(())
}

async fn pre_stop_hook_is_cut_off_when_the_grace_is_over(context: Arc<TestContext>) -> Result<()> {
    let mut fixture = Fixture::new(&context).await?;
    let hooks = json!({"preStop": command("sleep 600")});
    let pod = fixture.run(&fixture.pod(POLITE, 3, hooks)).await?;
    let asked = Instant::now();
    fixture.delete("").await?;
    let end = fixture.end().await?;
    let took = asked.elapsed();
    // There is time for a last word even then.
    ensure!(end["exitCode"] == 0 && took >= Duration::from_secs(3), "{end} after {took:?}");
    pods::wait_events(&fixture.cluster, &pod, &["FailedPreStopHook"], LIMIT).await?;
    Ok(())
}

async fn second_deletion_with_less_grace_cuts_a_hook(context: Arc<TestContext>) -> Result<()> {
    let mut fixture = Fixture::new(&context).await?;
    let hooks = json!({"preStop": {"sleep": {"seconds": LONG_GRACE - 1}}});
    let pod = fixture.run(&fixture.pod(POLITE, LONG_GRACE, hooks)).await?;
    fixture.delete("").await?;
    pods::wait_events(&fixture.cluster, &pod, &["Killing"], LIMIT).await?;
    fixture.delete("?gracePeriodSeconds=1").await?;
    let end = fixture.end().await?;
    ensure!(end["exitCode"] == 0, "{end}");
    Ok(())
}

/// One pod whose postStart hook the agent leaves behind, and one that is gone from the API when it
/// comes back.
async fn hooks_across_an_absence_of_the_agent(context: Arc<TestContext>) -> Result<()> {
    if peers_wanted() {
        return Ok(()); // The kubelet ends pods it knows nothing of without their hooks.
    }
    let cluster = context.cluster().await?;
    let node = context.node(NodeOptions::default()).await?;
    let namespace = context.namespace().await?;
    let notes = node.directory().join("notes");
    fs::create_dir_all(&notes)?;
    let noting = |name: &str, hooks: Value| {
        let mut pod = pods::script_pod(&namespace, name, node.name(), POLITE);
        pod["spec"]["volumes"] = json!([{"name": "notes", "hostPath": {"path": notes}}]);
        pod["spec"]["containers"][0]["volumeMounts"] =
            json!([{"name": "notes", "mountPath": "/notes"}]);
        pod["spec"]["containers"][0]["lifecycle"] = hooks;
        pod
    };
    let written = async |name: &str, text: &str| {
        let path = notes.join(name);
        let read = || async { Ok(fs::read_to_string(&path)?) };
        wait::until_value(name, LIMIT, read, |found| found == text).await
    };
    let orphan = noting("orphan", json!({"preStop": command("echo bye >> /notes/orphan")}));
    let orphan = pods::run(&cluster, &orphan, LIMIT).await?;
    let hook = command("echo begun >> /notes/hooked; sleep 600");
    let hooked = cluster.create(&noting("hooked", json!({"postStart": hook}))).await?;
    written("hooked", "begun\n").await?;

    node.agent()?.kill9().await?;
    let path = pods::path(&namespace, "orphan");
    cluster.client().force_delete(&path).await?;
    node.agent()?.start()?;

    written("orphan", "bye\n").await?;
    let id = pods::container_id(&orphan, "main")?;
    let containers = || node.runtime().containers();
    wait::until_value("end of the orphan", LIMIT, containers, |all| !all.contains(&id)).await?;
    let path = pods::path(&namespace, "hooked");
    let hooked_now = pods::wait_ready(&cluster, &path, LIMIT).await?;
    ensure!(pods::uid(&hooked_now)? == pods::uid(&hooked)?);
    ensure!(pods::container_status(&hooked_now, "main")?["restartCount"] == 0);
    written("hooked", "begun\n").await?;
    Ok(())
}
