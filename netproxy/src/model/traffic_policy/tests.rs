use super::{Categories, Topology, categorize};
use crate::config::IpFamily;
use crate::input::Protocol;
use crate::model::service_port::service_ports;
use crate::model::slices::endpoints;
use crate::testing::build::{LOCAL_NODE, OTHER_NODE};
use crate::testing::{ServiceBuilder, SliceBuilder, service, slice};

fn web() -> ServiceBuilder {
    service("a/web").cluster_ip("10.96.0.1").port("", Protocol::Tcp, 80)
}

fn backends() -> SliceBuilder {
    slice("a/web").port("", Protocol::Tcp, 80)
}

fn sorted_out(service: ServiceBuilder, slice: SliceBuilder) -> Categories {
    let port = &service_ports(&service.build(), IpFamily::V4)[0];
    let topology = Topology { node_name: LOCAL_NODE.into(), zone: Some("z1".into()) };
    let endpoints = endpoints(&[slice.build()], &port.name, IpFamily::V4, LOCAL_NODE);
    categorize(port, &endpoints, &topology)
}

/// Endpoints 0 and 1 are remote, 2 is local.
fn three() -> SliceBuilder {
    backends().endpoint("10.0.0.1").endpoint("10.0.0.2").local("10.0.0.3")
}

#[test]
fn policies_choose_their_endpoints() {
    let all =
        Categories { cluster: vec![0, 1, 2], local: vec![], reachable: vec![0, 1, 2], any: true };
    assert_eq!(sorted_out(web(), three()), all);
    let only_local = Categories { cluster: vec![], local: vec![2], reachable: vec![2], any: true };
    assert_eq!(sorted_out(web().internal_local(), three()), only_local);
    let both = Categories { local: vec![2], ..all };
    assert_eq!(sorted_out(web().internal_local().node_port(30000), three()), both);
    assert_eq!(sorted_out(web().external_local().node_port(30000), three()), both);
}

#[test]
fn draining_endpoints_are_used_when_no_ready_one_is_left() {
    let draining = |slice: SliceBuilder| slice.conditions(false, true, true);
    let some = draining(backends().endpoint("10.0.0.1")).endpoint("10.0.0.2");
    assert_eq!(sorted_out(web(), some).cluster, [1]);
    let all = draining(draining(backends().endpoint("10.0.0.1")).local("10.0.0.2"));
    assert_eq!(sorted_out(web(), all.clone()).cluster, [0, 1]);
    assert_eq!(sorted_out(web().internal_local(), all).local, [1]);
    // A ready endpoint elsewhere does not help a Local policy.
    let mixed = draining(backends().local("10.0.0.1")).endpoint("10.0.0.2");
    let found = sorted_out(web().external_local().node_port(30000), mixed);
    assert_eq!((found.cluster, found.local, found.reachable), (vec![1], vec![0], vec![0, 1]));
}

#[test]
fn endpoints_that_do_not_answer_are_invisible() {
    let down = backends()
        .local("10.0.0.1")
        .conditions(false, false, true)
        .endpoint("10.0.0.2")
        .conditions(false, true, false);
    for service in [web(), web().internal_local()] {
        assert_eq!(sorted_out(service, down.clone()), Categories::default());
    }
}

#[test]
fn remote_endpoints_alone_leave_a_local_policy_empty_but_not_unserved() {
    let found = sorted_out(web().internal_local(), backends().endpoint("10.0.0.1"));
    assert_eq!((found.local.len(), found.any), (0, true));
}

#[test]
fn hints_narrow_only_when_complete_and_meant_for_us() {
    let pair = |first: fn(SliceBuilder) -> SliceBuilder,
                second: fn(SliceBuilder) -> SliceBuilder| {
        second(first(backends().endpoint("10.0.0.1")).endpoint("10.0.0.2"))
    };
    let cases: [(&str, SliceBuilder, &[usize]); 7] = [
        ("none", pair(|s| s, |s| s), &[0, 1]),
        ("zones", pair(|s| s.for_zone("z1"), |s| s.for_zone("z2")), &[0]),
        ("one without zone", pair(|s| s.for_zone("z1"), |s| s), &[0, 1]),
        ("foreign zones", pair(|s| s.for_zone("z2"), |s| s.for_zone("z3")), &[0, 1]),
        ("nodes", pair(|s| s.for_node(OTHER_NODE), |s| s.for_node(LOCAL_NODE)), &[1]),
        ("foreign nodes", pair(|s| s.for_node(OTHER_NODE), |s| s.for_node("x")), &[0, 1]),
        (
            "nodes before zones",
            pair(
                |s| s.for_zone("z1").for_node(OTHER_NODE),
                |s| s.for_zone("z2").for_node(LOCAL_NODE),
            ),
            &[1],
        ),
    ];
    for (title, slice, expected) in cases {
        assert_eq!(sorted_out(web(), slice.clone()).cluster, expected, "{title}");
        // Hints say nothing about a Local policy.
        assert!(sorted_out(web().internal_local(), slice).any, "{title}");
    }
}
