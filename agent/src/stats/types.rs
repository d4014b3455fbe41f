//! The figures of one moment.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::Timestamp;

use crate::boundary::{
    CgroupUsage, CpuTopology, DiskUsage, FsUsage, LayerUsage, MachineCapacity, MachineIdentity,
    NetworkUsage, ProcessUsage, RuntimeFs,
};
use crate::model::{PodUid, RuntimePod};
use crate::volumes::ClaimName;

/// What does not change while noded runs.
#[derive(Clone, Debug, Default)]
pub struct MachineFacts {
    pub node_name: String,
    pub identity: MachineIdentity,
    /// When the machine started; `None` when it cannot be told.
    pub booted: Option<Timestamp>,
    /// When noded started.
    pub started: Option<Timestamp>,
    pub topology: CpuTopology,
}

/// A cgroup and its share of the CPUs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Measured {
    pub path: PathBuf,
    pub usage: CgroupUsage,
    /// Billionths of a CPU used on average since the snapshot before; `None` in the first one.
    pub nano_cores: Option<u64>,
}

/// A file system of the runtime with what is free on it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreSample {
    pub store: RuntimeFs,
    pub fs: Option<FsUsage>,
}

#[derive(Clone, Debug, Default)]
pub struct NodeSample {
    pub measured: Option<Measured>,
    pub network: Option<NetworkUsage>,
    /// What holds noded's root directory.
    pub fs: Option<FsUsage>,
    pub image_fs: Option<StoreSample>,
    /// `None` when layers are kept with the images.
    pub container_fs: Option<StoreSample>,
    pub capacity: Option<MachineCapacity>,
    pub processes: Option<ProcessUsage>,
}

/// A cgroup that is no pod's: by the name that the summary gives it, or without one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GroupSample {
    /// `kubelet`, `runtime`, `pods`; `None` for the QoS classes.
    pub name: Option<&'static str>,
    pub measured: Measured,
    pub processes: Option<ProcessUsage>,
}

#[derive(Clone, Debug)]
pub struct PodSample {
    pub pod: Arc<RuntimePod>,
    /// The pod's own cgroup.
    pub measured: Option<Measured>,
    pub sandbox: Option<SandboxSample>,
    pub containers: Vec<ContainerSample>,
    /// Files directly in the directory of the pod's logs.
    pub logs: Option<DiskUsage>,
    pub etc_hosts: Option<DiskUsage>,
    /// Empty until they were looked at.
    pub volumes: Arc<Vec<VolumeSample>>,
}

#[derive(Clone, Debug, Default)]
pub struct SandboxSample {
    pub id: String,
    pub created_at: Option<Timestamp>,
    pub measured: Option<Measured>,
    pub network: Option<NetworkUsage>,
    pub processes: Option<ProcessUsage>,
}

/// A container that runs.
#[derive(Clone, Debug, Default)]
pub struct ContainerSample {
    pub id: String,
    pub name: String,
    pub image: String,
    pub created_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub measured: Option<Measured>,
    pub processes: Option<ProcessUsage>,
    pub layer: Option<LayerUsage>,
    /// The file system of the layer.
    pub layer_fs: Option<FsUsage>,
    pub logs: Option<DiskUsage>,
}

/// What one volume takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeSample {
    pub name: String,
    pub at: Option<Timestamp>,
    pub used: DiskUsage,
    pub fs: FsUsage,
    /// Whether it counts as the pod's ephemeral storage: it lies on the node's disk.
    pub ephemeral: bool,
    /// The claim that it is mounted through.
    pub claim: Option<ClaimName>,
}

/// The volumes of all pods as they were last looked at.
pub type VolumeSamples = HashMap<PodUid, Arc<Vec<VolumeSample>>>;

/// What a snapshot holds beyond CPU and memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Extent {
    /// Disks, logs, volumes, network and pressure.
    pub storage: bool,
    /// Descriptors of processes, and cgroups of sandboxes.
    pub processes: bool,
}

impl Extent {
    /// Whether all that `other` wants is here.
    pub fn covers(self, other: Self) -> bool {
        self.with(other) == self
    }

    pub fn with(self, other: Self) -> Self {
        Self {
            storage: self.storage || other.storage,
            processes: self.processes || other.processes,
        }
    }

    /// Whether more of each cgroup than CPU and memory is wanted.
    pub fn full(self) -> bool {
        self.storage || self.processes
    }
}

/// All figures of one moment.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub at: Timestamp,
    pub extent: Extent,
    pub facts: Arc<MachineFacts>,
    pub node: NodeSample,
    pub groups: Vec<GroupSample>,
    /// By namespace and name.
    pub pods: Vec<PodSample>,
}
