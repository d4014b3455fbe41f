//! Restart policies.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::node::condition;
use integration::runner::Test;
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        always_restarts_a_failing_container_with_a_growing_wait,
        always_restarts_a_container_that_ended_well,
        on_failure_restarts_until_the_container_ends_well,
        never_leaves_an_ended_pod_succeeded,
        never_leaves_a_pod_with_a_failed_container_failed,
        container_that_takes_too_much_memory_says_so,
        pod_whose_sandbox_dies_gets_a_new_one,
        pod_that_runs_too_long_fails,
    ]
}

fn with_policy(mut pod: Value, policy: &str) -> Value {
    pod["spec"]["restartPolicy"] = policy.into();
    pod
}

fn restarts(pod: &Value) -> u64 {
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default()
}

async fn always_restarts_a_failing_container_with_a_growing_wait(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exit 3");
    let pod = cluster.create(&with_policy(pod, "Always")).await?;
    let path = pods::path(&namespace, "a");
    let waiting = pods::wait_for(&cluster, &path, LIMIT, |pod| {
        let status = &pod["status"]["containerStatuses"][0];
        status["state"]["waiting"]["reason"] == "CrashLoopBackOff" && restarts(pod) >= 1
    })
    .await?;
    let status = pods::container_status(&waiting, "main")?;
    let message = status["state"]["waiting"]["message"].as_str().unwrap_or_default();
    let expected = format!(
        "back-off 10s restarting failed container=main pod=a_{namespace}({})",
        pods::uid(&pod)?
    );
    ensure!(message == expected, "message: {message}");
    let ended = &status["lastState"]["terminated"];
    ensure!(ended["exitCode"] == 3 && ended["reason"] == "Error", "{status}");
    ensure!(status["ready"] == false && status["started"] == false, "{status}");
    ensure!(waiting["status"]["phase"] == "Running", "{}", waiting["status"]);
    let ready = condition(&waiting, "Ready").map(|ready| &ready["reason"]);
    ensure!(ready == Some(&json!("ContainersNotReady")), "{}", waiting["status"]);
    pods::wait_events(&cluster, &pod, &["BackOff"], LIMIT).await?;
    let first = restarts(&waiting);
    pods::wait_for(&cluster, &path, LIMIT, |pod| restarts(pod) > first).await?;
    pods::wait_for(&cluster, &path, LIMIT, |pod| {
        let state = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        state["message"].as_str().is_some_and(|text| text.starts_with("back-off 20s "))
    })
    .await?;
    Ok(())
}

async fn always_restarts_a_container_that_ended_well(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let script = "test -f /state/ran && exec sleep 600; touch /state/ran";
    let pod =
        with_policy(with_state(pods::script_pod(&namespace, "a", node.name(), script)), "Always");
    cluster.create(&pod).await?;
    let pod = pods::wait_for(&cluster, &pods::path(&namespace, "a"), LIMIT, |pod| {
        restarts(pod) == 1 && pods::is_ready(pod)
    })
    .await?;
    let ended = &pods::container_status(&pod, "main")?["lastState"]["terminated"];
    ensure!(ended["exitCode"] == 0 && ended["reason"] == "Completed", "{ended}");
    Ok(())
}

/// The pod with a folder `/state` that outlives its container.
fn with_state(mut pod: Value) -> Value {
    pod["spec"]["volumes"] = json!([{"name": "state", "emptyDir": {}}]);
    pod["spec"]["containers"][0]["volumeMounts"] =
        json!([{"name": "state", "mountPath": "/state"}]);
    pod
}

async fn on_failure_restarts_until_the_container_ends_well(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let script = "test -f /state/ran && exit 0; touch /state/ran; exit 1";
    let pod = with_state(pods::script_pod(&namespace, "a", node.name(), script));
    let pod = pods::run_to_end(&cluster, &with_policy(pod, "OnFailure"), LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Succeeded", "{}", pod["status"]);
    ensure!(restarts(&pod) == 1, "{}", pod["status"]);
    let status = pods::container_status(&pod, "main")?;
    ensure!(status["state"]["terminated"]["exitCode"] == 0, "{status}");
    Ok(())
}

async fn never_leaves_an_ended_pod_succeeded(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let script = "echo all is well > /dev/termination-log";
    let pod = with_policy(pods::script_pod(&namespace, "a", node.name(), script), "Never");
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Succeeded", "{}", pod["status"]);
    let status = pods::container_status(&pod, "main")?;
    let ended = &status["state"]["terminated"];
    ensure!(ended["exitCode"] == 0 && ended["reason"] == "Completed", "{status}");
    ensure!(ended["message"] == "all is well\n", "{status}");
    ensure!(status["restartCount"] == 0 && status["ready"] == false, "{status}");
    for kind in ["Ready", "ContainersReady"] {
        let found = condition(&pod, kind).unwrap_or(&Value::Null);
        let is_over = found["status"] == "False" && found["reason"] == "PodCompleted";
        ensure!(is_over, "{kind}: {found}");
    }
    Ok(())
}

async fn never_leaves_a_pod_with_a_failed_container_failed(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exit 0");
    let mut pod = with_policy(with_state(pod), "Never");
    let mut second = pod["spec"]["containers"][0].clone();
    second["name"] = "second".into();
    second["command"] = json!(["/bin/sh", "-c", "exit 9"]);
    pod["spec"]["containers"].as_array_mut().into_iter().for_each(|list| list.push(second.clone()));
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Failed", "{}", pod["status"]);
    let code = |name| {
        pods::container_status(&pod, name)
            .map(|status| status["state"]["terminated"]["exitCode"].clone())
    };
    ensure!(code("main")? == 0 && code("second")? == 9, "{}", pod["status"]);
    ensure!(restarts(&pod) == 0, "{}", pod["status"]);
    Ok(())
}

async fn container_that_takes_too_much_memory_says_so(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec tail /dev/zero");
    let mut pod = with_policy(pod, "Never");
    pod["spec"]["containers"][0]["resources"] = json!({"limits": {"memory": "16Mi"}});
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    let ended = &pods::container_status(&pod, "main")?["state"]["terminated"];
    ensure!(ended["reason"] == "OOMKilled" && ended["exitCode"] == 137, "{ended}");
    Ok(())
}

async fn pod_whose_sandbox_dies_gets_a_new_one(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 600");
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    let container = pods::container_id(&pod, "main")?;
    let label = format!(
        "labels.\"io.kubernetes.pod.uid\"=={},labels.\"io.cri-containerd.kind\"==sandbox",
        pods::uid(&pod)?
    );
    let sandbox = node.runtime().ctr(&["containers", "list", "--quiet", &label]).await?;
    node.runtime().ctr(&["task", "kill", "--signal", "SIGKILL", sandbox.trim()]).await?;
    let after = pods::wait_for(&cluster, &pods::path(&namespace, "a"), LIMIT, |pod| {
        pods::is_ready(pod) && pods::container_id(pod, "main").is_ok_and(|id| id != container)
    })
    .await?;
    ensure!(restarts(&after) == 1, "{}", after["status"]);
    pods::wait_events(&cluster, &pod, &["SandboxChanged"], LIMIT).await?;
    Ok(())
}

async fn pod_that_runs_too_long_fails(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 600");
    // Long enough to start on a busy machine: a container that never ran stays waiting.
    pod["spec"]["activeDeadlineSeconds"] = 8.into();
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Failed", "{}", pod["status"]);
    ensure!(pod["status"]["reason"] == "DeadlineExceeded", "{}", pod["status"]);
    let path = pods::path(&namespace, "a");
    pods::wait_for(&cluster, &path, LIMIT, |pod| {
        pod["status"]["containerStatuses"][0]["state"]["terminated"].is_object()
    })
    .await?;
    Ok(())
}
