//! The outside systems, one trait each, named after the outside thing.
//!
//! **Rules**: a trait speaks our model and plain data, has at most about ten methods and returns
//! an error enum of its own. What goes into the runtime is the CRI's own configuration message
//! (`cri_proto`), because it is plain data already and a copy of its sixty fields would only be a
//! second place to forget one; what comes back is our model. Implementations live in `adapters`,
//! doubles in `testing`.

mod cgroups;
mod csr_api;
mod images;
mod kube_api;
mod machine;
mod mounter;
mod runtime;

pub use cgroups::{CgroupError, CgroupLimits, Cgroups};
pub use csr_api::CsrApi;
pub use images::{ImageError, ImageService, LocalImage, RegistryAuth};
pub use kube_api::{
    ApiError, ApiEvent, EnvService, EnvServicePort, EventSink, NodesApi, ObjectsApi, PodWatchEvent,
    PodsApi,
};
pub use machine::{Machine, MachineCapacity, MachineIdentity};
pub use mounter::{MountEntry, MountError, Mounter};
pub use runtime::{
    CgroupDriver, Containers, ListedContainer, ListedSandbox, ListedState, RuntimeCondition,
    RuntimeError, RuntimeFacts, RuntimeStatus, RuntimeVersion, Sandboxes,
};
