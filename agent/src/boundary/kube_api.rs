//! The API server, as a node may use it under the Node authorizer.

use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::node::v1::RuntimeClass;
use tokio::sync::mpsc;

use crate::model::PodUid;

/// Why an API call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApiError {
    #[error("{0} not found")]
    NotFound(String),
    /// Somebody else wrote first, or a precondition (the UID) no longer holds.
    #[error("conflict on {0}")]
    Conflict(String),
    #[error("{0} already exists")]
    AlreadyExists(String),
    /// 401 or 403, in the server's words.
    #[error("not allowed: {0}")]
    Forbidden(String),
    /// The object is not acceptable (400, 422), in the server's words.
    #[error("rejected: {0}")]
    Invalid(String),
    /// No connection, no answer in time, 429 or 5xx: try again later.
    #[error("API server is unavailable: {0}")]
    Unavailable(String),
}

/// One step of the pod watch. After `Restarted` the list begins anew and everything not repeated
/// until `Synced` is gone.
#[derive(Clone, Debug)]
pub enum PodWatchEvent {
    Restarted,
    Applied(Arc<api::Pod>),
    Deleted(PodUid),
    Synced,
}

#[async_trait]
pub trait PodsApi: Send + Sync {
    /// Starts watching the pods bound to this node and reconnects for ever; ends when the receiver
    /// is dropped. The channel is bounded; a slow reader slows the watch down and loses nothing.
    fn watch_pods(&self) -> mpsc::Receiver<PodWatchEvent>;
    /// Strategic merge patch on the `status` subresource; the patch carries `metadata.uid`, so a
    /// namesake with another UID answers `Conflict`. Returns the pod as the server now has it.
    async fn patch_status(
        &self,
        namespace: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<api::Pod, ApiError>;
    /// Removes the object for good: grace 0, only if it still has this UID.
    async fn delete_finished(
        &self,
        namespace: &str,
        name: &str,
        uid: &PodUid,
    ) -> Result<(), ApiError>;
    async fn get_pod(&self, namespace: &str, name: &str) -> Result<api::Pod, ApiError>;
    async fn create_pod(&self, pod: &api::Pod) -> Result<api::Pod, ApiError>;
}

/// Node and Lease of this node. Calls run on connections of their own, each under a 10 s deadline.
#[async_trait]
pub trait NodesApi: Send + Sync {
    async fn get_node(&self) -> Result<api::Node, ApiError>;
    async fn create_node(&self, node: &api::Node) -> Result<api::Node, ApiError>;
    /// Strategic merge patch on the Node's metadata and spec.
    async fn patch_node(&self, patch: serde_json::Value) -> Result<api::Node, ApiError>;
    /// Strategic merge patch on the `status` subresource.
    async fn patch_node_status(&self, patch: serde_json::Value) -> Result<api::Node, ApiError>;
    async fn get_lease(&self) -> Result<Lease, ApiError>;
    async fn create_lease(&self, lease: &Lease) -> Result<Lease, ApiError>;
    async fn replace_lease(&self, lease: &Lease) -> Result<Lease, ApiError>;
    /// Own Node, newest first; reconnects for ever; ends when the receiver is dropped.
    fn watch_node(&self) -> mpsc::Receiver<Arc<api::Node>>;
}

/// Objects that the pods of this node refer to.
/// A Service as far as the service environment variables need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvService {
    pub name: String,
    pub cluster_ip: String,
    /// In the order of the Service's spec.
    pub ports: Vec<EnvServicePort>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvServicePort {
    /// Empty for a single unnamed port.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    pub port: u16,
}

#[async_trait]
pub trait ObjectsApi: Send + Sync {
    async fn get_config_map(&self, namespace: &str, name: &str)
    -> Result<api::ConfigMap, ApiError>;
    async fn get_secret(&self, namespace: &str, name: &str) -> Result<api::Secret, ApiError>;
    async fn get_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<api::ServiceAccount, ApiError>;
    /// A claim that a pod of this node names. The Node authorizer allows neither list nor watch of
    /// claims and volumes, only this.
    async fn get_claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<api::PersistentVolumeClaim, ApiError>;
    /// The volume that such a claim is bound to.
    async fn get_persistent_volume(&self, name: &str) -> Result<api::PersistentVolume, ApiError>;
    /// Watches one ConfigMap by name: `Some` for each new state, `None` when it does not exist.
    fn watch_config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> mpsc::Receiver<Option<Arc<api::ConfigMap>>>;
    /// Watches one Secret by name, as [`Self::watch_config_map`] does.
    fn watch_secret(&self, namespace: &str, name: &str)
    -> mpsc::Receiver<Option<Arc<api::Secret>>>;
    /// Watches one RuntimeClass by name, as [`Self::watch_config_map`] does.
    fn watch_runtime_class(&self, name: &str) -> mpsc::Receiver<Option<Arc<RuntimeClass>>>;
    /// Services of the namespace that have a cluster IP, from a watch that starts with the first
    /// call. Waits for the first list; `None` when it does not come within 10 s.
    async fn services_in(&self, namespace: &str) -> Option<Vec<EnvService>>;
    async fn request_token(
        &self,
        namespace: &str,
        service_account: &str,
        request: &TokenRequest,
    ) -> Result<TokenRequest, ApiError>;
}

/// An event to publish about a pod or the Node, before aggregation.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiEvent {
    pub object: api::ObjectReference,
    pub warning: bool,
    pub reason: &'static str,
    pub message: String,
    pub at: Timestamp,
}

/// Writes events. `patch` is the strategic merge patch of a repeated one.
#[async_trait]
pub trait EventSink: Send + Sync {
    async fn create_event(&self, event: &api::Event) -> Result<api::Event, ApiError>;
    async fn patch_event(
        &self,
        namespace: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<api::Event, ApiError>;
}
