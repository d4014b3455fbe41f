//! What the kernel tells of connections and counters.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netproxy::conntrack::parse::{delete_request, read_entry};
use netproxy::input::Protocol;
use netproxy::nfacct::netlink::count_in;
use netproxy::nfnetlink::messages;

fuzz_target!(|datagram: &[u8]| {
    let mut read = 0;
    for message in messages(datagram) {
        read += message.payload.len();
        let _ = message.meaning();
        let _ = count_in(&message);
        let protocols = [Protocol::Udp, Protocol::Tcp, Protocol::Sctp];
        for entry in protocols.into_iter().filter_map(|protocol| read_entry(&message, protocol)) {
            let request = delete_request(&entry).finish(1);
            let asked = messages(&request).next().expect("a request is one message");
            assert!(asked.attributes().count() >= 1);
        }
    }
    assert!(read <= datagram.len());
});
