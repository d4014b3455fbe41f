//! Random services and slices for property tests: few names and addresses, so that they meet.

use proptest::prelude::*;

use super::build::{ServiceBuilder, SliceBuilder, service, slice};
use crate::input::{Protocol, ServiceChange};

const PORTS: [(&str, Protocol); 4] = [
    ("", Protocol::Tcp),
    ("dns", Protocol::Udp),
    ("assoc", Protocol::Sctp),
    ("web", Protocol::Tcp),
];

fn choices() -> impl Strategy<Value = [bool; 6]> {
    any::<[bool; 6]>()
}

/// A service `a/sN` with N below `names`, on addresses of both families.
pub fn any_service(names: u8) -> impl Strategy<Value = ServiceBuilder> {
    (0..names, 1..5_usize, choices()).prop_map(|(number, ports, choices)| {
        let [node_port, external, balancer, ranges, local, inner] = choices;
        let mut built = service(&format!("a/s{number}"))
            .cluster_ip(&format!("172.30.0.{number}"))
            .cluster_ip(&format!("fd00:172::{number}"));
        for (index, (name, protocol)) in PORTS.into_iter().take(ports).enumerate() {
            built = built.port(name, protocol, 80 + u16::try_from(index).unwrap_or(0));
            if node_port {
                let base = 30_000 + 10 * u16::from(number);
                built = built.node_port(base + u16::try_from(index).unwrap_or(0));
            }
        }
        if external {
            built = built.external_ip(&format!("192.168.99.{number}"));
        }
        if balancer {
            built = built.load_balancer_ip(&format!("1.2.3.{number}")).health_check(31_000);
            if ranges {
                built = built.source_range("203.0.113.0/25");
            }
        }
        if local {
            built = built.external_local();
        }
        if inner {
            built = built.internal_local().affinity(60);
        }
        built
    })
}

/// A slice of one of those services, of one family.
pub fn any_slice(names: u8) -> impl Strategy<Value = SliceBuilder> {
    let endpoint = (1..30_u8, any::<bool>(), any::<[bool; 3]>());
    let endpoints = proptest::collection::vec(endpoint, 0..6);
    (0..names, 0..3_u8, any::<bool>(), endpoints).prop_map(|(number, name, v6, endpoints)| {
        let mut built = slice(&format!("a/s{number}")).named(&format!("s{number}-{name}-{v6}"));
        for (name, protocol) in PORTS {
            built = built.port(name, protocol, 8080);
        }
        for (host, local, [ready, serving, terminating]) in endpoints {
            let address = if v6 { format!("fd00:10::{host}") } else { format!("10.180.0.{host}") };
            built = if local { built.local(&address) } else { built.endpoint(&address) };
            built = built.conditions(ready, serving, terminating);
        }
        built
    })
}

/// A few changes to a few objects.
pub fn any_changes() -> impl Strategy<Value = Vec<ServiceChange>> {
    let change = prop_oneof![
        3 => any_service(5).prop_map(ServiceBuilder::applied),
        4 => any_slice(5).prop_map(SliceBuilder::applied),
        1 => any_service(5).prop_map(|s| ServiceChange::ServiceDeleted(s.build().metadata.key())),
        1 => any_slice(5).prop_map(|s| ServiceChange::SliceDeleted(s.build().metadata.key())),
    ];
    proptest::collection::vec(change, 0..30)
}
