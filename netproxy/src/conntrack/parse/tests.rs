use proptest::prelude::*;

use super::super::{Entry, Flow};
use super::{NEW, NUMBER, ORIGINAL, PROTOCOL, PROTOCOL_NUMBER, REPLY, SUBSYSTEM, ZONE};
use super::{delete_request, direction, dump_request, read_entry};
use crate::config::IpFamily;
use crate::input::Protocol;
use crate::nfnetlink::{Message, Request, attributes, messages};

fn entry(source: &str, destination: &str, answered_by: &str) -> Entry {
    let [source, destination, answered_by] =
        [source, destination, answered_by].map(|text| text.parse().unwrap());
    Entry { flow: Flow { source, destination, answered_by }, zone: 0, id: Some(0xdead_beef) }
}

fn told(entry: &Entry) -> Vec<u8> {
    let flow = entry.flow;
    let mut request = Request::new(SUBSYSTEM, NEW, 0, 2)
        .nested(ORIGINAL, |tuple| direction(tuple, flow.source, flow.destination))
        .nested(REPLY, |tuple| direction(tuple, flow.answered_by, flow.source));
    if entry.zone != 0 {
        request = request.with(ZONE, &entry.zone.to_be_bytes());
    }
    let id = entry.id.unwrap_or_default();
    request.with(NUMBER, &id.to_ne_bytes()).with(99, b"not known yet").finish(1)
}

fn read(bytes: &[u8]) -> Vec<Entry> {
    messages(bytes).filter_map(|message| read_entry(&message, Protocol::Udp)).collect()
}

#[test]
fn entries_of_both_families_are_read_with_zone_and_number() {
    let entries = [
        entry("10.0.0.9:4000", "10.96.0.10:53", "10.0.0.1:5353"),
        entry("[fd00::9]:4000", "[fd00:96::10]:53", "[fd00::1]:5353"),
        Entry { zone: 7, ..entry("10.0.0.9:4000", "10.96.0.10:53", "10.0.0.1:5353") },
    ];
    let dump: Vec<u8> = entries.iter().flat_map(told).collect();
    assert_eq!(read(&dump), entries);
}

#[test]
fn other_protocols_and_other_messages_are_no_entries() {
    let mut tcp = told(&entry("10.0.0.9:4000", "10.96.0.10:53", "10.0.0.1:53"));
    let protocol = [5, 0, 1, 0, super::UDP];
    let position = tcp.windows(5).position(|bytes| bytes == protocol).unwrap();
    tcp[position + 4] = 6;
    assert!(read(&tcp).is_empty());
    let read_as_tcp = |message: Message<'_>| read_entry(&message, Protocol::Tcp);
    // The other direction is still one of UDP.
    assert_eq!(messages(&tcp).find_map(read_as_tcp), None);
    let position = tcp.windows(5).position(|bytes| bytes == protocol).unwrap();
    tcp[position + 4] = 6;
    assert!(messages(&tcp).find_map(read_as_tcp).is_some());
    let other = Request::new(SUBSYSTEM, super::DELETE, 0, 2).finish(1);
    assert!(read(&other).is_empty());
}

#[test]
fn deletion_names_the_flow_the_zone_and_the_number() {
    let one = Entry { zone: 9, ..entry("10.0.0.9:4000", "10.96.0.10:53", "10.0.0.1:5353") };
    let bytes = delete_request(&one).finish(1);
    let [message] = messages(&bytes).collect::<Vec<Message<'_>>>()[..] else { panic!() };
    let kinds: Vec<u16> = message.attributes().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, [ORIGINAL, NUMBER, ZONE]);
    let tuple = message.attributes().next().unwrap().1;
    let ends = super::ends(tuple, Protocol::Udp);
    assert_eq!(ends, Some((one.flow.source, one.flow.destination)));
}

#[test]
fn filtered_dump_names_the_protocol() {
    let plain = dump_request(IpFamily::V6, None).finish(1);
    assert_eq!(plain.len(), 20, "no attributes");
    let bytes = dump_request(IpFamily::V6, Some(Protocol::Udp)).finish(1);
    let message = messages(&bytes).next().unwrap();
    let (kind, tuple) = message.attributes().next().unwrap();
    assert_eq!(kind, ORIGINAL);
    let (kind, protocol) = attributes(tuple).next().unwrap();
    assert_eq!(kind, PROTOCOL);
    assert_eq!(attributes(protocol).next(), Some((PROTOCOL_NUMBER, &[super::UDP][..])));
}

proptest! {
    #[test]
    fn changed_bytes_never_make_reading_panic(
        changes in proptest::collection::vec((0..150usize, any::<u8>()), 1..6),
        length in 0..150usize,
    ) {
        let mut bytes = told(&entry("10.0.0.9:4000", "10.96.0.10:53", "10.0.0.1:5353"));
        for (position, value) in changes {
            if let Some(byte) = bytes.get_mut(position) {
                *byte = value;
            }
        }
        bytes.truncate(length);
        prop_assert!(read(&bytes).len() <= 2);
    }
}
