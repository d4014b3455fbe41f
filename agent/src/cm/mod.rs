//! The container manager: the cgroup tree of the pods.
//!
//! **What**: makes, limits and removes the cgroups below `kubepods`.
//! **Owns**: `kubepods`, its QoS cgroups and the pods' cgroups; what is below a pod's cgroup is the
//! runtime's.
//! **Reads**: pods as they start and end; the machine's capacity and the reservations.
//! **Writes**: cgroups through `Cgroups`; event `NodeAllocatableEnforced`.
//! **Invariants**: a pod's cgroup exists before its sandbox; it is removed only after everything in
//! it is dead; a cgroup of a pod that somebody still knows is never touched as an orphan.
//! **Source**: kubelet v1.36 `pkg/kubelet/cm`; only the cgroupfs driver so far.
//!
//! ```text
//! <root>/kubepods                     memory and pids: what the reservations leave
//! <root>/kubepods/pod<uid>            Guaranteed pods
//! <root>/kubepods/burstable           CPU shares: the sum of its pods' requests
//! <root>/kubepods/burstable/pod<uid>
//! <root>/kubepods/besteffort          CPU shares: 2
//! <root>/kubepods/besteffort/pod<uid>
//! ```

pub mod limits;
pub mod names;
mod task;

pub use task::{CmError, CmHandle, CmTask, NodeLimits, SweptOrphans};
