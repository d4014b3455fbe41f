//! What the containers of a pod need from the node before the runtime can make them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use cri_proto::runtime::v1::{ContainerConfig, PodSandboxConfig};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use crate::images::PullNews;
use crate::model::{Container, ContainerId, Pod, PodFullName, PodUid, Sandbox};

/// Something a pod needs could not be had. The text is for users and complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SupplyError(pub String);

/// A sandbox as the runtime is to make it.
#[derive(Clone, Debug, PartialEq)]
pub struct SandboxSupply {
    pub config: PodSandboxConfig,
    /// Empty for the runtime's default.
    pub runtime_handler: String,
}

/// An image that is present, with the images of the volumes that its container mounts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageSupply {
    /// Reference to create containers with.
    pub reference: String,
    /// User of the image's configuration: a number, or a name, or neither (root).
    pub uid: Option<i64>,
    pub username: String,
    /// By name of the volume.
    pub volumes: BTreeMap<String, VolumeImage>,
}

/// An image that is mounted as a volume.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeImage {
    /// Reference to mount, as the runtime gave it.
    pub reference: String,
    /// As the pod names it.
    pub named: String,
}

/// Why an image is not present. Events about it have been published already.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFailure {
    /// The published waiting reason.
    pub reason: &'static str,
    pub message: String,
    /// When another try makes sense; `None` leaves it to the usual pace.
    pub retry_at: Option<Timestamp>,
}

/// One instance of a container that is about to be created.
#[derive(Clone, Copy, Debug)]
pub struct Instance<'a> {
    pub spec: &'a api::Container,
    pub attempt: u32,
    pub image: &'a ImageSupply,
    pub sandbox: &'a Sandbox,
    /// As the sandbox was made.
    pub supply: &'a SandboxSupply,
    /// The container whose processes an ephemeral one is to see.
    pub target: Option<&'a ContainerId>,
}

/// The slices that make a pod's surroundings, as the executor sees them. Everything can be asked
/// for again at any time; what is there already costs little.
#[async_trait]
pub trait PodSupplies: Send + Sync {
    /// The pod's cgroup and log directory, and the sandbox that goes with them.
    async fn sandbox(
        &self,
        pod: &Pod,
        attempt: u32,
        seen: Timestamp,
    ) -> Result<SandboxSupply, SupplyError>;
    /// Returns when all volumes of the pod are in place.
    async fn volumes(&self, pod: &Pod) -> Result<(), SupplyError>;
    /// The images that the container needs; `news` is told about a pull that takes long.
    async fn image(
        &self,
        pod: &Pod,
        spec: &api::Container,
        news: &PullNews,
    ) -> Result<ImageSupply, ImageFailure>;
    /// The config of a container whose pod has its volumes.
    async fn container(
        &self,
        pod: &Pod,
        instance: Instance<'_>,
    ) -> Result<ContainerConfig, SupplyError>;
    /// The restart count that follows the highest one in the names of the container's logs, 0
    /// without any: the last resort when neither the runtime nor the API knows of its runs.
    async fn attempt_after_logs(&self, pod: &Pod, container: &str) -> u32;
    /// A container was created: what points to its log is made.
    async fn created(&self, pod: &Pod, instance: Instance<'_>, id: &ContainerId);
    /// A dead container is about to be removed: its log and what points to it go.
    async fn remove_log(&self, pod: &PodFullName, uid: &PodUid, container: &Container);
    /// Returns when no volume of the pod is mounted any more.
    async fn release_volumes(&self, uid: &PodUid) -> Result<(), SupplyError>;
    /// Ends what is left in the pod's cgroup and removes it.
    async fn remove_cgroup(&self, uid: &PodUid) -> Result<(), SupplyError>;
    /// Removes the pod's log directory.
    async fn forget(&self, pod: &PodFullName, uid: &PodUid);
}
