//! The outside systems, one trait each, named after the outside thing.
//!
//! **Rules**: a trait speaks our model and plain data, has at most about ten methods and returns
//! an error enum of its own. What goes into the runtime is the CRI's own configuration message
//! (`cri_proto`), because it is plain data already and a copy of its sixty fields would only be a
//! second place to forget one; what comes back is our model. Implementations live in `adapters`,
//! doubles in `testing`.

mod authn_api;
mod cgroups;
mod checkpoint;
mod csr_api;
mod dialer;
mod images;
mod kube_api;
mod machine;
mod manifests;
mod mounter;
mod runtime;
mod streaming;
mod supervisor;
mod usage;

pub use authn_api::{AuthnApi, BearerToken};
pub use cgroups::{CgroupError, CgroupLimits, Cgroups};
pub use checkpoint::Checkpoints;
pub use csr_api::CsrApi;
pub use dialer::{DialError, Dialer, GrpcHealth, HttpAnswer, HttpCall, HttpScheme};
pub use images::{
    ContentStore, CredentialPlugins, ImageError, ImageService, Ingest, Layer, LocalImage,
    PluginCall, PluginError, RegistryAuth,
};
pub use kube_api::{
    ApiError, ApiEvent, EnvService, EnvServicePort, EventSink, NodesApi, ObjectsApi, PodWatchEvent,
    PodsApi,
};
pub use machine::{Machine, MachineCapacity, MachineIdentity};
pub use manifests::{ManifestFile, ManifestFiles, ManifestUrl, ManifestUrlError};
pub use mounter::{MountEntry, MountError, MountOption, Mounter};
pub use runtime::{
    CgroupDriver, Containers, ListedContainer, ListedSandbox, ListedState, RuntimeCondition,
    RuntimeError, RuntimeFacts, RuntimeStatus, RuntimeVersion, Sandboxes,
};
pub use streaming::{
    ContainerStreams, Duplex, ExecOutput, Streaming, StreamingServer, StreamingServerError,
    UpgradeAnswer, UpgradeCall,
};
pub use supervisor::Supervisor;
pub use usage::{
    CgroupDetail, CgroupUsage, CpuDetail, CpuTopology, CpuUsage, Detail, DeviceIo, DiskUsage,
    FsUsage, InterfaceUsage, LayerUsage, MemoryDetail, MemoryUsage, NetworkUsage, PidsUsage,
    Pressure, Pressures, ProcessUsage, RuntimeFileSystems, RuntimeFs, RuntimeUsage, Stall,
    SwapUsage, Throttling, Traffic, Usage,
};
