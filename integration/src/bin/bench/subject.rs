//! What is measured, and its node.

use std::time::Duration;

use anyhow::Result;
use integration::node::{Node, NodeOptions};
use integration::real_cluster::Cluster;
use integration::wait::{self, Look};
use serde_json::json;
use std::sync::Arc;

/// How long the control plane may take to give a node its pod range.
const RANGE_LIMIT: Duration = Duration::from_secs(30);

/// Who makes pods run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A client that makes the CRI calls and nothing else.
    Bare,
    Noded,
    /// The upstream kubelet and kube-proxy.
    Peers,
}

impl Subject {
    /// Name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare CRI",
            Self::Noded => "noded",
            Self::Peers => "kubelet + kube-proxy",
        }
    }

    /// A Ready node of this subject, named `name`. That of the bare client is registered and has
    /// its network, but nobody speaks for it.
    pub async fn start(self, cluster: &Arc<Cluster>, name: &str) -> Result<Arc<Node>> {
        let node = Arc::new(Node::start(cluster, name, NodeOptions::default()).await?);
        match self {
            Self::Noded => node.start_agent().map(drop)?,
            Self::Peers => node.start_peers().map(drop)?,
            Self::Bare => {
                register(cluster, &node).await?;
                return Ok(node);
            }
        }
        node.join().await?;
        Ok(node)
    }
}

/// Does for a node without an agent what joining needs.
async fn register(cluster: &Cluster, node: &Node) -> Result<()> {
    let object = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": node.name()}});
    cluster.create(&object).await?;
    let ranges = wait::until("pod range of the node", RANGE_LIMIT, || async {
        let node = cluster.get_json(&node.api_path()).await?;
        Ok(match serde_json::from_value::<Vec<String>>(node["spec"]["podCIDRs"].clone()) {
            Ok(ranges) if !ranges.is_empty() => Look::Met(ranges),
            _ => Look::NotYet("none".to_owned()),
        })
    })
    .await?;
    cluster.network().route_pods(node.place(), &ranges)?;
    node.runtime().configure_cni(&ranges[..1])
}
