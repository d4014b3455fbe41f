//! The iptables back end.
//!
//! **What.** Writes a rule set through `iptables-restore`, and reads the live one back.
//! **Owns.** The chains that [`rules::chains::is_owned`](crate::rules::chains::is_owned) names.
//! **Reads.** `iptables-save`.
//! **Writes.** One `iptables-restore --noflush` for each change, nothing when nothing changed.
//! **Invariants.** Chains and rules of others are never touched. After a start the live rules are
//! compared, and only differences are written. A failed write is followed by a new look at the
//! live rules, never by a guess.
//! **Source.** `pkg/util/iptables` and `pkg/proxy/iptables`, v1.36. Upstream rewrites the shared
//! chains on each sync; we write them when they differ.

pub mod apply;
pub mod boundary;
pub mod cleanup;
pub mod command;
pub mod parse;
pub mod render;

pub use apply::{Applier, SyncReport};
pub use boundary::{Iptables, IptablesError, Version};
pub use command::IptablesCommand;
