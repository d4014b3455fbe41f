//! PLEG: notices what changed in the runtime.
//!
//! **What**: keeps the last seen state of every pod in the runtime, woken by containerd's events,
//! with a slow relist behind them.
//! **Owns**: the runtime cache; nobody else writes it.
//! **Reads**: CRI lists and statuses, the event stream.
//! **Invariants**: an event is a reason to look and never evidence; while the runtime does not
//! answer the cache stays as it was; a pod is read once at a time and a request that arrives
//! during a read gets a read that began after it; before the first whole list nothing is said.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/pleg`, which relists each second; we do so only while
//! there is no event stream.

mod diff;
mod relist;

pub use diff::changed_pods;
pub use relist::{PlegHandle, PlegTask, RuntimeReader};
