//! Pods that a node does not take.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::node::peers_wanted;
use integration::runner::Test;
use integration::{TestContext, pods};
use serde_json::{Value, json};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        pod_too_big_for_the_node_fails,
        pod_for_another_kind_of_node_fails,
        pod_with_a_field_that_is_not_supported_fails_and_names_it,
    ]
}

/// The pod after the shared node refused it; it has no container and no address.
async fn refused(context: &TestContext, change: impl FnOnce(&mut Value)) -> Result<Value> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::pause_pod(&namespace, "a", node.name());
    change(&mut pod["spec"]);
    let pod = pods::run_to_end(&cluster, &pod, LIMIT).await?;
    ensure!(pod["status"]["phase"] == "Failed", "{}", pod["status"]);
    ensure!(pod["status"]["podIP"].is_null(), "{}", pod["status"]);
    let reason = pod["status"]["reason"].as_str().unwrap_or_default();
    pods::wait_events(&cluster, &pod, &[reason], LIMIT).await?;
    Ok(pod)
}

async fn pod_too_big_for_the_node_fails(context: Arc<TestContext>) -> Result<()> {
    let pod = refused(&context, |spec| {
        spec["containers"][0]["resources"] = json!({"requests": {"cpu": "1000"}});
    })
    .await?;
    ensure!(pod["status"]["reason"] == "OutOfcpu", "{}", pod["status"]);
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    let expected = "Node didn't have enough resource: cpu, requested: 1000000, used: ";
    ensure!(message.contains(expected), "message: {message}");
    Ok(())
}

async fn pod_for_another_kind_of_node_fails(context: Arc<TestContext>) -> Result<()> {
    let pod = refused(&context, |spec| {
        spec["nodeSelector"] = json!({"noded.test/color": "green"});
    })
    .await?;
    ensure!(pod["status"]["reason"] == "NodeAffinity", "{}", pod["status"]);
    Ok(())
}

async fn pod_with_a_field_that_is_not_supported_fails_and_names_it(
    context: Arc<TestContext>,
) -> Result<()> {
    if peers_wanted() {
        return Ok(()); // They support it.
    }
    let pod = refused(&context, |spec| {
        spec["volumes"] =
            json!([{"name": "far", "nfs": {"server": "192.0.2.1", "path": "/export"}}]);
    })
    .await?;
    ensure!(pod["status"]["reason"] == "PodFeatureUnsupported", "{}", pod["status"]);
    let message = pod["status"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("spec.volumes[0].nfs"), "message: {message}");
    Ok(())
}
