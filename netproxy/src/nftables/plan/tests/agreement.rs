//! Both back ends give every packet the same fate, except where upstream's differ.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::{NODE, NODE_V6, facts, map_of, rule_context};
use crate::config::{IpFamily, LocalTraffic, ProxyConfig};
use crate::input::ServiceChange;
use crate::model::endpoint::EndpointState;
use crate::model::port_facts::PortFacts;
use crate::nftables::TableContext;
use crate::nftables::plan::assemble;
use crate::rules::{ProxyView, plan};
use crate::testing::build::LOCAL_NODE;
use crate::testing::random::any_changes;
use crate::testing::{Fate, NftTracer, Packet, Verdict, live_tables};

/// Settings that decide about masquerading.
fn any_config() -> impl Strategy<Value = ProxyConfig> {
    (0..5_u8, any::<bool>()).prop_map(|(mode, all)| {
        let mut config = ProxyConfig::new(LOCAL_NODE);
        config.localhost_node_ports = false;
        config.masquerade_all = all;
        let cidrs = ["10.0.0.0/8", "fd00:10::/64"].map(|net| net.parse().unwrap());
        config.local_traffic = match mode {
            0 => LocalTraffic::ClusterCidrs(cidrs.into()),
            1 => LocalTraffic::ClusterCidrs(Vec::new()),
            2 => LocalTraffic::NodeCidrs,
            3 => LocalTraffic::Bridge("cbr0".into()),
            _ => LocalTraffic::InterfacePrefix("veth".into()),
        };
        config
    })
}

struct Sender {
    address: IpAddr,
    interface: Option<&'static str>,
}

fn senders(family: IpFamily) -> Vec<Sender> {
    let all = [
        ("10.0.7.7", Some("veth7")),
        ("10.0.7.7", Some("cbr0")),
        ("203.0.113.2", Some("eth0")),
        ("203.0.113.130", Some("eth0")),
        (NODE, None),
        ("fd00:10::77", Some("veth7")),
        ("fd00:10::77", Some("cbr0")),
        ("2001:db8:9::9", Some("eth0")),
        (NODE_V6, None),
    ];
    all.into_iter()
        .map(|(address, interface)| Sender { address: address.parse().unwrap(), interface })
        .filter(|sender| family.has(sender.address))
        .collect()
}

/// Addresses and ports at which a service port may be looked for.
fn destinations(facts: &PortFacts, node: IpAddr) -> Vec<(IpAddr, u16)> {
    let port = &facts.port;
    let outer = port.external_ips.iter().chain(&port.load_balancer_ips);
    let addresses = outer.chain([&port.cluster_ip]);
    let mut all: Vec<(IpAddr, u16)> = addresses.map(|address| (*address, port.port)).collect();
    all.extend(port.node_port.map(|node_port| (node, node_port)));
    all
}

fn check(changes: &[ServiceChange], config: &ProxyConfig, family: IpFamily) {
    let context = rule_context(config, family);
    let all = facts(&map_of(changes), &context);
    let services = all
        .iter()
        .flat_map(|(_, ports)| ports)
        .map(|facts| (facts.port.clone(), facts.endpoints.clone()))
        .collect();
    let table = TableContext::new(&context);
    let state = assemble(table, all.iter().map(|(key, ports)| (key, ports.as_slice())));
    let live = live_tables(&plan(&ProxyView { context, services }));
    let node: IpAddr = if family == IpFamily::V4 { NODE } else { NODE_V6 }.parse().unwrap();
    for facts in all.iter().flat_map(|(_, ports)| ports) {
        let local_endpoints = facts
            .endpoints
            .iter()
            .filter(|e| e.is_local && e.state == EndpointState::Ready)
            .map(|e| Sender { address: e.address, interface: Some("veth1") });
        for sender in senders(family).into_iter().chain(local_endpoints) {
            for (destination, port) in destinations(facts, node) {
                let packet = Packet {
                    source: sender.address,
                    destination,
                    port,
                    protocol: facts.port.name.protocol,
                    interface: sender.interface.map(Arc::from),
                    local_addresses: vec![node],
                    known_in: Vec::new(),
                };
                let expected = packet.fates(&live);
                let ways = NftTracer::new(&state).ways(&packet);
                let found: BTreeSet<Fate> = ways.iter().map(|way| way.fate).collect();
                let whole: f64 = ways.iter().map(|way| way.share).sum();
                assert!((whole - 1.0).abs() < 1e-9, "{packet:?}: {whole}");
                assert!(ways.iter().all(|way| !way.classified), "{packet:?}");
                if sender.interface.is_none() && is_only(&expected, Verdict::Unchanged) {
                    // In iptables mode the node's own packets to external addresses without
                    // endpoints go where they will.
                    let stopped = [Verdict::Unchanged, Verdict::Rejected, Verdict::Dropped];
                    assert!(stopped.iter().any(|verdict| is_only(&found, *verdict)), "{found:?}");
                } else {
                    assert_eq!(found, expected, "{packet:?} to {}", facts.port.name);
                }
            }
        }
    }
}

fn is_only(fates: &BTreeSet<Fate>, verdict: Verdict) -> bool {
    fates.iter().all(|fate| fate.verdict == verdict)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn both_back_ends_give_a_packet_the_same_fate(
        changes in any_changes(), config in any_config(),
    ) {
        for family in [IpFamily::V4, IpFamily::V6] {
            check(&changes, &config, family);
        }
    }
}
