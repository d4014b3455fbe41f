//! Connection tracking entries that outlive their endpoint.
//!
//! **What.** A UDP client that keeps its source port stays tied to the endpoint its first packet
//! went to, for as long as it sends. When that endpoint goes, its entries must go too.
//! **Owns.** Nothing.
//! **Reads.** The entries of UDP, from the kernel.
//! **Writes.** Deletes single entries.
//! **Invariants.** TCP and SCTP entries, and UDP entries to anything but a service port we know,
//! are never touched. Entries go after the rules were written, so none can come back.
//! **Source.** `pkg/proxy/conntrack`, v1.36. For node ports we also ask that the destination is an
//! address of this machine.

pub mod boundary;
pub mod netlink;
pub mod plan;

pub use boundary::{Conntrack, ConntrackError, Flow};
pub use netlink::NetlinkConntrack;
pub use plan::{UdpTargets, stale_flows};
