//! Packets in, endpoints or verdicts out: what is particular to nftables.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use super::{NODE, backends, config, planned, replace, rule_context, web};
use crate::config::IpFamily;
use crate::input::{ObjectKey, Protocol};
use crate::nftables::plan::NftPlan;
use crate::nftables::state::{NftState, SetName};
use crate::nftables::{TableContext, plan::assemble};
use crate::testing::nft_packet::Remembered;
use crate::testing::{NftTracer, Packet, ServiceBuilder, SliceBuilder, Verdict, slice};

const POD: &str = "10.0.0.2";
const OUTSIDE: &str = "203.0.113.2";

fn packet(source: &str, destination: &str, port: u16, protocol: Protocol) -> Packet {
    let source: IpAddr = source.parse().unwrap();
    let node: IpAddr = NODE.parse().unwrap();
    Packet {
        interface: (source != node && !source.is_loopback()).then(|| Arc::from("eth0")),
        source,
        destination: destination.parse().unwrap(),
        port,
        protocol,
        local_addresses: vec![node, "192.168.1.2".parse().unwrap()],
        known_in: Vec::new(),
    }
}

fn tcp(state: &NftState, source: &str, destination: &str, port: u16) -> String {
    told(state, &packet(source, destination, port, Protocol::Tcp))
}

fn told(state: &NftState, packet: &Packet) -> String {
    let mut text = String::new();
    for (fate, share) in NftTracer::new(state).shares(packet) {
        let mark = if fate.masqueraded { "+" } else { "" };
        match fate.verdict {
            Verdict::Endpoint(endpoint) => write!(text, "{endpoint}{mark}").unwrap(),
            other => write!(text, "{other:?}{mark}").unwrap(),
        }
        if share < 0.999 {
            write!(text, " {share:.2}").unwrap();
        }
        text.push(' ');
    }
    text.trim_end().to_owned()
}

fn table(objects: &[(ServiceBuilder, SliceBuilder)]) -> NftState {
    planned(objects).state()
}

#[test]
fn endpoints_are_chosen_with_equal_probability() {
    let state = table(&[(web("a/b", "172.30.0.41"), backends("a/b", 4))]);
    assert_eq!(
        tcp(&state, POD, "172.30.0.41", 80),
        "10.180.0.1:80 0.25 10.180.0.2:80 0.25 10.180.0.3:80 0.25 10.180.0.4:80 0.25"
    );
}

#[test]
fn other_ports_of_cluster_addresses_are_rejected_and_unallocated_ones_dropped() {
    let cidrs = ["172.30.0.0/16".parse().unwrap(), "fd00:172::/112".parse().unwrap()];
    let rules = rule_context(&config(), IpFamily::V4).with_service_cidrs(&cidrs);
    let mut plan = NftPlan::new(TableContext::new(&rules));
    replace(&mut plan, (web("a/b", "172.30.0.41"), backends("a/b", 1)));
    let state = plan.state();
    for source in [POD, NODE] {
        assert_eq!(tcp(&state, source, "172.30.0.41", 443), "Rejected", "{source}");
        assert_eq!(tcp(&state, source, "172.30.0.50", 80), "Dropped", "{source}");
        assert_eq!(tcp(&state, source, "172.31.0.50", 80), "Unchanged", "{source}");
    }
    let udp = packet(POD, "172.30.0.41", 80, Protocol::Udp);
    assert_eq!(told(&state, &udp), "Rejected");
}

#[test]
fn node_ports_answer_on_the_addresses_they_are_bound_to() {
    let mut config = config();
    config.node_port_addresses = crate::config::NodePortAddresses::Primary;
    let rules = rule_context(&config, IpFamily::V4);
    let mut plan = NftPlan::new(TableContext::new(&rules));
    replace(&mut plan, (web("a/b", "172.30.0.41").node_port(3001), backends("a/b", 1)));
    let state = plan.state();
    assert_eq!(tcp(&state, OUTSIDE, NODE, 3001), "10.180.0.1:80+");
    assert_eq!(tcp(&state, OUTSIDE, "192.168.1.2", 3001), "Unchanged");
    assert_eq!(tcp(&state, "127.0.0.1", "127.0.0.1", 3001), "Unchanged");

    let all = table(&[(web("a/b", "172.30.0.41").node_port(3001), backends("a/b", 1))]);
    assert_eq!(tcp(&all, OUTSIDE, "192.168.1.2", 3001), "10.180.0.1:80+");
    assert_eq!(tcp(&all, "127.0.0.1", "127.0.0.1", 3001), "Unchanged");
}

#[test]
fn source_ranges_are_checked_before_the_destination_is_translated() {
    let guarded = |range: &str| {
        web("a/b", "172.30.0.41")
            .node_port(3001)
            .load_balancer_ip("5.6.7.8")
            .load_balancer_ip("5.6.7.9")
            .source_range(range)
    };
    let state = table(&[(guarded("203.0.113.0/25"), backends("a/b", 1))]);
    for vip in ["5.6.7.8", "5.6.7.9"] {
        assert_eq!(tcp(&state, OUTSIDE, vip, 80), "10.180.0.1:80+");
        for blocked in ["203.0.113.130", POD, NODE] {
            assert_eq!(tcp(&state, blocked, vip, 80), "Dropped", "{blocked}");
        }
    }
    assert_eq!(tcp(&state, "203.0.113.130", NODE, 3001), "10.180.0.1:80+");
    let node = table(&[(guarded("192.168.0.0/24"), backends("a/b", 1))]);
    assert_eq!(tcp(&node, NODE, "5.6.7.8", 80), "10.180.0.1:80+");
    // The node may have taken the address it wants to reach for its own.
    let mut own = packet(NODE, "5.6.7.8", 80, Protocol::Tcp);
    own.source = "5.6.7.9".parse().unwrap();
    assert_eq!(told(&node, &own), "10.180.0.1:80+");
    assert_eq!(tcp(&node, OUTSIDE, "5.6.7.8", 80), "Dropped");
}

#[test]
fn services_with_the_same_source_ranges_share_their_chain() {
    let guarded = |name: &str, address: &str, vip: &str| {
        let service = web(name, address).load_balancer_ip(vip).source_range("203.0.113.0/25");
        (service, backends(name, 1))
    };
    let one = table(&[guarded("a/b", "172.30.0.41", "5.6.7.8")]);
    let two = table(&[
        guarded("a/b", "172.30.0.41", "5.6.7.8"),
        guarded("a/c", "172.30.0.42", "5.6.7.9"),
    ]);
    assert_eq!(one.chains, two.chains);
}

/// What is remembered after a packet, for the way that ends at this endpoint.
fn remembered_at(state: &NftState, packet: &Packet, endpoint: &str) -> Remembered {
    let endpoint = Verdict::Endpoint(endpoint.parse().unwrap());
    let ways = NftTracer::new(state).ways(packet);
    ways.into_iter().find(|way| way.fate.verdict == endpoint).unwrap().remembered
}

fn known(state: &NftState, remembered: &Remembered, packet: &Packet) -> String {
    let mut tracer = NftTracer::new(state);
    tracer.remembered = remembered.clone();
    let fates = tracer.fates(packet);
    let texts = fates.iter().map(|fate| format!("{:?}", fate.verdict)).collect::<Vec<_>>();
    texts.join(" ")
}

fn sticky() -> ServiceBuilder {
    web("a/b", "172.30.0.41").affinity(60).node_port(3001).load_balancer_ip("5.6.7.8")
}

#[test]
fn known_client_sticks_to_its_endpoint_whichever_way_it_comes() {
    let state = table(&[(sticky(), backends("a/b", 3))]);
    let first = packet(OUTSIDE, NODE, 3001, Protocol::Tcp);
    let remembered = remembered_at(&state, &first, "10.180.0.2:80");
    for (destination, port) in [(NODE, 3001), ("5.6.7.8", 80), ("172.30.0.41", 80)] {
        let again = packet(OUTSIDE, destination, port, Protocol::Tcp);
        assert_eq!(known(&state, &remembered, &again), "Endpoint(10.180.0.2:80)");
    }
    let other = packet("203.0.113.3", NODE, 3001, Protocol::Tcp);
    assert!(known(&state, &remembered, &other).contains("10.180.0.3:80"));
}

#[test]
fn client_of_a_gone_endpoint_gets_another_one_and_sticks_to_that() {
    let mut plan = planned(&[(sticky(), backends("a/b", 3))]);
    let before = plan.state();
    let packet = packet(OUTSIDE, "5.6.7.8", 80, Protocol::Tcp);
    let remembered = remembered_at(&before, &packet, "10.180.0.3:80");
    let stays = remembered_at(&before, &packet, "10.180.0.1:80");
    replace(&mut plan, (sticky(), backends("a/b", 2)));
    let after = plan.state();
    assert_eq!(known(&after, &stays, &packet), "Endpoint(10.180.0.1:80)");

    let mut tracer = NftTracer::new(&after);
    tracer.remembered = remembered;
    let ways = tracer.ways(&packet);
    assert_eq!(ways.len(), 2);
    for way in ways {
        assert_eq!(known(&after, &way.remembered, &packet), format!("{:?}", way.fate.verdict));
    }
}

#[test]
fn client_known_with_a_remote_endpoint_still_gets_a_local_one_under_policy_local() {
    let local =
        slice("a/b").port("p80", Protocol::Tcp, 80).local("10.180.0.1").endpoint("10.180.0.2");
    let state = table(&[(sticky().external_local(), local)]);
    let from_pod = packet(POD, "172.30.0.41", 80, Protocol::Tcp);
    let mut remembered = remembered_at(&state, &from_pod, "10.180.0.2:80");
    let classes: Vec<_> = std::mem::take(&mut remembered).into_iter().collect();
    let outside: IpAddr = OUTSIDE.parse().unwrap();
    remembered.extend(classes.into_iter().map(|((_, service), class)| ((outside, service), class)));
    let from_outside = packet(OUTSIDE, "5.6.7.8", 80, Protocol::Tcp);
    assert_eq!(known(&state, &remembered, &from_outside), "Endpoint(10.180.0.1:80)");
}

#[test]
fn affinity_survives_changes_of_other_services_and_settings() {
    let mut plan = planned(&[(sticky(), backends("a/b", 2))]);
    let classes = |plan: &NftPlan| plan.state().sets[&SetName::AffinityEndpoints].clone();
    let before = classes(&plan);
    let other = web("a/a", "172.30.0.40").affinity(60);
    replace(&mut plan, (other, backends("a/a", 2)));
    plan.replace_service(&ObjectKey::new("a", "a"), &[]);
    plan.set_context(plan.context().clone());
    replace(&mut plan, (sticky(), backends("a/b", 2)));
    assert_eq!(classes(&plan), before);
    assert_eq!(assemble(plan.context().clone(), []).element_count(), 0);
}
