//! Minimal pods and what their objects say.

use std::time::Duration;

use anyhow::{Result, bail};
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

/// The status of a container of a pod.
pub fn container_status<'a>(pod: &'a Value, container: &str) -> Result<&'a Value> {
    let statuses = pod["status"]["containerStatuses"].as_array();
    match statuses.into_iter().flatten().find(|status| status["name"] == container) {
        Some(status) => Ok(status),
        None => bail!("no status of container {container}: {}", pod["status"]),
    }
}
