//! The proxy's right to read Services and EndpointSlices.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::node::{NodeOptions, ProxyCredential, peers_wanted};
use integration::runner::Test;
use integration::wait::{self, Look};
use integration::{TestContext, in_pod, pods, services, traffic};
use serde_json::json;

use crate::LIMIT;

pub fn tests() -> Vec<Test> {
    integration::tests![
        missing_permission_of_the_proxy_is_said_once_and_pods_run,
        shipped_manifest_lets_the_proxy_use_the_nodes_credential,
    ]
}

async fn missing_permission_of_the_proxy_is_said_once_and_pods_run(
    context: Arc<TestContext>,
) -> Result<()> {
    const USER: &str = "proxy-without-rights";
    let cluster = context.cluster().await?;
    let options =
        NodeOptions { proxy_credential: ProxyCredential::User(USER), ..NodeOptions::default() };
    let node = context.node(options).await?;
    let namespace = context.namespace().await?;
    let pod = services::server_pod(&namespace, "server", node.name(), "server");
    let pod = pods::run(&cluster, &pod, LIMIT).await?;
    in_pod::listening(&pod).await?;
    let complaints = || -> Result<Vec<String>> {
        let text = node.agent()?.log_text();
        // kube-proxy reads its Node before anything else.
        let kind = if peers_wanted() { "nodes" } else { "endpointslices" };
        let about = |line: &&str| {
            let line = line.to_lowercase();
            line.contains(kind) && line.contains("forbidden")
        };
        Ok(text.lines().filter(about).map(str::to_owned).collect())
    };
    wait::until("complaint about the missing right", LIMIT, || async {
        Ok(match complaints()?.is_empty() {
            true => Look::NotYet("none".to_owned()),
            false => Look::Met(()),
        })
    })
    .await?;

    let group = "rbac.authorization.k8s.io";
    let binding = json!({
        "apiVersion": format!("{group}/v1"),
        "kind": "ClusterRoleBinding",
        "metadata": {"name": USER},
        "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:node-proxier"},
        "subjects": [{"apiGroup": group, "kind": "User", "name": USER}],
    });
    let service = services::service(&namespace, "web", "server", "ClusterIP");
    let service = cluster.create(&service).await?;
    cluster.create(&binding).await?;
    let address = services::cluster_address(&service)?;
    let limit = Duration::from_secs(120);
    wait::until("answer once the right is given", limit, || async {
        traffic::hostname(Some(node.namespaces()), address).await.map(Look::Met)
    })
    .await?;
    let path = format!("/apis/{group}/v1/clusterrolebindings/{USER}");
    cluster.client().delete(&path).await?;
    let said = complaints()?;
    ensure!(said.len() == 1 || peers_wanted(), "said {} times: {said:#?}", said.len());
    Ok(())
}

async fn shipped_manifest_lets_the_proxy_use_the_nodes_credential(
    context: Arc<TestContext>,
) -> Result<()> {
    let cluster = context.cluster().await?;
    cluster.apply(include_str!("../../../systemd/manifests/node-proxier.yaml")).await?;
    let options = NodeOptions { proxy_credential: ProxyCredential::Node, ..NodeOptions::default() };
    let node = context.node(options).await?;
    let namespace = context.namespace().await?;
    let pod = services::server_pod(&namespace, "server", node.name(), "server");
    pods::run(&cluster, &pod, LIMIT).await?;
    let service = services::service(&namespace, "web", "server", "ClusterIP");
    let service = cluster.create(&service).await?;
    let address = services::cluster_address(&service)?;
    let name = wait::until("answer through the Service", LIMIT, || async {
        traffic::hostname(Some(node.namespaces()), address).await.map(Look::Met)
    })
    .await?;
    ensure!(name == "server", "{name} answered");
    Ok(())
}
