//! The fake's Node and Lease.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as api;
use tokio::sync::mpsc;

use super::FakeApi;
use crate::boundary::{ApiError, NodesApi};

#[async_trait]
impl NodesApi for FakeApi {
    async fn get_node(&self) -> Result<api::Node, ApiError> {
        self.called("get_node", &self.node_name)?;
        self.node().ok_or_else(|| ApiError::NotFound(format!("node {}", self.node_name)))
    }

    async fn create_node(&self, node: &api::Node) -> Result<api::Node, ApiError> {
        self.called("create_node", &self.node_name)?;
        if self.node().is_some() {
            return Err(ApiError::AlreadyExists(format!("node {}", self.node_name)));
        }
        let mut node = node.clone();
        node.metadata.uid.get_or_insert_with(|| format!("uid-of-{}", self.node_name));
        self.put_node(node);
        Ok(self.node().unwrap_or_default())
    }

    async fn patch_node(&self, patch: serde_json::Value) -> Result<api::Node, ApiError> {
        self.called("patch_node", &self.node_name)?;
        self.patch_stored_node(&patch, false)
    }

    async fn patch_node_status(&self, patch: serde_json::Value) -> Result<api::Node, ApiError> {
        self.called("patch_node_status", &self.node_name)?;
        self.patch_stored_node(&patch, true)
    }

    async fn get_lease(&self) -> Result<Lease, ApiError> {
        self.called("get_lease", &self.node_name)?;
        self.lease().ok_or_else(|| ApiError::NotFound(format!("lease {}", self.node_name)))
    }

    async fn create_lease(&self, lease: &Lease) -> Result<Lease, ApiError> {
        self.called("create_lease", &self.node_name)?;
        if self.lease().is_some() {
            return Err(ApiError::AlreadyExists(format!("lease {}", self.node_name)));
        }
        Ok(self.store_lease(lease))
    }

    async fn replace_lease(&self, lease: &Lease) -> Result<Lease, ApiError> {
        self.called("replace_lease", &self.node_name)?;
        let subject = format!("lease {}", self.node_name);
        let stored = self.lease().ok_or_else(|| ApiError::NotFound(subject.clone()))?;
        let claimed = &lease.metadata.resource_version;
        if claimed.is_some() && *claimed != stored.metadata.resource_version {
            return Err(ApiError::Conflict(subject));
        }
        Ok(self.store_lease(lease))
    }

    fn watch_node(&self) -> mpsc::Receiver<Arc<api::Node>> {
        let (sender, receiver) = mpsc::channel(1);
        let mut known: Option<String> = None;
        self.spawn_watch(sender, move |state, _| {
            let Some(node) = &state.node else { return Vec::new() };
            let version = node.metadata.resource_version.clone();
            if known == version {
                return Vec::new();
            }
            known = version;
            vec![Arc::new(node.clone())]
        });
        receiver
    }
}

impl FakeApi {
    fn store_lease(&self, lease: &Lease) -> Lease {
        let mut lease = lease.clone();
        self.change(|state, version| {
            lease.metadata.resource_version = Some(version);
            state.lease = Some(lease.clone());
            lease
        })
    }
}
