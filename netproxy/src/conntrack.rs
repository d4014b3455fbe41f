//! Connection tracking entries that outlive their endpoint.
//!
//! **What.** A UDP client that keeps its source port stays tied to the endpoint its first packet
//! went to, for as long as it sends. When that endpoint goes, its entries must go too.
//! **Owns.** The task of [`ConntrackReconciler`], which works beside the syncs.
//! **Reads.** The entries of UDP, from the kernel; each is judged as it arrives.
//! **Writes.** Deletes single entries.
//! **Invariants.** TCP and SCTP entries, and UDP entries to anything but a service port we know,
//! are never touched. Entries go after the rules were written, so none can come back. No more
//! than [`AT_ONCE`](reconciler::AT_ONCE) entries are held, however many there are.
//! **Source.** `pkg/proxy/conntrack`, v1.36. For node ports we also ask that the destination is an
//! address of this machine.

pub mod boundary;
pub mod netlink;
pub mod parse;
pub mod plan;
pub mod reconciler;

pub use boundary::{Conntrack, ConntrackError, Entry, Flow};
pub use netlink::NetlinkConntrack;
pub use plan::{StaleTest, UdpTargets};
pub use reconciler::{ConntrackReconciler, Reconcile, ReconcileOutcome};
