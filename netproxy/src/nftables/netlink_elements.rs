//! Pure. Changes of elements as one netfilter batch, and the answers to it.
//!
//! ```text
//! batch = begin, (new element | delete element)*, end        one transaction
//! ```
//!
//! The tool reads every element of a set before it deletes one; the kernel needs only the key. So
//! the common small changes go this way, and everything else through the tool.
//!
//! Numbers are those of `linux/netfilter/nf_tables.h` and `linux/netfilter/nfnetlink.h`. Every
//! part of a key takes a multiple of four bytes.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::diff::ElementChange;
use super::state::{Class, Entry, Front, Key, SetName, TABLE, Value};
use crate::config::IpFamily;
use crate::input::Protocol;
use crate::nfnetlink::message::{ACK, CREATE, EXCLUSIVE, Meaning};
use crate::nfnetlink::{Request, messages};

/// `NFNL_SUBSYS_NONE`, which the edges of a batch belong to.
const NO_SUBSYSTEM: u8 = 0;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u8 = 10;
/// `NFNL_MSG_BATCH_BEGIN`.
const BATCH_BEGIN: u8 = 0x10;
/// `NFNL_MSG_BATCH_END`.
const BATCH_END: u8 = 0x11;
/// `NFT_MSG_GETTABLE`.
const GET_TABLE: u8 = 1;
/// `NFT_MSG_NEWSETELEM`.
const NEW_ELEMENT: u8 = 12;
/// `NFT_MSG_DELSETELEM`.
const DELETE_ELEMENT: u8 = 14;

/// Verdict code `NF_DROP`.
const DROP: u32 = 0;
/// Verdict code `NFT_GOTO`, -4.
const GOTO: u32 = 0xffff_fffc;

/// A change of an element to be sent: the entry is nothing for one that goes.
type Order<'a> = (SetName, &'a Key, Option<&'a Entry>);

/// Changes as one transaction.
#[derive(Debug)]
pub struct ElementBatch {
    /// The messages.
    pub bytes: Vec<u8>,
    /// Number of the last message that is answered; it is always answered.
    pub last: u32,
    /// Which element the messages are about, by their numbers from 1 on.
    elements: Vec<(SetName, Key)>,
}

impl ElementBatch {
    /// The batch that makes these changes or none of them; nothing when there are none.
    pub fn new(
        family: IpFamily,
        changes: &BTreeMap<(SetName, Key), ElementChange>,
    ) -> Option<Self> {
        let edge = |message, sequence| {
            let edge = Request::new(NO_SUBSYSTEM, message, 0, 0).of_subsystem(SUBSYSTEM);
            edge.finish(sequence)
        };
        let mut bytes = Vec::with_capacity(64 + changes.len() * 160);
        bytes.extend(edge(BATCH_BEGIN, 0));
        let mut elements = Vec::with_capacity(changes.len());
        let mut orders = changes.iter().flat_map(orders).zip(1_u32..).peekable();
        let mut last = 0;
        while let Some((order, sequence)) = orders.next() {
            let acknowledge = if orders.peek().is_none() { ACK } else { 0 };
            let (message, flags) = match order.2 {
                None => (DELETE_ELEMENT, acknowledge),
                // An element that is there already is refused.
                Some(_) => (NEW_ELEMENT, CREATE | EXCLUSIVE | acknowledge),
            };
            let request = Request::new(SUBSYSTEM, message, flags, family_number(family));
            bytes.extend(element(request, &order).finish(sequence));
            elements.push((order.0, *order.1));
            last = sequence;
        }
        bytes.extend(edge(BATCH_END, last.saturating_add(1)));
        (last > 0).then_some(Self { bytes, last, elements })
    }

    /// The element that the message of that number is about; nothing for the begin and the end.
    pub fn element(&self, sequence: u32) -> Option<(SetName, Key)> {
        let position = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.elements.get(position).copied()
    }
}

/// What is sent for a change; a replaced element goes and comes.
fn orders<'a>(
    ((set, key), change): (&'a (SetName, Key), &'a ElementChange),
) -> impl Iterator<Item = Order<'a>> {
    let goes = (!matches!(change, ElementChange::Added(_))).then_some((*set, key, None));
    let comes = change.entry().map(|entry| (*set, key, Some(entry)));
    goes.into_iter().chain(comes)
}

/// Asks whether the table is there.
pub fn table_question(family: IpFamily) -> Request {
    Request::new(SUBSYSTEM, GET_TABLE, ACK, family_number(family)).with(1, &terminated(TABLE))
}

/// Answers in a datagram: the sequence number that is answered and the error number, 0 for none.
/// What is no answer, or is cut, is left out.
pub fn answers(datagram: &[u8]) -> impl Iterator<Item = (u32, i32)> {
    messages(datagram).filter_map(|message| match message.meaning() {
        Meaning::Done => Some((message.sequence, 0)),
        Meaning::Failed(code) => Some((message.sequence, code)),
        Meaning::Object => None,
    })
}

fn terminated(text: &str) -> Vec<u8> {
    [text.as_bytes(), &[0]].concat()
}

fn element(request: Request, (set, key, entry): &Order<'_>) -> Request {
    let request = request.with(1, &terminated(TABLE)).with(2, &terminated(set.name()));
    let mut key_bytes = Vec::new();
    self::key(&mut key_bytes, key);
    // NFTA_SET_ELEM_LIST_ELEMENTS, NFTA_LIST_ELEM
    request.nested(3, |list| {
        list.nested(1, |element| {
            // NFTA_SET_ELEM_KEY, NFTA_DATA_VALUE
            let element = element.nested(1, |key| key.with(1, &key_bytes));
            let Some(entry) = entry else { return element };
            let element = value(element, &entry.value);
            match entry.comment.as_deref().and_then(remark) {
                // NFTA_SET_ELEM_USERDATA
                Some(remark) => element.with(6, &remark),
                None => element,
            }
        })
    })
}

/// Type, length and text, as libnftnl reads it; nothing for a text that is too long.
fn remark(comment: &str) -> Option<Vec<u8>> {
    let length = u8::try_from(comment.len() + 1).ok()?;
    Some([&[0, length], comment.as_bytes(), &[0]].concat())
}

/// What a map has for the key: NFTA_SET_ELEM_DATA.
fn value(element: Request, value: &Value) -> Request {
    let mut bytes = Vec::new();
    match value {
        Value::Member => return element,
        Value::Drop => return verdict(element, DROP, None),
        Value::Goto(chain) => return verdict(element, GOTO, Some(chain)),
        Value::Target(address, port) => {
            self::address(&mut bytes, *address);
            self::port(&mut bytes, *port);
        }
        Value::Class(class) => self::class(&mut bytes, *class),
    }
    // NFTA_DATA_VALUE
    element.nested(2, |value| value.with(1, &bytes))
}

fn verdict(element: Request, code: u32, chain: Option<&str>) -> Request {
    // NFTA_DATA_VERDICT
    element.nested(2, |value| {
        value.nested(2, |verdict| {
            let verdict = verdict.with(1, &code.to_be_bytes());
            match chain {
                Some(chain) => verdict.with(2, &terminated(chain)),
                None => verdict,
            }
        })
    })
}

fn key(out: &mut Vec<u8>, key: &Key) {
    match key {
        Key::Address(ip) => address(out, *ip),
        Key::Front(place) => front(out, place),
        Key::NodePort(protocol, number) => node_port(out, *protocol, *number),
        // The protocol is that of the set.
        Key::Nth(place, nth) => {
            address(out, place.address);
            port(out, place.port);
            out.extend_from_slice(&nth.to_ne_bytes());
        }
        Key::NodePortNth(_, number, nth) => {
            port(out, *number);
            out.extend_from_slice(&nth.to_ne_bytes());
        }
        Key::Hairpin(ip) => {
            address(out, *ip);
            address(out, *ip);
        }
        Key::Class(number) => class(out, *number),
        Key::ClassNth(number, nth) => {
            class(out, *number);
            out.extend_from_slice(&nth.to_ne_bytes());
        }
    }
}

fn front(out: &mut Vec<u8>, front: &Front) {
    address(out, front.address);
    node_port(out, front.protocol, front.port);
}

fn node_port(out: &mut Vec<u8>, protocol: Protocol, number: u16) {
    out.extend_from_slice(&[protocol_number(protocol), 0, 0, 0]);
    port(out, number);
}

fn address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => out.extend_from_slice(&address.octets()),
        IpAddr::V6(address) => out.extend_from_slice(&address.octets()),
    }
}

fn port(out: &mut Vec<u8>, port: u16) {
    out.extend_from_slice(&port.to_be_bytes());
    out.extend_from_slice(&[0; 2]);
}

/// The priority of a packet, in the byte order of the machine.
fn class(out: &mut Vec<u8>, class: Class) {
    let number = u32::from(class.service) << 16 | u32::from(class.endpoint);
    out.extend_from_slice(&number.to_ne_bytes());
}

/// `NFPROTO_IPV4` and `NFPROTO_IPV6`.
const fn family_number(family: IpFamily) -> u8 {
    match family {
        IpFamily::V4 => 2,
        IpFamily::V6 => 10,
    }
}

/// Numbers assigned by IANA.
const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => 17,
        Protocol::Sctp => 132,
    }
}

#[cfg(test)]
mod tests;
