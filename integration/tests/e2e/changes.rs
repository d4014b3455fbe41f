//! Pods whose world changes: their spec, what they refer to, or who had their name before.

use std::fs;
use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::real_runtime::AGNHOST_IMAGE;
use integration::runner::Test;
use integration::{TestContext, in_pod, pods, services};
use serde_json::json;

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        changed_image_replaces_the_container_and_nothing_else_does,
        pod_under_the_name_of_one_that_is_still_ending_runs,
        container_waits_for_the_config_map_it_reads,
        pod_waits_for_the_folder_it_mounts,
    ]
}

async fn changed_image_replaces_the_container_and_nothing_else_does(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = pods::script_pod(&namespace, "a", node.name(), "exec sleep 600");
    let second = json!({"name": "second", "image": AGNHOST_IMAGE, "args": ["pause"]});
    pod["spec"]["containers"].as_array_mut().into_iter().for_each(|list| list.push(second.clone()));
    let before = pods::run(&cluster, &pod, LIMIT).await?;
    let path = pods::path(&namespace, "a");
    let labels = json!({"metadata": {"labels": {"new": "label"}}});
    cluster.client().merge_patch(&path, &labels).await?;
    let image = json!({"spec": {"containers": [{"name": "main", "image": AGNHOST_IMAGE}]}});
    cluster.client().strategic_patch(&path, &image).await?;
    let after = pods::wait_for(&cluster, &path, LIMIT, |pod| {
        pods::is_ready(pod)
            && pods::container_status(pod, "main").is_ok_and(|main| main["restartCount"] == 1)
    })
    .await?;
    let id = |pod, name| pods::container_id(pod, name);
    ensure!(id(&before, "main")? != id(&after, "main")?, "{}", after["status"]);
    ensure!(id(&before, "second")? == id(&after, "second")?, "{}", after["status"]);
    ensure!(before["status"]["podIP"] == after["status"]["podIP"], "{}", after["status"]);
    pods::wait_events(&cluster, &before, &["Killing"], LIMIT).await?;
    Ok(())
}

async fn pod_under_the_name_of_one_that_is_still_ending_runs(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let script = "trap '' TERM; while :; do sleep 0.1; done";
    let mut pod = pods::script_pod(&namespace, "a", node.name(), script);
    pod["spec"]["terminationGracePeriodSeconds"] = 10.into();
    let old = pods::run(&cluster, &pod, LIMIT).await?;
    let path = pods::path(&namespace, "a");
    cluster.client().force_delete(&path).await?;
    let new = services::server_pod(&namespace, "a", node.name(), "a");
    let new = pods::run(&cluster, &new, LIMIT).await?;
    ensure!(pods::uid(&old)? != pods::uid(&new)?);
    in_pod::listening(&new).await?;
    let id = pods::container_id(&old, "main")?;
    integration::wait::until_value(
        "end of the old container",
        LIMIT,
        || node.runtime().containers(),
        |containers| !containers.contains(&id),
    )
    .await?;
    let later = pods::wait_ready(&cluster, &path, LIMIT).await?;
    ensure!(later["status"]["containerStatuses"] == new["status"]["containerStatuses"]);
    Ok(())
}

async fn container_waits_for_the_config_map_it_reads(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let mut pod = services::server_pod(&namespace, "a", node.name(), "a");
    pod["spec"]["containers"][0]["env"] = json!([{
        "name": "COLOR",
        "valueFrom": {"configMapKeyRef": {"name": "later", "key": "color"}},
    }]);
    cluster.create(&pod).await?;
    let path = pods::path(&namespace, "a");
    let waiting = pods::wait_for(&cluster, &path, LIMIT, |pod| {
        let state = &pod["status"]["containerStatuses"][0]["state"]["waiting"];
        state["reason"] == "CreateContainerConfigError"
    })
    .await?;
    let state = &pods::container_status(&waiting, "server")?["state"]["waiting"];
    let message = state["message"].as_str().unwrap_or_default();
    ensure!(message.starts_with("configmap \"later\" not found"), "message: {message}");
    pods::wait_events(&cluster, &waiting, &["Failed"], LIMIT).await?;
    cluster
        .create(&json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": "later", "namespace": namespace},
            "data": {"color": "blue"},
        }))
        .await?;
    let running = pods::wait_ready(&cluster, &path, 2 * LIMIT).await?;
    ensure!(in_pod::shell(&running, "echo $COLOR").await?.trim() == "blue");
    let status = pods::container_status(&running, "server")?;
    ensure!(status["restartCount"] == 0, "{status}");
    Ok(())
}

async fn pod_waits_for_the_folder_it_mounts(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let node = context.shared_node().await?;
    let namespace = context.namespace().await?;
    let folder = node.directory().join(format!("late-{namespace}"));
    let mut pod = services::server_pod(&namespace, "a", node.name(), "a");
    pod["spec"]["volumes"] =
        json!([{"name": "late", "hostPath": {"path": folder, "type": "Directory"}}]);
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "late", "mountPath": "/late"}]);
    let created = cluster.create(&pod).await?;
    let events = pods::wait_events(&cluster, &created, &["FailedMount"], LIMIT).await?;
    let named = events.iter().any(|event| {
        event["reason"] == "FailedMount"
            && event["message"].as_str().is_some_and(|text| text.contains("\"late\""))
    });
    ensure!(named, "events: {events:#?}");
    let path = pods::path(&namespace, "a");
    let pending = cluster.get_json(&path).await?;
    ensure!(pending["status"]["phase"] == "Pending", "{}", pending["status"]);
    fs::create_dir(&folder)?;
    // The kubelet waits up to two minutes before it looks again.
    pods::wait_ready(&cluster, &path, 3 * LIMIT).await?;
    Ok(())
}
