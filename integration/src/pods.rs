//! Minimal pods and what their objects say.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::node::condition;
use crate::real_cluster::Cluster;
use crate::real_runtime::{BUSYBOX_IMAGE, PAUSE_IMAGE};
use crate::wait;

/// A pod of one container bound to a node, the smallest that can run.
#[must_use]
pub fn pause_pod(namespace: &str, name: &str, node: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": node,
            "containers": [{"name": "pause", "image": PAUSE_IMAGE}],
        },
    })
}

/// A pod bound to a node whose one container `main` runs a shell script.
#[must_use]
pub fn script_pod(namespace: &str, name: &str, node: &str, script: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main",
                "image": BUSYBOX_IMAGE,
                "command": ["/bin/sh", "-c", script],
            }],
        },
    })
}

/// API path of a pod.
#[must_use]
pub fn path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/pods/{name}")
}

/// Whether the condition Ready of a pod is true.
#[must_use]
pub fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|ready| ready["status"] == "True")
}

/// Waits until `accept` is true for a pod and returns the pod; the error shows its last status.
pub async fn wait_for(
    cluster: &Cluster,
    path: &str,
    limit: Duration,
    accept: impl Fn(&Value) -> bool,
) -> Result<Value> {
    wait::until(path, limit, || async {
        let pod = cluster.get_json(path).await?;
        Ok(if accept(&pod) {
            wait::Look::Met(pod)
        } else {
            wait::Look::NotYet(pod["status"].to_string())
        })
    })
    .await
}

/// Waits until a pod runs and is Ready.
pub async fn wait_ready(cluster: &Cluster, path: &str, limit: Duration) -> Result<Value> {
    wait_for(cluster, path, limit, |pod| pod["status"]["phase"] == "Running" && is_ready(pod)).await
}

/// Creates a pod and waits until it runs and is Ready.
pub async fn run(cluster: &Cluster, pod: &Value, limit: Duration) -> Result<Value> {
    cluster.create(pod).await?;
    wait_ready(cluster, &crate::resource::path_of(pod)?, limit).await
}

/// Creates a pod and waits until it has ended, well or not.
pub async fn run_to_end(cluster: &Cluster, pod: &Value, limit: Duration) -> Result<Value> {
    cluster.create(pod).await?;
    wait_for(cluster, &crate::resource::path_of(pod)?, limit, |pod| {
        pod["status"]["phase"] == "Succeeded" || pod["status"]["phase"] == "Failed"
    })
    .await
}

/// The events about a pod.
pub async fn events(cluster: &Cluster, pod: &Value) -> Result<Vec<Value>> {
    let metadata = &pod["metadata"];
    let namespace = metadata["namespace"].as_str().context("pod without a namespace")?;
    let uid = metadata["uid"].as_str().context("pod without a uid")?;
    let path =
        format!("/api/v1/namespaces/{namespace}/events?fieldSelector=involvedObject.uid%3D{uid}");
    cluster.client().list(&path).await
}

/// Waits until there are events with all these reasons about a pod.
pub async fn wait_events(
    cluster: &Cluster,
    pod: &Value,
    reasons: &[&str],
    limit: Duration,
) -> Result<Vec<Value>> {
    let what = format!("events {reasons:?}");
    wait::until(&what, limit, || async {
        let events = events(cluster, pod).await?;
        let found: Vec<&str> = events.iter().filter_map(|event| event["reason"].as_str()).collect();
        let missing: Vec<_> = reasons.iter().filter(|reason| !found.contains(reason)).collect();
        Ok(if missing.is_empty() {
            wait::Look::Met(events)
        } else {
            wait::Look::NotYet(format!("missing {missing:?}, found {found:?}"))
        })
    })
    .await
}

/// Waits until a pod is gone from the API.
pub async fn wait_gone(cluster: &Cluster, path: &str, limit: Duration) -> Result<()> {
    wait::until(path, limit, || async {
        Ok(match cluster.client().find(path).await? {
            None => wait::Look::Met(()),
            Some(pod) => wait::Look::NotYet(pod["status"].to_string()),
        })
    })
    .await
}

/// The status of a container of a pod, whichever list it stands in.
pub fn container_status<'a>(pod: &'a Value, container: &str) -> Result<&'a Value> {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    let mut statuses =
        lists.iter().flat_map(|list| pod["status"][*list].as_array().into_iter().flatten());
    match statuses.find(|status| status["name"] == container) {
        Some(status) => Ok(status),
        None => bail!("no status of container {container}: {}", pod["status"]),
    }
}

/// The id of a container without the runtime's name before it.
pub fn container_id(pod: &Value, container: &str) -> Result<String> {
    let id = container_status(pod, container)?["containerID"].as_str().unwrap_or_default();
    let (_, id) = id.split_once("://").with_context(|| format!("container id {id:?}"))?;
    Ok(id.to_owned())
}

/// The UID of an object.
pub fn uid(object: &Value) -> Result<&str> {
    object["metadata"]["uid"].as_str().context("object without a uid")
}
