//! Rules that somebody else changes.
//!
//! **What.** Tells when another program changed rules that the proxy owns or depends on, so that
//! they are mended at once instead of at the next full sync.
//! **Reads.** Notifications of nftables (netlink), which cover the nft flavour of iptables too;
//! the lock file that each run of legacy iptables opens.
//! **Invariants.** Our own writes are never told. Nothing is polled. Bursts become one event, and
//! an event is told at most a second after the first change of its burst. Notifications that got
//! lost are told as [`RuleEvent::Missed`], never skipped over.
//! **Source.** Numbers of `linux/netfilter/nf_tables.h`. kube-proxy v1.36 looks for a canary
//! chain every 30 s with iptables, and never notices with nftables.
//!
//! ```text
//! kernel > netlink > parse > pending (whose? ours to mind? burst over?) > RuleEvent
//! /run/xtables.lock > lock_file ------------------------------------------^
//! ```

pub mod lock_file;
pub mod mending;
pub mod netlink;
pub mod own;
pub mod parse;
pub mod pending;

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use async_trait::async_trait;
use tracing::warn;

use crate::config::IpFamily;

use lock_file::LOCK_FILE;

pub use lock_file::LockFileWatch;
pub use mending::{Mend, Mending};
pub use netlink::NetlinkWatch;
pub use own::{OwnRun, OwnWriters};

/// Waits for changes that others make.
#[async_trait]
pub trait RuleWatch: Send {
    /// The next event, once its burst is over. Cancel safe: what was noticed by a call that was
    /// dropped is told by the next one.
    async fn next(&mut self) -> RuleEvent;
}

/// What was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleEvent {
    /// Rules that matter were changed; at least one change.
    Foreign(Vec<ForeignChange>),
    /// Notifications were lost, so anything may have changed.
    Missed,
    /// Somebody ran legacy iptables, which does not tell what it changed.
    LegacyRun,
}

impl RuleEvent {
    /// Whether rules of that family may have changed.
    pub fn concerns(&self, family: IpFamily) -> bool {
        match self {
            Self::Foreign(changes) => changes.iter().any(|change| change.family == family),
            Self::Missed | Self::LegacyRun => true,
        }
    }
}

/// What one writer changed in one table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignChange {
    /// Family of the table.
    pub family: IpFamily,
    /// Name of the table.
    pub table: String,
    /// What was added or deleted; not empty.
    pub edits: BTreeSet<Edit>,
    /// Who did it.
    pub writer: Writer,
}

/// A kind of change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Edit {
    /// Something new, or new content.
    Added(ObjectKind),
    /// Something is gone.
    Deleted(ObjectKind),
}

/// A kind of nftables object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ObjectKind {
    /// A whole table.
    Table,
    /// A chain.
    Chain,
    /// A rule.
    Rule,
    /// A set or a map.
    Set,
    /// Elements of a set or a map.
    Element,
    /// A counter, a flow table or the like.
    Other,
}

/// The program behind a change.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Writer {
    /// Name of the program, up to 15 characters; empty when the kernel did not tell.
    pub name: String,
    /// Its process id, as the first process id namespace counts; 0 when the kernel did not tell.
    pub pid: u32,
}

/// Which back end's rules to mind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Our chains in the tables that the nft flavour of iptables keeps, and the jumps to them.
    Iptables,
    /// The tables named `kube-proxy`.
    Nftables,
}

/// Watches nftables from now on, and with it the nft flavour of iptables; nothing, with a warning,
/// when the kernel does not tell.
pub fn watch_nftables(interest: Interest) -> Option<Box<dyn RuleWatch>> {
    match NetlinkWatch::open(interest, OwnWriters::of_this_process()) {
        Ok(watch) => Some(Box::new(watch)),
        Err(error) => {
            warn!(%error, "rules that others change are noticed late");
            None
        }
    }
}

/// Watches runs of legacy iptables from now on; nothing, with a warning, when that is not
/// possible.
pub fn watch_legacy() -> Option<Box<dyn RuleWatch>> {
    match LockFileWatch::open(Path::new(LOCK_FILE), OwnWriters::of_this_process()) {
        Ok(watch) => Some(Box::new(watch)),
        Err(error) => {
            warn!(%error, "rules that others change are noticed late");
            None
        }
    }
}

impl fmt::Display for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = if self.name.is_empty() { "an unknown program" } else { &self.name };
        match self.pid {
            0 => write!(f, "{name}"),
            pid => write!(f, "{name} (pid {pid})"),
        }
    }
}

impl fmt::Display for ObjectKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "the table",
            Self::Chain => "chains",
            Self::Rule => "rules",
            Self::Set => "sets",
            Self::Element => "elements",
            Self::Other => "objects",
        })
    }
}

impl fmt::Display for Edit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(kind) => write!(f, "added {kind}"),
            Self::Deleted(kind) => write!(f, "deleted {kind}"),
        }
    }
}

/// Such as `iptables (pid 123) deleted chains, deleted rules in table ip nat`.
impl fmt::Display for ForeignChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.writer)?;
        for (number, edit) in self.edits.iter().enumerate() {
            write!(f, "{}{edit}", if number == 0 { " " } else { ", " })?;
        }
        let family = match self.family {
            IpFamily::V4 => "ip",
            IpFamily::V6 => "ip6",
        };
        write!(f, " in table {family} {}", self.table)
    }
}

impl fmt::Display for RuleEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Foreign(changes) => {
                for (number, change) in changes.iter().enumerate() {
                    write!(f, "{}{change}", if number == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
            Self::Missed => f.write_str("notifications of rule changes were lost"),
            Self::LegacyRun => f.write_str("somebody ran legacy iptables"),
        }
    }
}

#[cfg(test)]
mod tests;
