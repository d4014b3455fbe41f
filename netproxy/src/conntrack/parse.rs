//! Pure. Entries and requests as netlink attributes.
//!
//! ```text
//! entry: original direction, reply direction, ..., number, zone
//! direction: addresses (source, destination), protocol (number, source port, destination port)
//! ```
//!
//! Source: `linux/netfilter/nfnetlink_conntrack.h`.

use std::net::{IpAddr, SocketAddr};

use super::boundary::{Entry, Flow};
use crate::config::IpFamily;
use crate::input::Protocol;
use crate::nfnetlink::message::{ACK, DUMP};
use crate::nfnetlink::{Message, Request, attributes};

/// `NFNL_SUBSYS_CTNETLINK`.
const SUBSYSTEM: u8 = 1;
/// An entry in a dump.
const NEW: u8 = 0;
const GET: u8 = 1;
const DELETE: u8 = 2;

const ORIGINAL: u16 = 1;
const REPLY: u16 = 2;
const NUMBER: u16 = 12;
const ZONE: u16 = 18;
const FILTER: u16 = 25;

const FILTER_ORIGINAL: u16 = 1;
const FILTER_REPLY: u16 = 2;
/// Only entries of the protocol that the tuple of the request names.
const FILTER_BY_PROTOCOL: u32 = 1 << 3;

const ADDRESSES: u16 = 1;
const PROTOCOL: u16 = 2;

const SOURCE_V4: u16 = 1;
const DESTINATION_V4: u16 = 2;
const SOURCE_V6: u16 = 3;
const DESTINATION_V6: u16 = 4;

const PROTOCOL_NUMBER: u16 = 1;
const SOURCE_PORT: u16 = 2;
const DESTINATION_PORT: u16 = 3;

/// `IPPROTO_UDP`.
const UDP: u8 = 17;

/// Asks for all entries of a family, or only for those of a protocol: the kernel can choose from
/// 5.8 on. Older ones ignore the wish, some versions refuse it.
pub fn dump_request(family: IpFamily, only: Option<Protocol>) -> Request {
    let request = Request::new(SUBSYSTEM, GET, DUMP, family_number(family));
    let Some(protocol) = only else { return request };
    let number = [protocol_number(protocol)];
    request
        .nested(ORIGINAL, |tuple| {
            tuple.nested(PROTOCOL, |part| part.with(PROTOCOL_NUMBER, &number))
        })
        .nested(FILTER, |filter| {
            filter
                .with(FILTER_ORIGINAL, &FILTER_BY_PROTOCOL.to_ne_bytes())
                .with(FILTER_REPLY, &0u32.to_ne_bytes())
        })
}

/// Asks to delete one entry.
pub fn delete_request(entry: &Entry) -> Request {
    let flow = &entry.flow;
    let family = IpFamily::of(flow.source.ip());
    let mut request = Request::new(SUBSYSTEM, DELETE, ACK, family_number(family))
        .nested(ORIGINAL, |tuple| direction(tuple, flow.source, flow.destination));
    if let Some(id) = entry.id {
        request = request.with(NUMBER, &id.to_ne_bytes());
    }
    if entry.zone != 0 {
        request = request.with(ZONE, &entry.zone.to_be_bytes());
    }
    request
}

/// The entry in a message; nothing for other messages, for other protocols, and for anything
/// that is cut short.
pub fn read_entry(message: &Message<'_>, protocol: Protocol) -> Option<Entry> {
    if message.kind != u16::from_be_bytes([SUBSYSTEM, NEW]) {
        return None;
    }
    let (mut original, mut reply, mut zone, mut id) = (None, None, 0, None);
    for (kind, value) in message.attributes() {
        match kind {
            ORIGINAL => original = Some(ends(value, protocol)?),
            REPLY => reply = Some(ends(value, protocol)?),
            ZONE => zone = u16::from_be_bytes(*value.first_chunk()?),
            NUMBER => id = Some(u32::from_ne_bytes(*value.first_chunk()?)),
            _ => {}
        }
    }
    let (source, destination) = original?;
    let (answered_by, _) = reply?;
    Some(Entry { flow: Flow { source, destination, answered_by }, zone, id })
}

/// Source and destination of a direction, if it is of the protocol and whole.
fn ends(tuple: &[u8], wanted: Protocol) -> Option<(SocketAddr, SocketAddr)> {
    let (mut source, mut destination) = (None, None);
    let (mut source_port, mut destination_port, mut protocol) = (None, None, None);
    for (kind, part) in attributes(tuple) {
        match kind {
            ADDRESSES => {
                for (kind, value) in attributes(part) {
                    match kind {
                        SOURCE_V4 | SOURCE_V6 => source = Some(address(value)?),
                        DESTINATION_V4 | DESTINATION_V6 => destination = Some(address(value)?),
                        _ => {}
                    }
                }
            }
            PROTOCOL => {
                for (kind, value) in attributes(part) {
                    match kind {
                        PROTOCOL_NUMBER => protocol = value.first(),
                        SOURCE_PORT => source_port = Some(port(value)?),
                        DESTINATION_PORT => destination_port = Some(port(value)?),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let ends =
        (SocketAddr::new(source?, source_port?), SocketAddr::new(destination?, destination_port?));
    (protocol == Some(&protocol_number(wanted))).then_some(ends)
}

/// The number of a protocol in IP headers.
const fn protocol_number(protocol: Protocol) -> u8 {
    match protocol {
        Protocol::Tcp => 6,
        Protocol::Udp => UDP,
        Protocol::Sctp => 132,
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).ok().map(IpAddr::from);
    v4.or_else(|| <[u8; 16]>::try_from(value).ok().map(IpAddr::from))
}

fn port(value: &[u8]) -> Option<u16> {
    value.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

fn direction(request: Request, source: SocketAddr, destination: SocketAddr) -> Request {
    request
        .nested(ADDRESSES, |part| match (source.ip(), destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                part.with(SOURCE_V4, &source.octets()).with(DESTINATION_V4, &destination.octets())
            }
            (source, destination) => {
                part.with(SOURCE_V6, &v6(source)).with(DESTINATION_V6, &v6(destination))
            }
        })
        .nested(PROTOCOL, |part| {
            part.with(PROTOCOL_NUMBER, &[UDP])
                .with(SOURCE_PORT, &source.port().to_be_bytes())
                .with(DESTINATION_PORT, &destination.port().to_be_bytes())
        })
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// `AF_INET` or `AF_INET6`.
const fn family_number(family: IpFamily) -> u8 {
    match family {
        IpFamily::V4 => 2,
        IpFamily::V6 => 10,
    }
}

#[cfg(test)]
mod tests;
