//! Pure. What the container runtime holds of a pod.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::{ContainerId, PodFullName, PodUid, SandboxId};

/// Everything the runtime held at one listing, by pod.
pub type RuntimePods = HashMap<PodUid, Arc<RuntimePod>>;

/// Sandboxes and containers that carry one pod's UID label. Both lists are newest first.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimePod {
    pub uid: PodUid,
    pub full_name: PodFullName,
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Container>,
}

impl RuntimePod {
    /// A pod of which the runtime holds nothing.
    pub fn empty(uid: PodUid, full_name: PodFullName) -> Self {
        Self { uid, full_name, sandboxes: Vec::new(), containers: Vec::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty()
    }

    pub fn newest_sandbox(&self) -> Option<&Sandbox> {
        self.sandboxes.first()
    }

    /// The newest instance of the container of that name.
    pub fn newest(&self, container_name: &str) -> Option<&Container> {
        self.containers.iter().find(|container| container.name == container_name)
    }

    /// All instances of the container of that name, newest first.
    pub fn instances<'a>(&'a self, container_name: &'a str) -> impl Iterator<Item = &'a Container> {
        self.containers.iter().filter(move |container| container.name == container_name)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SandboxState {
    Ready,
    NotReady,
}

/// One pod sandbox.
#[derive(Clone, Debug, PartialEq)]
pub struct Sandbox {
    pub id: SandboxId,
    /// 0 for a pod's first sandbox, one more for each recreation.
    pub attempt: u32,
    pub state: SandboxState,
    pub created_at: Timestamp,
    /// Primary address first; empty for a host-network pod and while the network is not set up.
    pub ips: Vec<IpAddr>,
    pub host_network: bool,
    /// Annotations noded wrote when it made the sandbox, and the pod's own.
    pub annotations: HashMap<String, String>,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Exit {
    /// `None` when it never started.
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
    pub code: i32,
    /// `Completed`, `Error`, `OOMKilled`, `StartError`... as the runtime says it.
    pub reason: String,
    pub message: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum ContainerState {
    Created,
    Running {
        started_at: Timestamp,
    },
    Exited(Exit),
    /// The runtime does not know. Never to be read as dead.
    Unknown,
}

/// The user that the first process of a container was started as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerUser {
    pub uid: i64,
    pub gid: i64,
    pub supplemental_groups: Vec<i64>,
}

/// One instance of a container.
#[derive(Clone, Debug, PartialEq)]
pub struct Container {
    pub id: ContainerId,
    pub name: String,
    pub sandbox: SandboxId,
    /// CRI attempt, equal to the restart count of this instance.
    pub attempt: u32,
    pub state: ContainerState,
    pub created_at: Timestamp,
    /// Image as the pod spelled it, where the runtime kept that.
    pub image: String,
    /// Digest reference of the image, or its id.
    pub image_ref: String,
    /// Who its first process was started as; `None` when the runtime does not say.
    pub user: Option<ContainerUser>,
    /// Name of the signal that asks it to end, `SIGTERM` and the like; `None` when the runtime
    /// does not say.
    pub stop_signal: Option<String>,
    /// Paths in the container whose mount is read-only with all that is mounted below it.
    pub recursive_read_only: Vec<String>,
    /// `io.kubernetes.container.hash` annotation, lower-case hex; `None` for a foreign container.
    pub spec_hash: Option<String>,
    pub log_path: String,
    /// All labels and annotations, so that a container can be ended right without its pod spec.
    pub labels: HashMap<String, String>,
    pub annotations: HashMap<String, String>,
}

impl Container {
    pub fn is_running(&self) -> bool {
        matches!(self.state, ContainerState::Running { .. })
    }

    pub fn exit(&self) -> Option<&Exit> {
        match &self.state {
            ContainerState::Exited(exit) => Some(exit),
            _ => None,
        }
    }
}
