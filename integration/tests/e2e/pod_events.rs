//! Events about pods.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, pods};
use serde_json::json;

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        events_of_a_pod_come_in_order_and_name_their_source,
        repeated_event_is_one_object_with_a_count,
    ]
}

async fn events_of_a_pod_come_in_order_and_name_their_source(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let pod = pods::run(&cluster, &pods::pause_pod(&namespace, "a", node.name()), LIMIT).await?;
    let reasons = ["Pulled", "Created", "Started"];
    let events = pods::wait_events(&cluster, &pod, &reasons, LIMIT).await?;
    let mut versions = Vec::new();
    for reason in reasons {
        let event = events.iter().find(|event| event["reason"] == reason).context(reason)?;
        ensure!(event["type"] == "Normal" && event["count"] == 1, "{event}");
        ensure!(event["source"]["component"] == "kubelet", "{event}");
        ensure!(event["source"]["host"] == node.name(), "{event}");
        ensure!(event["reportingComponent"] == "kubelet", "{event}");
        ensure!(event["involvedObject"]["fieldPath"] == "spec.containers{pause}", "{event}");
        let version = event["metadata"]["resourceVersion"].as_str().unwrap_or_default();
        versions.push(version.parse::<u64>()?);
    }
    ensure!(versions.is_sorted(), "events were written in another order: {versions:?}");
    Ok(())
}

async fn repeated_event_is_one_object_with_a_count(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::pause_pod(&namespace, "a", node.name());
    pod["spec"]["containers"][0]["envFrom"] = json!([{"configMapRef": {"name": "absent"}}]);
    let pod = cluster.create(&pod).await?;
    wait::until("a second count", LIMIT, || async {
        let events = pods::events(&cluster, &pod).await?;
        let failed: Vec<_> = events.iter().filter(|event| event["reason"] == "Failed").collect();
        ensure!(failed.len() <= 1, "several objects for one event: {failed:?}");
        let counted = failed.iter().any(|event| event["count"].as_u64() >= Some(2));
        Ok(if counted { Look::Met(()) } else { Look::NotYet(format!("{failed:?}")) })
    })
    .await
}
