//! The Node: this machine's object in the API.
//!
//! **What**: registers the Node, publishes its status and keeps its Lease fresh.
//! **Owns**: the Node object's status, labels and annotations of ours, and the Lease.
//! **Reads**: the machine, the runtime's own conditions, the health of the PLEG, the images.
//! **Writes**: Node and Lease through `NodesApi`; nobody else does.
//! **Invariants**: the Lease is never held up by anything else; a status is posted only when it
//! says something new or the report interval is over; labels and taints of others stay.
//! **Source**: kubelet v1.36 `pkg/kubelet/kubelet_node_status.go`, `pkg/kubelet/nodestatus`,
//! `pkg/kubelet/nodelease`.

pub mod addresses;
pub mod allocatable;
pub mod conditions;
pub mod diff;
pub(crate) mod jitter;
mod lease;
mod poll;
pub mod register;
pub mod runtime_state;
pub mod status;
mod status_round;
mod task;
pub mod thresholds;
mod view;

pub use lease::LeaseTask;
pub use task::{NodeParts, NodeTask};
pub use view::NodeView;
