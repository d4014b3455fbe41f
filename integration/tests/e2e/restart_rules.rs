//! Restart policies and rules of single containers.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::runner::Test;
use integration::story::Story;
use integration::{TestContext, pods};
use serde_json::json;

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        exit_code_named_by_a_rule_restarts_a_container_that_never_restarts,
        container_keeps_its_own_policy,
    ]
}

async fn exit_code_named_by_a_rule_restarts_a_container_that_never_restarts(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let story = Story::new(&node, &namespace, "a")?;
    let script = "say main; test -f /story/ran && exit 7; touch /story/ran; exit 42";
    let mut main = story.container("main", script);
    main["restartPolicy"] = "Never".into();
    main["restartPolicyRules"] =
        json!([{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}]);
    let mut pod = story.pod((&namespace, "a", node.name()), &[], &[main]);
    pod["spec"]["restartPolicy"] = "Never".into();
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Failed", "{}", pod["status"]);
    let status = pods::container_status(&pod, "main")?;
    ensure!(status["restartCount"] == 1, "{status}");
    ensure!(status["state"]["terminated"]["exitCode"] == 7, "{status}");
    ensure!(status["lastState"]["terminated"]["exitCode"] == 42, "{status}");
    Ok(())
}

async fn container_keeps_its_own_policy(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let story = Story::new(&node, &namespace, "a")?;
    let script = "say retried; test -f /story/ran && exit 0; touch /story/ran; exit 1";
    let mut retried = story.container("retried", script);
    retried["restartPolicy"] = "OnFailure".into();
    let once = story.container("once", "exit 0");
    let mut pod = story.pod((&namespace, "a", node.name()), &[], &[retried, once]);
    pod["spec"]["restartPolicy"] = "Never".into();
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Succeeded", "{}", pod["status"]);
    for (name, restarts) in [("retried", 1), ("once", 0)] {
        let status = pods::container_status(&pod, name)?;
        ensure!(status["restartCount"] == restarts, "{status}");
    }
    Ok(())
}
