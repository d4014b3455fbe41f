//! A node joins a cluster the way administrators do it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use integration::node::NodeOptions;
use integration::runner::Test;
use integration::{TestContext, kubeadm, pods};

/// Ample: a pause pod takes half a second on an idle machine.
const LIMIT: Duration = Duration::from_secs(60);

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

pub fn tests() -> Vec<Test> {
    integration::tests![kubeadm_joins_a_node]
}

async fn kubeadm_joins_a_node(context: Arc<TestContext>) -> Result<()> {
    let cluster = context.cluster().await?;
    kubeadm::prepare(&cluster).await?;
    let node = context.bare_node(NodeOptions::default()).await?;
    let agent = kubeadm::join(&node).await?;
    node.join().await?;
    let asked = cluster.client().list(REQUESTS).await?.len();
    ensure!(asked > 0, "the node has its credential without asking for one");
    agent.restart().await?;
    let namespace = context.namespace().await?;
    cluster.create(&pods::pause_pod(&namespace, "a", node.name())).await?;
    pods::wait_ready(&cluster, &pods::path(&namespace, "a"), LIMIT).await?;
    let asked_since = cluster.client().list(REQUESTS).await?.len() - asked;
    ensure!(asked_since == 0, "a restarted agent asked for {asked_since} certificates");
    Ok(())
}
