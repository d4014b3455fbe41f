//! Seeing what the proxy does.
//!
//! **What.** Tells people what is planned for a service or a packet, what is live in the kernel,
//! and where the two differ.
//! **Owns.** Nothing.
//! **Reads.** The followed objects as [`ServiceMap`](crate::model::changes::ServiceMap), live
//! rules, connection tracking, addresses of the machine.
//! **Writes.** Nothing, ever.
//! **Invariants.** The plan comes from the planner that the proxy itself runs. A rule of somebody
//! else is shown and never taken for understood. Live rules that cannot be read are unknown, not
//! missing.
//! **Source.** Ours; kube-proxy has nothing of the kind.
//!
//! ```text
//! objects > plan::FamilyPlan --+--> walk (a packet) --+--> packet, service > text, JSON
//! kernel  > live::LiveRules ---+--> compare ----------+
//! ```

pub mod compare;
pub mod live;
mod nft_compare;
pub mod nft_walk;
pub mod packet;
pub mod plan;
pub mod rules;
pub mod service;
mod table;
pub mod text;
pub mod walk;

pub use compare::{ChainDifference, Change, DiffReport, differences};
pub use live::{FamilyKernel, Kernel, LiveRules, LiveState, ReadError, Sources, connections};
pub use packet::{PacketReport, explain_packet};
pub use plan::{FamilyPlan, PlannedPort, PlannedTable};
pub use rules::{RulesReport, planned_rules};
pub use service::{ServiceReport, explain_service};
pub use walk::{Packet, Verdict, Walk, Way};

#[cfg(test)]
mod tests;
