//! Ephemeral containers, as `kubectl debug` adds them.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::runner::Test;
use integration::story::Story;
use integration::{TestContext, pods};
use serde_json::json;

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![ephemeral_container_sees_the_processes_of_its_target_and_changes_nothing]
}

async fn ephemeral_container_sees_the_processes_of_its_target_and_changes_nothing(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let story = Story::new(&node, &namespace, "a")?;
    let main = story.container("main", "exec sleep 4711");
    let pod = story.pod((&namespace, "a", node.name()), &[], &[main]);
    let before = pods::run(&cluster, &pod, LIMIT).await?;
    let path = pods::path(&namespace, "a");
    let mut debug = story.container("debug", "say $(tr '\\0' ' ' < /proc/1/cmdline); exit 5");
    debug["targetContainerName"] = "main".into();
    let patch = json!({"spec": {"ephemeralContainers": [debug]}});
    cluster.client().strategic_patch(&format!("{path}/ephemeralcontainers"), &patch).await?;
    let pod = pods::wait_for(&cluster, &path, LIMIT, |pod| {
        let status = pods::container_status(pod, "debug");
        status.is_ok_and(|status| status["state"]["terminated"].is_object())
    })
    .await?;
    let lines = story.lines()?;
    ensure!(lines == ["sleep 4711"], "{lines:?}");
    let status = pods::container_status(&pod, "debug")?;
    ensure!(status["state"]["terminated"]["exitCode"] == 5, "{status}");
    ensure!(status["restartCount"] == 0, "{status}");
    ensure!(pod["status"]["phase"] == "Running" && pods::is_ready(&pod), "{}", pod["status"]);
    let id = |pod| pods::container_id(pod, "main");
    ensure!(id(&pod)? == id(&before)?, "{}", pod["status"]);
    // A second one comes while the first is not run again.
    let second = story.container("second", "say second");
    let patch = json!({"spec": {"ephemeralContainers": [second]}});
    cluster.client().strategic_patch(&format!("{path}/ephemeralcontainers"), &patch).await?;
    story.wait_lines(&["sleep 4711", "second"], LIMIT).await?;
    Ok(())
}
