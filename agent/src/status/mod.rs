//! The status of a pod as the API server is to show it.
//!
//! **What**: turns what the runtime holds and what a worker holds back into `v1.PodStatus`, and
//! writes it.
//! **Owns**: the latest status of every pod of this node and the API copy it was compared with.
//! **Reads**: nothing but what its callers hand in.
//! **Writes**: PATCH on `pods/status`; the final DELETE of a pod whose end is posted.
//! **Invariants**: a terminal phase is never taken back, nor posted while a container may run;
//! a condition of a type that is not ours is never touched; restart counts never shrink; per pod
//! one write at a time, in order; pods do not wait for each other.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/status`, `pkg/kubelet/kubelet_pods.go`; unlike it we
//! send no GET before the PATCH.

mod addresses;
mod conditions;
mod container_fields;
mod container_status;
mod generate;
mod message_limit;
mod mirror;
mod patch;
mod phase;
mod queue;
mod readiness;
mod statuses;
mod task;
mod urgency;

pub use conditions::is_own;
pub use generate::{StatusInput, generate};
pub use patch::status_patch;
pub use readiness::{DownAddresses, Readiness};
pub use task::{StatusHandle, StatusTask};
