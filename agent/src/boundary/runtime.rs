//! The container runtime behind CRI v1.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use cri_proto::runtime::v1::{ContainerConfig, PodSandboxConfig};
use jiff::Timestamp;

use crate::model::{
    Container, ContainerId, PodUid, RuntimeFeatures, Sandbox, SandboxId, SandboxState,
};

/// Why a call to the runtime gave no answer we can use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuntimeError {
    /// The object is not there; for a stop or a remove that is success.
    #[error("{0} not found in the runtime")]
    NotFound(String),
    /// The socket does not answer. Nothing is known about any container.
    #[error("container runtime is unavailable: {0}")]
    Unavailable(String),
    /// No answer within the deadline. The call may still take effect.
    #[error("container runtime did not answer in time: {0}")]
    DeadlineExceeded(String),
    /// The runtime does not have this call.
    #[error("container runtime does not implement {0}")]
    Unimplemented(String),
    /// The runtime refused, in its own words.
    #[error("{message}")]
    Refused { code: String, message: String },
}

/// A sandbox as a list shows it: cheap, without addresses.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedSandbox {
    pub id: SandboxId,
    pub pod_uid: PodUid,
    pub namespace: String,
    pub name: String,
    pub attempt: u32,
    pub state: SandboxState,
    pub created_at: Timestamp,
    pub annotations: HashMap<String, String>,
}

/// The state a list shows: no times, no exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListedState {
    Created,
    Running,
    Exited,
    Unknown,
}

/// A container as a list shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedContainer {
    pub id: ContainerId,
    pub sandbox: SandboxId,
    pub pod_uid: PodUid,
    pub namespace: String,
    pub pod_name: String,
    pub name: String,
    pub attempt: u32,
    pub state: ListedState,
    pub created_at: Timestamp,
}

/// Pod sandboxes. Only objects with the `io.kubernetes.pod.uid` label are ours; others are not
/// listed.
#[async_trait]
pub trait Sandboxes: Send + Sync {
    async fn run_sandbox(
        &self,
        config: PodSandboxConfig,
        runtime_handler: &str,
    ) -> Result<SandboxId, RuntimeError>;
    /// Ends all processes of the sandbox and its network. Done twice is done once.
    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError>;
    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError>;
    /// Sandboxes of one pod, or of all pods when `pod` is `None`; in no order.
    async fn list_sandboxes(
        &self,
        pod: Option<&PodUid>,
    ) -> Result<Vec<ListedSandbox>, RuntimeError>;
    async fn sandbox_status(&self, id: &SandboxId) -> Result<Sandbox, RuntimeError>;
}

/// Containers inside sandboxes.
#[async_trait]
pub trait Containers: Send + Sync {
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
        sandbox_config: PodSandboxConfig,
    ) -> Result<ContainerId, RuntimeError>;
    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError>;
    /// Asks the container to end and kills it after `grace`; answers when it is dead.
    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError>;
    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError>;
    /// Containers of one pod, or of all pods when `pod` is `None`; in no order.
    async fn list_containers(
        &self,
        pod: Option<&PodUid>,
    ) -> Result<Vec<ListedContainer>, RuntimeError>;
    /// `sandbox` is the one the container was listed in; the runtime does not repeat it here.
    async fn container_status(
        &self,
        id: &ContainerId,
        sandbox: &SandboxId,
    ) -> Result<Container, RuntimeError>;
    async fn reopen_log(&self, id: &ContainerId) -> Result<(), RuntimeError>;
}

/// One of the runtime's own conditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeCondition {
    pub ready: bool,
    pub reason: String,
    pub message: String,
}

/// What the runtime says of itself. A condition it does not report is not ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeStatus {
    pub runtime: RuntimeCondition,
    pub network: RuntimeCondition,
    pub features: RuntimeFeatures,
}

/// Who the runtime is, for `status.nodeInfo.containerRuntimeVersion` (`name://version`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeVersion {
    pub name: String,
    pub version: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupDriver {
    Cgroupfs,
    Systemd,
}

/// Facts about the runtime.
#[async_trait]
pub trait RuntimeFacts: Send + Sync {
    /// Errors with `Refused` when the runtime does not speak CRI v1.
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError>;
    async fn status(&self) -> Result<RuntimeStatus, RuntimeError>;
    /// The driver the runtime uses; `Unimplemented` from containerd before 2.0.
    async fn cgroup_driver(&self) -> Result<CgroupDriver, RuntimeError>;
    /// Hands the node's pod CIDRs to runtimes that fill a CNI template from them.
    async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<(), RuntimeError>;
}
