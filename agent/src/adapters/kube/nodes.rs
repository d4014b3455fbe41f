//! This node's Node object and Lease.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as api;
use kube::Resource;
use kube::api::{GetParams, Patch, PatchParams, PostParams, Request};
use tokio::sync::mpsc;

use super::KubeApi;
use super::outage::Trouble;
use super::pods::encode;
use super::watch::{WatchScope, WatchStep, watch};
use crate::boundary::{ApiError, NodesApi};

/// Namespace of all node Leases.
const LEASE_NAMESPACE: &str = "kube-node-lease";
/// One state is being read while the next waits.
const PENDING_STATES: usize = 1;

#[async_trait]
impl NodesApi for KubeApi {
    async fn get_node(&self) -> Result<api::Node, ApiError> {
        let request = nodes().get(&self.node_name, &GetParams::default());
        self.connections.heartbeat(&self.node_subject(), request).await.map(slim)
    }

    async fn create_node(&self, node: &api::Node) -> Result<api::Node, ApiError> {
        let subject = self.node_subject();
        let request = nodes().create(&PostParams::default(), encode(&subject, node)?);
        self.connections.heartbeat(&subject, request).await.map(slim)
    }

    async fn patch_node(&self, patch: serde_json::Value) -> Result<api::Node, ApiError> {
        let patch = Patch::Strategic(patch);
        let request = nodes().patch(&self.node_name, &PatchParams::default(), &patch);
        self.connections.heartbeat(&self.node_subject(), request).await.map(slim)
    }

    async fn patch_node_status(&self, patch: serde_json::Value) -> Result<api::Node, ApiError> {
        let patch = Patch::Strategic(patch);
        let params = PatchParams::default();
        let request = nodes().patch_subresource("status", &self.node_name, &params, &patch);
        self.connections.heartbeat(&self.node_subject(), request).await.map(slim)
    }

    async fn get_lease(&self) -> Result<Lease, ApiError> {
        let request = leases().get(&self.node_name, &GetParams::default());
        self.connections.heartbeat(&self.lease_subject(), request).await
    }

    async fn create_lease(&self, lease: &Lease) -> Result<Lease, ApiError> {
        let subject = self.lease_subject();
        let request = leases().create(&PostParams::default(), encode(&subject, lease)?);
        self.connections.heartbeat(&subject, request).await
    }

    async fn replace_lease(&self, lease: &Lease) -> Result<Lease, ApiError> {
        let subject = self.lease_subject();
        let text = encode(&subject, lease)?;
        let request = leases().replace(&self.node_name, &PostParams::default(), text);
        self.connections.heartbeat(&subject, request).await
    }

    fn watch_node(&self) -> mpsc::Receiver<Arc<api::Node>> {
        let (sender, receiver) = mpsc::channel(PENDING_STATES);
        let convert = |step| match step {
            WatchStep::Applied(node) => Some(Arc::new(slim(node))),
            WatchStep::Restarted | WatchStep::Deleted(_) | WatchStep::Synced => None,
        };
        let scope = own_node_scope(&self.node_name, Trouble::Warn);
        tokio::spawn(watch(Arc::clone(&self.connections), scope, sender, convert));
        receiver
    }
}

impl KubeApi {
    fn node_subject(&self) -> String {
        format!("node {}", self.node_name)
    }

    fn lease_subject(&self) -> String {
        format!("lease {LEASE_NAMESPACE}/{}", self.node_name)
    }
}

/// The only Node a node may watch.
pub(super) fn own_node_scope(node_name: &str, trouble: Trouble) -> WatchScope {
    WatchScope {
        path: api::Node::url_path(&(), None),
        subject: format!("node {node_name}"),
        fields: Some(format!("metadata.name={node_name}")),
        labels: None,
        trouble,
    }
}

fn nodes() -> Request {
    Request::new(api::Node::url_path(&(), None))
}

fn leases() -> Request {
    Request::new(Lease::url_path(&(), Some(LEASE_NAMESPACE)))
}

fn slim(mut node: api::Node) -> api::Node {
    node.metadata.managed_fields = None;
    node
}
