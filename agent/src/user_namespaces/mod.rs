//! User namespaces of pods: which ids of the node the users of a pod are mapped to.
//!
//! **What**: `hostUsers: false`. Each such pod gets a block of `idsPerPod` user and group ids of
//! its own, root of the pod being the block's first.
//! **Owns**: the blocks; the file `userns` in the directory of each pod that has one.
//! **Reads**: the files of the pods an earlier noded left; what the runtime can do.
//! **Writes**: those files.
//! **Invariants**: no id belongs to two pods; a pod keeps its block until it is cleared, also over
//! restarts; while it is not known which block a pod has, no block is given out; no pod gets an id
//! below the first block.
//! **Source**: kubelet v1.36 `pkg/kubelet/userns`, `kubelet_pods.go` (`getKubeletMappings`). Unlike
//! there a pod's unreadable file keeps the node from taking on pods of this kind, not from starting.

mod allocate;
mod handle;
mod host_ids;
mod mappings;

pub use handle::{UserNamespaceError, UserNamespaces};
pub use host_ids::{HostIds, HostIdsError, SubordinateIds, SubordinateIdsError, UNIT};
pub use mappings::IdBlock;
