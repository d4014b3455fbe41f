//! The essentials on the containerd that Debian 12 ships.

use std::sync::Arc;

use anyhow::{Result, ensure};
use integration::ground::Lane;
use integration::node::NodeOptions;
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services, traffic};

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![pods_and_services_work_on_debians_containerd]
}

async fn pods_and_services_work_on_debians_containerd(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    let options = NodeOptions { lane: Lane::Debian, ..NodeOptions::default() };
    let node = context.node(options).await?;
    let namespace = context.namespace().await?;
    let pod = services::server_pod(&namespace, "server", node.name(), "server");
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    in_pod::listening(&pod).await?;
    let service = services::service(&namespace, "web", "server", "NodePort");
    let service = cluster.create(&service).await?;
    let address = services::cluster_address(&service)?;
    let name = wait::until("answer through the Service", LIMIT, || async {
        traffic::hostname(Some(node.namespaces()), address).await.map(Look::Met)
    })
    .await?;
    ensure!(name == "server", "{name} answered");

    // A container that ends is noticed and restarted, with its code.
    let script = "test -f /state/ran && exec sleep 600; touch /state/ran; exit 4";
    let mut restarting = pods::script_pod(&namespace, "a", node.name(), script);
    restarting["spec"]["volumes"] = serde_json::json!([{"name": "state", "emptyDir": {}}]);
    restarting["spec"]["containers"][0]["volumeMounts"] =
        serde_json::json!([{"name": "state", "mountPath": "/state"}]);
    cluster.create(&restarting).await?;
    let restarted = pods::wait_for(&cluster, &pods::path(&namespace, "a"), LIMIT, |pod| {
        pod["status"]["containerStatuses"][0]["restartCount"] == 1 && pods::is_ready(pod)
    })
    .await?;
    let last = &pods::container_status(&restarted, "main")?["lastState"]["terminated"];
    ensure!(last["exitCode"] == 4, "{last}");
    for name in ["a", "server"] {
        cluster.client().delete(&pods::path(&namespace, name)).await?;
    }
    for name in ["a", "server"] {
        pods::wait_gone(&cluster, &pods::path(&namespace, name), LIMIT).await?;
    }
    Ok(())
}
