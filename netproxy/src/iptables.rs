//! The iptables back end.
//!
//! **What.** Writes a rule set through `iptables-restore`, and reads the live one back.
//! **Owns.** The chains that [`rules::chains::is_owned`](crate::rules::chains::is_owned) names.
//! **Reads.** `iptables-save`.
//! **Writes.** `iptables-restore --noflush`, in the [`steps`] that suit the flavour; nothing when
//! nothing changed.
//! **Invariants.** Chains and rules of others are never touched. After a start the live rules are
//! compared, and only differences are written. A failed write is followed by a new look at the
//! live rules, never by a guess. All commands are of one [`flavour`]. A service whose rules are
//! refused keeps those it has, and the others go on.
//! **Source.** `pkg/util/iptables` and `pkg/proxy/iptables`, v1.36. Upstream rewrites the shared
//! chains on each sync; we write them when they differ.

pub mod apply;
pub mod backend;
pub mod boundary;
pub mod cleanup;
pub mod command;
pub mod flavour;
mod graph;
pub mod isolation;
pub mod live;
pub mod parse;
pub mod render;
pub mod step;
pub mod steps;

pub use apply::{Applier, SyncReport};
pub use backend::IptablesBackend;
pub use boundary::{Flavour, Iptables, IptablesError, Version};
pub use command::IptablesCommand;
