//! The ConfigMaps, Secrets and RuntimeClasses that this node's pods refer to.
//!
//! **What**: a cache with one single-name watch for each object; for ConfigMaps and Secrets the Node
//! authorizer allows a node nothing wider.
//! **Owns**: the cache and its watches.
//! **Reads**: `ObjectsApi`; the references of every registered pod.
//! **Writes**: nothing outside; tells the volumes slice and the pod workers which pods a change
//! concerns.
//! **Invariants**: an object no pod has used for a minute is neither kept nor watched, and one that
//! can never change is not watched once it is known; an API server that is away never turns a known
//! object into a missing one; a Secret is never printed.
//! **Source**: kubelet v1.36 `util/manager`, `configmap`, `secret`, `runtimeclass`.

mod handle;
mod references;
mod shelf;
mod task;
mod types;

pub use handle::ObjectsHandle;
pub use references::{References, container_references, pod_references};
pub use task::{ObjectsTask, new};
pub use types::{ObjectError, ObjectKind, ObjectSet, SecretObject};
