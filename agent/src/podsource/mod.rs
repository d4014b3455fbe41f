//! Desired pods: what the sources want this node to run.
//!
//! **What**: the kubelet's pod config: the API server's pods of this node, merged with the static
//! pods of a manifest directory and of a URL into one snapshot; and the mirror pods, by which the
//! static ones are seen in the API.
//! **Owns**: the last state of every source, the mirror pods.
//! **Reads**: `PodsApi::watch_pods`, `ManifestFiles`, `ManifestUrl`; the workers' states and the
//! Node, for the mirror pods.
//! **Writes**: a watch of `Arc<DesiredPods>`; mirror pods.
//! **Invariants**: a pod is dropped only when its source says so: by a deletion, or by a complete
//! list without it. While a list is under way nothing is dropped, and before every source has
//! delivered once `all_synced` is false, so that nobody kills what merely has not arrived yet. A
//! mirror pod is never run, and nothing that happens to it touches the static pod. A manifest that
//! turns bad leaves its own running pod and all others alone.
//! **Source**: `pkg/kubelet/config` and `pkg/kubelet/pod` v1.36; unlike there, a manifest that
//! turns bad does not end its pod at the next scan.
//!
//! ```text
//! manifest directory ─> manifests ─> static_set ──┐ manifest -> defaults -> validate, references
//! manifest URL ───────> http ──────> static_set ──┼─> task ──DesiredPods──> podworker
//! API watch ──────────────────────────────────────┘      └──> mirror ──> mirror pods
//! ```

mod defaults;
mod http;
mod manifest;
mod manifests;
mod merge;
mod mirror;
mod mirror_plan;
mod references;
mod static_pod;
mod static_set;
mod task;
mod validate;

pub use http::UrlTask;
pub use manifests::ManifestsTask;
pub use merge::{DesiredPods, SourceSnapshot, merge};
pub use mirror::MirrorTask;
pub use mirror_plan::{MirrorStep, plan_mirrors};
pub use static_pod::{CONFIG_HASH, CONFIG_MIRROR};
pub use task::{PodSourceTask, SourceEnded, Sources, StaticPods};
