//! The life of a pod on this node.
//!
//! **What**: the kubelet's pod workers: one task per pod that looks, plans, acts and reports.
//! **Owns**: the stage of life of every pod, and its sandboxes and containers in the runtime.
//! **Reads**: `DesiredPods`, the runtime cache, the Node's state.
//! **Writes**: runtime calls through [`crate::podexec`], statuses, events; a watch of
//! `Arc<WorkerStates>`.
//! **Invariants**: a stage never goes back; a finished UID never starts again; what the runtime
//! does not tell is unknown and nothing is done about it; nothing that no source wants is killed
//! before all sources have spoken; a runtime call is never dropped midway; a worker can take an
//! order at any time.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/pod_workers.go`. Its seven flags are five stages here,
//! and a rejected pod goes through the same end as any other, with nothing to end.
//!
//! ```text
//! DesiredPods ──> pool ──Wish──> worker ──> observe ──> plan_pod ──> operations (child tasks)
//! runtime cache ──┘ └──poke────────^  ^                                   │
//!                                     └────────── reports, results ───────┘
//! ```

mod dispatch;
mod handle;
mod lifecycle;
mod operations;
mod pool;
mod worker;

pub use dispatch::{Demand, Wish, WorkerOrder, dispatch};
pub use handle::{WallClock, WorkMetrics, WorkerContext, WorkerState, WorkerStates};
pub use lifecycle::{EndCause, Lifecycle};
pub use pool::{AdmissionParts, PodPool, PoolEnded};
