//! Garbage: what nobody on this node cares for any more.
//!
//! **What**: removes dead containers beyond the limits, all that is left of evicted pods in the
//! runtime, and the directories, cgroups and logs of pods that no source knows.
//! **Owns**: nothing; it removes only what has no owner.
//! **Reads**: `DesiredPods`, `WorkerStates`, the runtime cache; never the runtime itself.
//! **Writes**: removals through the runtime, the volumes, the container manager and the log
//! directories; event `ContainerGCFailed` on the Node.
//! **Invariants**: nothing is touched before every source has spoken and the runtime was listed; a
//! pod that a source, a worker or the runtime knows keeps everything; nothing is deleted through a
//! mount; the newest instance of a container that may run again stays, because its end decides
//! when; nothing is looked at while nothing has changed.
//! **Source**: kubelet v1.36 `kuberuntime/kuberuntime_gc.go`, `kubelet_volumes.go`,
//! `kubelet_pods.go` (`HandlePodCleanups`). Runtime objects of unknown pods are ended by the pod
//! workers (`podworker::dispatch`), which remove their dead containers too.

mod plan;
mod remains;
mod task;

pub use plan::Excess;
pub use remains::{LeftoverError, NodeRemains, Remains};
pub use task::{GcParts, GcTask};
