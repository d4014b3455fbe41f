//! What the node, its pods and their containers use.
//!
//! **What**: figures of CPU, memory, swap, network, disks, processes and pressure, for
//! `/stats/summary`, `/metrics/resource` and `/metrics/cadvisor`.
//! **Owns**: the newest snapshot of all figures, the rates between snapshots, and what the pods'
//! volumes took when they were last walked.
//! **Reads**: cgroups, /proc and file systems; the pods of this node and what the runtime holds of
//! them; of the runtime itself the sizes of writable layers and of its image store.
//! **Writes**: nothing.
//! **Invariants**: one snapshot serves all readers and is at most 10 s old; nothing is read while
//! nobody has asked for 2 minutes; a figure that cannot be read is left out and never shown as 0;
//! directories are walked once in `volumeStatsAggPeriod` at most, one at a time, without following
//! links or entering other mounts; pages are rendered without waiting.
//! **Source**: kubelet v1.36 `pkg/kubelet/stats` (`cri_stats_provider.go`),
//! `pkg/kubelet/server/stats`, `pkg/kubelet/metrics/collectors/resource_metrics.go`; cAdvisor v0.56
//! `metrics`. The kubelet samples all the time; noded samples while somebody asks. Page faults of
//! cgroup v1 are those of the whole tree, and the default interface of the node is the one with
//! the default route, not always `eth0`.
//!
//! ```text
//! request ─> task ─ gather ─> Snapshot ─┬─> summary  ─> JSON
//!              │       │                ├─> resource ─> exposition text
//!              │       └ rates          └─> cadvisor ─> exposition text
//!              └ volumes, once a minute
//! ```

mod cadvisor;
mod exposition;
#[cfg(test)]
mod fixtures;
mod gather;
mod handle;
mod machine_page;
mod places;
mod rates;
mod resource;
mod summary;
mod summary_types;
mod task;
mod types;
mod volumes;

pub use cadvisor::{render_cadvisor, render_failed_cadvisor};
pub use exposition::{CONTENT_TYPE, Exposition, Kind};
pub use handle::{Reader, StatsError, StatsHandle};
pub use resource::{render_failed_resource, render_resource};
pub use summary::{build_cpu_and_memory_summary, build_summary};
pub use summary_types::Summary;
pub use task::{SeenPods, StatsParts, StatsTask};
pub use types::{MachineFacts, Snapshot};
