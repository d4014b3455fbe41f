//! Packets in, endpoints or verdicts out, for both back ends.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use netproxy::config::{IpFamily, LocalTraffic, NodePortAddresses, ProxyConfig};
use netproxy::input::Protocol;
use netproxy::iptables::parse::LiveTables;
use netproxy::model::port_facts::PortFacts;
use netproxy::model::service_port::service_ports;
use netproxy::model::slices::endpoints;
use netproxy::nftables::state::{Key, NftState, SetName};
use netproxy::nftables::{NftPlan, TableContext};
use netproxy::rules::context::MachineFacts;
use netproxy::rules::{ProxyView, RuleContext, plan};
use netproxy::testing::build::LOCAL_NODE;
use netproxy::testing::{
    Fate, NftTracer, Packet, ServiceBuilder, SliceBuilder, Verdict, live_tables, node, service,
    slice,
};

const POD: &str = "10.0.0.2";
const NODE: &str = "192.168.0.2";
const SECOND_NODE_ADDRESS: &str = "192.168.1.2";
const OUTSIDE: &str = "203.0.113.2";
const NODE_V6: &str = "2001:db8::1";

fn local_addresses(family: IpFamily) -> Vec<IpAddr> {
    let all = [NODE, SECOND_NODE_ADDRESS, "127.0.0.1", NODE_V6, "2001:db8:1::2", "::1"];
    let all = all.iter().map(|address| address.parse().unwrap());
    all.filter(|address| family.has(*address)).collect()
}

fn config() -> ProxyConfig {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.local_traffic = LocalTraffic::ClusterCidrs(vec![
        "10.0.0.0/8".parse().unwrap(),
        "fd00:10::/64".parse().unwrap(),
    ]);
    config
}

/// The rules of both back ends for the same services.
struct Tables {
    iptables: LiveTables,
    nftables: NftState,
}

fn tables(
    config: &ProxyConfig,
    family: IpFamily,
    services: &[(ServiceBuilder, SliceBuilder)],
) -> Tables {
    let local_addresses = local_addresses(family);
    let machine = MachineFacts {
        local_addresses: &local_addresses,
        random_fully: true,
        liberal_conntrack: false,
    };
    let context = RuleContext::new(config, family, &node(&[NODE, NODE_V6]), machine);
    let mut nftables = NftPlan::new(TableContext::new(&context));
    let mut view = ProxyView { context, services: Vec::new() };
    for (service, slice) in services {
        let (service, slice) = (service.clone().build(), slice.clone().build());
        let mut all = Vec::new();
        for port in service_ports(&service, family) {
            let endpoints = endpoints([&slice], &port.name, family, LOCAL_NODE);
            all.push(PortFacts::new(port.clone(), endpoints.clone(), &view.context.topology));
            view.services.push((port, endpoints));
        }
        nftables.replace_service(&service.metadata.key(), &all);
    }
    Tables { iptables: live_tables(&plan(&view)), nftables: nftables.state() }
}

/// All fates under iptables, which have to be those under nftables too.
fn fates(tables: &Tables, packet: &Packet) -> String {
    let iptables = told(&packet.fates(&tables.iptables));
    let nftables = told(&NftTracer::new(&tables.nftables).fates(packet));
    let differs = match (iptables.as_str(), nftables.as_str()) {
        // Other ports of cluster addresses are rejected.
        ("Unchanged", "Rejected") => {
            let destination = Key::Address(packet.destination);
            tables.nftables.entry(SetName::ClusterIps, &destination).is_some()
        }
        // There are no node ports on loopback.
        (_, "Unchanged") => packet.destination.is_loopback(),
        _ => false,
    };
    assert!(differs || iptables == nftables, "{packet:?}: {iptables}, but {nftables}");
    iptables
}

/// A packet from one of the usual places.
fn packet(source: &str, destination: &str, port: u16, protocol: Protocol) -> Packet {
    let source: IpAddr = source.parse().unwrap();
    let local_addresses = local_addresses(IpFamily::of(source));
    Packet {
        interface: (!local_addresses.contains(&source)).then(|| Arc::from("eth0")),
        source,
        destination: destination.parse().unwrap(),
        port,
        protocol,
        local_addresses,
        known_in: Vec::new(),
    }
}

/// Fates in short: endpoints or a verdict, and `+` where the source is replaced.
fn told(fates: &BTreeSet<Fate>) -> String {
    let mut text = String::new();
    for fate in fates {
        let mark = if fate.masqueraded { "+" } else { "" };
        match fate.verdict {
            Verdict::Endpoint(endpoint) => write!(text, "{endpoint}{mark} ").unwrap(),
            other => write!(text, "{other:?}{mark} ").unwrap(),
        }
    }
    text.trim_end().to_owned()
}

fn tcp(tables: &Tables, source: &str, destination: &str, port: u16) -> String {
    fates(tables, &packet(source, destination, port, Protocol::Tcp))
}

fn p80(name: &str, address: &str) -> ServiceBuilder {
    service(name).cluster_ip(address).port("p80", Protocol::Tcp, 80)
}

fn two_endpoints(name: &str) -> SliceBuilder {
    slice(name).port("p80", Protocol::Tcp, 80).local("10.180.0.1").endpoint("10.180.1.1")
}

/// Three services with two endpoints: policies Cluster, external Local, internal Local.
fn matrix(config: &ProxyConfig) -> Tables {
    let svc = |name: &str, address: &str, port: u16, vip: &str| {
        p80(name, address).node_port(port).load_balancer_ip(vip)
    };
    tables(
        config,
        IpFamily::V4,
        &[
            (svc("a/svc1", "172.30.0.41", 3001, "1.2.3.4"), two_endpoints("a/svc1")),
            (
                svc("a/svc2", "172.30.0.42", 3002, "5.6.7.8").external_local(),
                two_endpoints("a/svc2"),
            ),
            (
                svc("a/svc3", "172.30.0.43", 3003, "9.10.11.12").internal_local(),
                two_endpoints("a/svc3"),
            ),
        ],
    )
}

/// `2` or `L` for both endpoints or the local one, `+` or `-` for the source.
fn cell(tables: &Tables, source: &str, destination: &str, port: u16) -> &'static str {
    match tcp(tables, source, destination, port).as_str() {
        "10.180.0.1:80 10.180.1.1:80" => "2-",
        "10.180.0.1:80+ 10.180.1.1:80+" => "2+",
        "10.180.0.1:80" => "L-",
        "10.180.0.1:80+" => "L+",
        other => panic!("{source} to {destination}:{port}: {other}"),
    }
}

#[test]
fn every_source_reaches_every_address_as_the_policies_say() {
    let addresses = [
        ("172.30.0.41", 3001, "1.2.3.4"),
        ("172.30.0.42", 3002, "5.6.7.8"),
        ("172.30.0.43", 3003, "9.10.11.12"),
    ];
    let rows = |config: &ProxyConfig| {
        let tables = matrix(config);
        let mut rows = Vec::new();
        for (title, source) in
            [("pod", POD), ("node", NODE), ("loopback", "127.0.0.1"), ("outside", OUTSIDE)]
        {
            let row = |destination: &dyn Fn(usize) -> (&'static str, u16)| {
                [0, 1, 2].map(|service| {
                    let (address, port) = destination(service);
                    cell(&tables, source, address, port)
                })
            };
            if title != "loopback" {
                let cluster = row(&|service| (addresses[service].0, 80));
                rows.push((format!("{title} -> cluster"), cluster));
                let balancer = row(&|service| (addresses[service].2, 80));
                rows.push((format!("{title} -> balancer"), balancer));
            }
            let to = if title == "loopback" { "127.0.0.1" } else { NODE };
            let node_port = row(&|service| (to, addresses[service].1));
            rows.push((format!("{title} -> node port"), node_port));
        }
        rows
    };
    let expect = |config: &ProxyConfig, changes: &[(&str, [&'static str; 3])]| {
        let usual = [
            ("pod -> cluster", ["2-", "2-", "L-"]),
            ("pod -> balancer", ["2+", "2-", "2+"]),
            ("pod -> node port", ["2+", "2-", "2+"]),
            ("node -> cluster", ["2+", "2+", "L+"]),
            ("node -> balancer", ["2+", "2+", "2+"]),
            ("node -> node port", ["2+", "2+", "2+"]),
            ("loopback -> node port", ["2+", "2+", "2+"]),
            ("outside -> cluster", ["2+", "2+", "L+"]),
            ("outside -> balancer", ["2+", "L-", "2+"]),
            ("outside -> node port", ["2+", "L-", "2+"]),
        ];
        for ((title, found), (usual_title, usual)) in rows(config).iter().zip(usual) {
            assert_eq!(title, usual_title);
            let changed = changes.iter().find(|(name, _)| name == title);
            assert_eq!(*found, changed.map_or(usual, |(_, row)| *row), "{title}");
        }
    };

    expect(&config(), &[]);

    let mut all = config();
    all.masquerade_all = true;
    expect(&all, &[("pod -> cluster", ["2+", "2+", "L+"])]);

    let mut blind = config();
    blind.local_traffic = LocalTraffic::ClusterCidrs(Vec::new());
    let unmasqueraded = ["2-", "2-", "L-"];
    let pod_from_outside = ["2+", "L-", "2+"];
    expect(
        &blind,
        &[
            ("pod -> balancer", pod_from_outside),
            ("pod -> node port", pod_from_outside),
            ("node -> cluster", unmasqueraded),
            ("outside -> cluster", unmasqueraded),
        ],
    );
    blind.masquerade_all = true;
    expect(
        &blind,
        &[
            ("pod -> cluster", ["2+", "2+", "L+"]),
            ("pod -> balancer", pod_from_outside),
            ("pod -> node port", pod_from_outside),
        ],
    );
}

#[test]
fn endpoint_that_reaches_itself_is_masqueraded() {
    let tables = matrix(&config());
    let fates = tcp(&tables, "10.180.0.1", "172.30.0.41", 80);
    assert_eq!(fates, "10.180.0.1:80+ 10.180.1.1:80");
}

#[test]
fn protocols_and_ports_are_kept_apart() {
    let dns = service("a/dns")
        .cluster_ip("172.30.0.42")
        .port("udp", Protocol::Udp, 53)
        .port("tcp", Protocol::Tcp, 53)
        .port("sctp", Protocol::Sctp, 53)
        .node_port(30053);
    let backends = slice("a/dns")
        .port("udp", Protocol::Udp, 53)
        .port("tcp", Protocol::Tcp, 5353)
        .port("sctp", Protocol::Sctp, 54)
        .endpoint("10.180.0.1");
    let tables = tables(&config(), IpFamily::V4, &[(dns, backends)]);
    let fate = |destination: &str, port, protocol| {
        fates(&tables, &packet(POD, destination, port, protocol))
    };
    assert_eq!(fate("172.30.0.42", 53, Protocol::Udp), "10.180.0.1:53");
    assert_eq!(fate("172.30.0.42", 53, Protocol::Tcp), "10.180.0.1:5353");
    assert_eq!(fate("172.30.0.42", 53, Protocol::Sctp), "10.180.0.1:54");
    assert_eq!(fate("172.30.0.42", 54, Protocol::Udp), "Unchanged");
    assert_eq!(fate("172.30.0.43", 53, Protocol::Udp), "Unchanged");
    assert_eq!(fate(NODE, 30053, Protocol::Sctp), "10.180.0.1:54+");
    assert_eq!(fate(NODE, 30053, Protocol::Tcp), "Unchanged");
}

#[test]
fn services_without_usable_endpoints_reject_or_drop() {
    let everything = |name: &str| {
        p80(name, "172.30.0.41")
            .node_port(3001)
            .load_balancer_ip("1.2.3.4")
            .external_ip("192.168.99.11")
    };
    let ways = [("172.30.0.41", 80), ("192.168.99.11", 80), ("1.2.3.4", 80), (NODE, 3001)];
    let none = tables(&config(), IpFamily::V4, &[(everything("a/b"), slice("a/b"))]);
    for (destination, port) in ways {
        for source in [POD, OUTSIDE] {
            assert_eq!(tcp(&none, source, destination, port), "Rejected", "{source} {destination}");
        }
    }
    // What the node sends itself is stopped for cluster addresses only, as upstream does it.
    assert_eq!(tcp(&none, NODE, "172.30.0.41", 80), "Rejected");
    let remote = slice("a/b").port("p80", Protocol::Tcp, 80).endpoint("10.180.0.1");
    let local = everything("a/b").internal_local().external_local();
    let dropped = tables(&config(), IpFamily::V4, &[(local, remote)]);
    for (destination, port) in ways {
        assert_eq!(tcp(&dropped, OUTSIDE, destination, port), "Dropped", "{destination}");
    }
    // Inside the cluster the policy for outside does not hold.
    assert_eq!(tcp(&dropped, POD, "1.2.3.4", 80), "10.180.0.1:80");
    assert_eq!(tcp(&dropped, POD, "172.30.0.41", 80), "Dropped");
}

#[test]
fn source_ranges_guard_load_balancer_addresses_only() {
    let guarded = p80("a/b", "172.30.0.41")
        .node_port(3001)
        .load_balancer_ip("5.6.7.8")
        .source_range("203.0.113.0/25");
    let tables = tables(&config(), IpFamily::V4, &[(guarded, two_endpoints("a/b"))]);
    let both = "10.180.0.1:80+ 10.180.1.1:80+";
    assert_eq!(tcp(&tables, OUTSIDE, "5.6.7.8", 80), both);
    for blocked in ["203.0.113.130", POD, NODE] {
        assert_eq!(tcp(&tables, blocked, "5.6.7.8", 80), "Dropped", "{blocked}");
    }
    assert_eq!(tcp(&tables, "203.0.113.130", NODE, 3001), both);
}

#[test]
fn node_ports_answer_where_they_are_configured_to() {
    let both = "10.180.0.1:80+ 10.180.2.1:80+";
    let both_v6 = "[fd00:10:180::1]:80+ [fd00:10:180::2:1]:80+";
    let no = "Unchanged";
    let within = |nets: &[&str]| {
        NodePortAddresses::Within(nets.iter().map(|net| net.parse().unwrap()).collect())
    };
    let three = ["192.168.0.0/24", "192.168.1.0/24", "2001:db8::/64"];
    let cases = [
        (IpFamily::V4, true, NodePortAddresses::All, [both, both, both]),
        (IpFamily::V4, false, NodePortAddresses::All, [both, both, no]),
        (IpFamily::V4, true, NodePortAddresses::Primary, [both, no, no]),
        (IpFamily::V4, false, within(&["192.168.0.0/24", "127.0.0.1/32"]), [both, no, no]),
        (IpFamily::V4, false, within(&three), [both, both, no]),
        (IpFamily::V4, true, within(&["127.0.0.0/8"]), [no, no, both]),
        (IpFamily::V6, true, NodePortAddresses::All, [both_v6, both_v6, no]),
        (IpFamily::V6, false, NodePortAddresses::All, [both_v6, both_v6, no]),
        (IpFamily::V6, false, within(&three), [both_v6, no, no]),
    ];
    let web = p80("a/b", "172.30.0.41").cluster_ip("fd00:172:30::41").node_port(3001);
    for (position, (family, localhost, addresses, expected)) in cases.into_iter().enumerate() {
        let mut config = config();
        config.localhost_node_ports = localhost;
        config.node_port_addresses = addresses;
        let p80 = slice("a/b").port("p80", Protocol::Tcp, 80);
        let (slice, outside, targets) = match family {
            IpFamily::V4 => (
                p80.endpoint("10.180.0.1").local("10.180.2.1"),
                OUTSIDE,
                [NODE, SECOND_NODE_ADDRESS, "127.0.0.1"],
            ),
            IpFamily::V6 => (
                p80.endpoint("fd00:10:180::1").local("fd00:10:180::2:1"),
                "2001:db8:9::9",
                [NODE_V6, "2001:db8:1::2", "::1"],
            ),
        };
        let tables = tables(&config, family, &[(web.clone(), slice)]);
        for (target, expected) in targets.into_iter().zip(expected) {
            // Loopback addresses can only be reached from the node itself.
            let is_loopback = target.parse::<IpAddr>().unwrap().is_loopback();
            let source = if is_loopback { target } else { outside };
            assert_eq!(tcp(&tables, source, target, 3001), expected, "case {position}: {target}");
        }
    }
}

#[test]
fn loopback_is_closed_to_everybody_else() {
    let tables = matrix(&config());
    assert_eq!(tcp(&tables, OUTSIDE, "127.0.0.1", 22), "Dropped");
    assert_eq!(tcp(&tables, "127.0.0.1", "127.0.0.1", 22), "Unchanged");
}

#[test]
fn known_client_sticks_to_its_endpoint() {
    let web = p80("a/b", "172.30.0.41").affinity(60).node_port(3001);
    let tables = tables(&config(), IpFamily::V4, &[(web, two_endpoints("a/b"))]);
    let list = tables
        .iptables
        .chains
        .iter()
        .find(|(key, rules)| {
            key.name.starts_with("KUBE-SEP-") && format!("{rules:?}").contains("10.180.1.1:80")
        })
        .map(|(key, _)| key.name.clone())
        .unwrap();
    let mut packet = packet(OUTSIDE, NODE, 3001, Protocol::Tcp);
    assert_eq!(told(&packet.fates(&tables.iptables)), "10.180.0.1:80+ 10.180.1.1:80+");
    packet.known_in.push(list);
    assert_eq!(told(&packet.fates(&tables.iptables)), "10.180.1.1:80+");
}

#[test]
fn health_check_ports_are_open_without_endpoints() {
    let web =
        p80("a/b", "172.30.0.41").load_balancer_ip("1.2.3.4").external_local().health_check(30000);
    let tables = tables(&config(), IpFamily::V4, &[(web, slice("a/b"))]);
    assert_eq!(tcp(&tables, "1.2.3.4", NODE, 30000), "Unchanged");
    let chain = netproxy::rules::ruleset::ChainKey::new(
        netproxy::rules::ruleset::Table::Filter,
        "KUBE-NODEPORTS",
    );
    assert_eq!(tables.iptables.chains[&chain].len(), 1);
}

#[test]
fn interfaces_tell_pods_apart() {
    let mut config = config();
    config.local_traffic = LocalTraffic::InterfacePrefix("veth".into());
    let tables = matrix(&config);
    let mut packet = packet(POD, "172.30.0.41", 80, Protocol::Tcp);
    packet.interface = Some("veth12".into());
    assert_eq!(fates(&tables, &packet), "10.180.0.1:80 10.180.1.1:80");
    packet.interface = Some("eth0".into());
    assert_eq!(fates(&tables, &packet), "10.180.0.1:80+ 10.180.1.1:80+");
    packet.interface = None;
    assert_eq!(fates(&tables, &packet), "10.180.0.1:80+ 10.180.1.1:80+");
}
