//! Pure. Notifications of nftables, from bytes.
//!
//! The input comes from the kernel, but nothing is taken for granted: a length that does not fit
//! ends the walk, and what cannot be read is left out.

use super::{Edit, ObjectKind};
use crate::nfnetlink::message::{Attributes, Message, messages};

/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u8 = 10;
/// `NFTA_RULE_EXPRESSIONS`.
const RULE_EXPRESSIONS: u16 = 4;

/// One notification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// Netlink port of whoever asked for the change; for programs with one socket it is mostly
    /// their process id.
    pub port: u32,
    /// `NFPROTO_*`: 2 is IPv4, 10 is IPv6; 0 for [`Content::Generation`].
    pub family: u8,
    /// What happened.
    pub content: Content<'a>,
}

/// What a notification says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// Something was added to a table or deleted from it.
    Edit {
        /// What.
        edit: Edit,
        /// Name of the table.
        table: &'a str,
        /// Name of the chain or set; of the chain, too, that a rule is in, and of the set that
        /// elements are in. Empty for a table.
        name: &'a str,
        /// The expressions of a rule, undecoded; `None` when they were not sent.
        expressions: Option<&'a [u8]>,
    },
    /// A transaction is complete; the notices before it with the same port belong to it.
    Generation {
        /// Process that made it, 0 when it is not told.
        pid: u32,
        /// Name of that process, empty when it is not told.
        name: &'a str,
    },
}

/// The notifications in a datagram, in order; other messages are left out.
pub fn notices(datagram: &[u8]) -> impl Iterator<Item = Notice<'_>> {
    messages(datagram).filter_map(|message| notice(&message))
}

fn notice<'a>(message: &Message<'a>) -> Option<Notice<'a>> {
    let [number, subsystem] = message.kind.to_le_bytes();
    if subsystem != SUBSYSTEM {
        return None;
    }
    let family = *message.payload.first()?;
    let attributes = message.attributes();
    let content = match Shape::of(number)? {
        Shape::Generation => generation(attributes),
        Shape::Edit { edit, name } => edited(edit, name, attributes)?,
    };
    Some(Notice { port: message.port, family, content })
}

/// What a message number stands for, and which attribute holds the name.
enum Shape {
    Edit { edit: Edit, name: Option<u16> },
    Generation,
}

impl Shape {
    /// Numbers of `enum nf_tables_msg_types`.
    fn of(number: u8) -> Option<Self> {
        use Edit::{Added, Deleted};
        use ObjectKind::{Chain, Element, Other, Rule, Set, Table};
        let (edit, name) = match number {
            0 => (Added(Table), None),
            2 => (Deleted(Table), None),
            3 => (Added(Chain), Some(3)),
            5 => (Deleted(Chain), Some(3)),
            6 => (Added(Rule), Some(2)),
            8 => (Deleted(Rule), Some(2)),
            9 => (Added(Set), Some(2)),
            11 => (Deleted(Set), Some(2)),
            12 => (Added(Element), Some(2)),
            14 => (Deleted(Element), Some(2)),
            15 => return Some(Self::Generation),
            18 | 22 => (Added(Other), Some(2)),
            20 | 24 => (Deleted(Other), Some(2)),
            _ => return None,
        };
        Some(Self::Edit { edit, name })
    }
}

fn edited<'a>(
    edit: Edit,
    name_attribute: Option<u16>,
    attributes: Attributes<'a>,
) -> Option<Content<'a>> {
    let is_rule = matches!(edit, Edit::Added(ObjectKind::Rule) | Edit::Deleted(ObjectKind::Rule));
    let (mut table, mut name, mut expressions) = (None, "", None);
    for (kind, content) in attributes {
        match kind {
            // The first attribute of every kind of object.
            1 => table = text(content),
            kind if Some(kind) == name_attribute => name = text(content)?,
            RULE_EXPRESSIONS if is_rule => expressions = Some(content),
            _ => {}
        }
    }
    Some(Content::Edit { edit, table: table?, name, expressions })
}

fn generation(attributes: Attributes<'_>) -> Content<'_> {
    let (mut pid, mut name) = (0, "");
    for (kind, content) in attributes {
        match kind {
            2 => pid = take(content, 0).map_or(0, u32::from_be_bytes),
            3 => name = text(content).unwrap_or_default(),
            _ => {}
        }
    }
    Content::Generation { pid, name }
}

/// The words in undecoded `expressions` that begin with `prefix`; each ends before the first
/// byte that no chain name holds.
pub fn words_with_prefix<'a>(
    expressions: &'a [u8],
    prefix: &'a str,
) -> impl Iterator<Item = &'a str> {
    let starts = expressions.windows(prefix.len().max(1)).enumerate();
    starts.filter(move |(_, window)| *window == prefix.as_bytes()).filter_map(|(start, _)| {
        let rest = expressions.get(start..)?;
        let end = rest.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(rest.len());
        std::str::from_utf8(rest.get(..end)?).ok()
    })
}

/// A string up to its first zero byte; `None` when it is not text.
fn text(content: &[u8]) -> Option<&str> {
    let end = content.iter().position(|byte| *byte == 0).unwrap_or(content.len());
    std::str::from_utf8(content.get(..end)?).ok()
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests;
