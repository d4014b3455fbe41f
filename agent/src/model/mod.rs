//! Nouns shared by the slices: identities, the pod as wanted, the pod as the runtime holds it,
//! and the arithmetic of resources. Values only; nothing here waits, reads a clock or touches the
//! machine.

mod app_armor;
mod container_hash;
mod ids;
mod pod;
pub mod qos;
pub mod quantity;
pub mod resources;
mod runtime_features;
mod runtime_pod;

pub use app_armor::app_armor_profile;
pub use container_hash::{back_off_key, container_hash};
pub use ids::{ContainerId, PodFullName, PodUid, SandboxId};
pub use pod::{ContainerKind, Pod, PodSource, is_sidecar};
pub use runtime_features::{HandlerFeatures, RuntimeFeatures};
pub use runtime_pod::{
    Container, ContainerState, ContainerUser, Exit, RuntimePod, RuntimePods, Sandbox, SandboxState,
};
