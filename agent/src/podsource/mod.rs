//! Desired pods: what the sources want this node to run.
//!
//! **What**: the kubelet's pod config: the API server's pods of this node, merged with those of
//! every other source into one snapshot.
//! **Owns**: the last state of every source.
//! **Reads**: `PodsApi::watch_pods`.
//! **Writes**: a watch of `Arc<DesiredPods>`.
//! **Invariants**: a pod is dropped only when its source says so: by a deletion, or by a complete
//! list without it. While a list is under way nothing is dropped, and before every source has
//! delivered once `all_synced` is false, so that nobody kills what merely has not arrived yet. A
//! mirror pod is never run.
//! **Source**: `pkg/kubelet/config` v1.36.

mod merge;
mod task;

pub use merge::{DesiredPods, SourceSnapshot, merge};
pub use task::{PodSourceTask, SourceEnded};
