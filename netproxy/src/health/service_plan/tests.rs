use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{HealthPort, ServicePortsPlan, plan, wanted_ports};
use crate::config::IpFamily;
use crate::input::ObjectKey;
use crate::rules::context::NodePortDestinations;

fn key(name: &str) -> ObjectKey {
    ObjectKey::new("a", name)
}

fn addresses(texts: &[&str]) -> BTreeSet<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[test]
fn addresses_that_ports_of_a_service_share_count_once() {
    let (web, plain, idle) = (key("web"), key("plain"), key("idle"));
    let (one, two, none) = (
        addresses(&["10.0.0.1", "10.0.0.2"]),
        addresses(&["10.0.0.2", "10.0.0.3"]),
        BTreeSet::new(),
    );
    let ports = [
        (&web, Some(30000), &one),
        (&plain, None, &one),
        (&web, Some(30000), &two),
        (&idle, Some(30001), &none),
    ];
    let wanted = wanted_ports(ports, |service| service.name.clone());
    let port =
        |port, uid: &str, local_endpoints| HealthPort { port, uid: uid.into(), local_endpoints };
    let expected = BTreeMap::from([(web, port(30000, "web", 3)), (idle, port(30001, "idle", 0))]);
    assert_eq!(wanted, expected);
}

#[test]
fn sockets_follow_services_ports_and_addresses() {
    let wanted = |list: &[(&str, u16)]| -> BTreeMap<ObjectKey, HealthPort> {
        let port = |port| HealthPort { port, uid: "".into(), local_endpoints: 1 };
        list.iter().map(|(name, number)| (key(name), port(*number))).collect()
    };
    let sockets = |list: &[(&str, &str)]| {
        list.iter().map(|(name, socket)| (key(name), socket.parse().unwrap())).collect::<Vec<_>>()
    };
    let only = |texts: &[&str]| NodePortDestinations::Only(addresses(texts).into_iter().collect());
    let all = NodePortDestinations::All;
    // Open, wanted, family, addresses, to close, to open.
    let cases = [
        (vec![], vec![("a", 1)], IpFamily::V4, all.clone(), vec![], vec![("a", "0.0.0.0:1")]),
        (vec![], vec![("a", 1)], IpFamily::V6, all.clone(), vec![], vec![("a", "[::]:1")]),
        (vec![("a", "0.0.0.0:1")], vec![("a", 1)], IpFamily::V4, all.clone(), vec![], vec![]),
        (
            vec![("a", "0.0.0.0:1"), ("b", "0.0.0.0:2")],
            vec![("b", 1)],
            IpFamily::V4,
            all,
            vec![("a", "0.0.0.0:1"), ("b", "0.0.0.0:2")],
            vec![("b", "0.0.0.0:1")],
        ),
        (
            vec![("a", "10.0.0.1:1")],
            vec![("a", 1)],
            IpFamily::V4,
            only(&["10.0.0.2", "127.0.0.1"]),
            vec![("a", "10.0.0.1:1")],
            vec![("a", "10.0.0.2:1"), ("a", "127.0.0.1:1")],
        ),
        (vec![], vec![("a", 1)], IpFamily::V4, only(&[]), vec![], vec![]),
    ];
    for (open, list, family, destinations, close, opened) in cases {
        let expected = ServicePortsPlan { close: sockets(&close), open: sockets(&opened) };
        let open: BTreeSet<_> = sockets(&open).into_iter().collect();
        let found = plan(&open, &wanted(&list), family, &destinations);
        assert_eq!(found, expected, "{open:?} {list:?}");
    }
}
