//! Pure. From single notifications to events worth telling.

use std::collections::BTreeMap;

use tokio::time::{Duration, Instant};

use super::own::OwnWriters;
use super::parse::{Content, Notice, words_with_prefix};
use super::{Edit, ForeignChange, Interest, ObjectKind, RuleEvent, Writer};
use crate::config::IpFamily;
use crate::rules::chains::{FIREWALL, is_owned};
use crate::rules::ruleset::{ChainKey, Table};

/// A burst is over when nothing came for so long; a firewall that reloads writes several
/// transactions.
pub const QUIET: Duration = Duration::from_millis(100);
/// A burst is told after so long even when it goes on.
pub const LONGEST: Duration = Duration::from_secs(1);
/// Changes of one burst that are kept apart; more are told as [`RuleEvent::Missed`].
const MOST: usize = 64;
/// How the names of all chains of Kubernetes begin.
const CHAIN_PREFIX: &str = "KUBE-";
/// Name of our nftables tables.
const NFT_TABLE: &str = "kube-proxy";

/// The burst that is going on.
#[derive(Debug)]
pub struct Pending {
    interest: Interest,
    /// Of the transaction whose end has not come yet, by port.
    open: Vec<(u32, IpFamily, String, Edit)>,
    changes: Vec<Entry>,
    missed: bool,
    first: Option<Instant>,
    last: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    port: u32,
    change: ForeignChange,
}

impl Pending {
    /// Nothing yet.
    pub const fn new(interest: Interest) -> Self {
        Self {
            interest,
            open: Vec::new(),
            changes: Vec::new(),
            missed: false,
            first: None,
            last: None,
        }
    }

    /// Takes a notification in; those that do not matter and those that are known to be our own
    /// leave no trace.
    pub fn take(&mut self, notice: &Notice<'_>, own: &OwnWriters, now: Instant) {
        if own.is_own(notice.port) {
            return;
        }
        match &notice.content {
            Content::Edit { edit, table, name, expressions } => {
                let Some(family) = family(notice.family) else { return };
                let counts = match self.interest {
                    Interest::Nftables => *table == NFT_TABLE,
                    Interest::Iptables => minds(*edit, table, name, *expressions),
                };
                if !counts {
                    return;
                }
                let known = self.open.iter().any(|(port, open_family, open_table, open_edit)| {
                    (*port, *open_family, *open_edit) == (notice.port, family, *edit)
                        && open_table == table
                });
                if !known {
                    self.open.push((notice.port, family, (*table).to_owned(), *edit));
                }
            }
            Content::Generation { pid, name } => {
                let writer = Writer { name: (*name).to_owned(), pid: *pid };
                self.close(notice.port, &writer, now);
            }
        }
    }

    /// Notes that notifications got lost.
    pub fn miss(&mut self, now: Instant) {
        self.open.clear();
        self.missed = true;
        self.touch(now);
    }

    /// When the burst is over if nothing else comes; `None` when there is none.
    pub fn due(&self) -> Option<Instant> {
        Some((self.last? + QUIET).min(self.first? + LONGEST))
    }

    /// The event of a burst that is over by `now`. Ownership is judged here once more, because a
    /// child's first words can overtake the note of its process id.
    pub fn tell(&mut self, own: &OwnWriters, now: Instant) -> Option<RuleEvent> {
        if self.due()? > now {
            return None;
        }
        (self.first, self.last) = (None, None);
        let mut changes = std::mem::take(&mut self.changes);
        if std::mem::take(&mut self.missed) {
            return Some(RuleEvent::Missed);
        }
        changes.retain(|entry| !own.is_own(entry.port) && !own.is_own(entry.change.writer.pid));
        let changes: Vec<ForeignChange> = changes.into_iter().map(|entry| entry.change).collect();
        (!changes.is_empty()).then_some(RuleEvent::Foreign(changes))
    }

    /// A transaction has ended.
    fn close(&mut self, port: u32, writer: &Writer, now: Instant) {
        let mut by_table: BTreeMap<(IpFamily, String), ForeignChange> = BTreeMap::new();
        for (_, family, table, edit) in self.open.extract_if(.., |(open, ..)| *open == port) {
            let change = by_table.entry((family, table.clone())).or_insert_with(|| ForeignChange {
                family,
                table,
                edits: [].into(),
                writer: writer.clone(),
            });
            change.edits.insert(edit);
        }
        if by_table.is_empty() {
            return;
        }
        for change in by_table.into_values() {
            self.keep(port, change);
        }
        self.touch(now);
    }

    fn keep(&mut self, port: u32, change: ForeignChange) {
        let full = self.changes.len() == MOST;
        let same = self.changes.iter_mut().find(|entry| {
            let kept = &entry.change;
            (entry.port, kept.family, &kept.table, &kept.writer)
                == (port, change.family, &change.table, &change.writer)
        });
        match same {
            Some(entry) => entry.change.edits.extend(change.edits),
            None if full => self.missed = true,
            None => self.changes.push(Entry { port, change }),
        }
    }

    fn touch(&mut self, now: Instant) {
        self.first.get_or_insert(now);
        self.last = Some(now);
    }
}

/// Whether a change in a table of iptables concerns the chains of ours or the ways to them. Rules
/// that others add to or delete from their own chains do not, or each new pod would count.
fn minds(edit: Edit, table: &str, chain: &str, expressions: Option<&[u8]>) -> bool {
    let Some(table) = Table::ALL.into_iter().find(|known| known.name() == table) else {
        return false;
    };
    let ours = |name: &str| is_owned(&ChainKey::new(table, name)) || name == FIREWALL;
    match edit {
        Edit::Deleted(ObjectKind::Table) => true,
        Edit::Deleted(ObjectKind::Chain) | Edit::Added(ObjectKind::Rule) => ours(chain),
        Edit::Deleted(ObjectKind::Rule) => {
            let leads_to_ours =
                |expressions| words_with_prefix(expressions, CHAIN_PREFIX).any(ours);
            // Without the expressions it can have been a jump.
            ours(chain) || is_built_in(chain) && expressions.is_none_or(leads_to_ours)
        }
        Edit::Added(_) | Edit::Deleted(_) => false,
    }
}

fn is_built_in(chain: &str) -> bool {
    matches!(chain, "PREROUTING" | "INPUT" | "FORWARD" | "OUTPUT" | "POSTROUTING")
}

/// Numbers of `enum nf_inet_hooks` families; others hold no rules of ours.
const fn family(number: u8) -> Option<IpFamily> {
    match number {
        2 => Some(IpFamily::V4),
        10 => Some(IpFamily::V6),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
