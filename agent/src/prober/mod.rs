//! Probes of running containers.
//!
//! **What**: the kubelet's prober: startup, readiness and liveness probes, one task per container
//! instance and kind, owned by the pod's worker.
//! **Owns**: the probe results of every container.
//! **Reads**: what a pod's worker aims it at.
//! **Writes**: results, to that worker only; `Unhealthy` and `ProbeWarning` events.
//! **Invariants**: a result belongs to one instance, known by its id; while the runtime or the
//! probe itself cannot be had the result stays what it was, and never becomes a failure; a probe
//! decides nothing, the planner does.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/prober`, `pkg/probe`. Where the kubelet's probes of
//! an instance fall on ticks that began with the pod, these begin with the instance, see `schedule`.
//!
//! ```text
//! worker ──aim(observation)──> PodProber ──> ProbeTask (id, kind) ──> Dialer, Streaming
//!    ^                             ^                 │
//!    └─────────changed()───────────┴─────results─────┘
//! ```

mod action;
mod attempt;
mod pod_prober;
mod results;
mod schedule;
mod settings;
mod targets;
mod task;
mod threshold;

pub use action::{USER_AGENT, request_path};
pub use pod_prober::{PodProber, ProbeContext};
pub use results::{ContainerProbes, PodProbes, ProbeKind, ProbeResult};
