//! The complete text for one set of services, as iptables-save would print it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::net::IpAddr;

use expect_test::expect_file;
use netproxy::config::{IpFamily, LocalTraffic, ProxyConfig};
use netproxy::input::{EndpointSlice, Protocol, Service};
use netproxy::iptables::parse::parse_saved;
use netproxy::iptables::render::saved_text;
use netproxy::model::service_port::service_ports;
use netproxy::model::slices::{endpoints, service_of};
use netproxy::rules::context::MachineFacts;
use netproxy::rules::{ProxyView, RuleContext, RuleSet, plan};
use netproxy::testing::build::LOCAL_NODE;
use netproxy::testing::{node, service, slice};

fn rules(family: IpFamily, services: &[Service], slices: &[EndpointSlice]) -> RuleSet {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.local_traffic = LocalTraffic::ClusterCidrs(vec![
        "10.0.0.0/8".parse().unwrap(),
        "fd00:10::/64".parse().unwrap(),
    ]);
    let local: [IpAddr; 0] = [];
    let machine =
        MachineFacts { local_addresses: &local, random_fully: true, liberal_conntrack: false };
    let node = node(&["192.168.0.2", "2001:db8::1"]);
    let context = RuleContext::new(&config, family, &node, machine);
    let mut view = ProxyView { context, services: Vec::new() };
    for service in services {
        let key = service.metadata.key();
        for port in service_ports(service, family) {
            let of_service = slices.iter().filter(|slice| service_of(slice).as_ref() == Some(&key));
            let endpoints = endpoints(of_service, &port.name, family, LOCAL_NODE);
            view.services.push((port, endpoints));
        }
    }
    plan(&view)
}

fn services_v4() -> (Vec<Service>, Vec<EndpointSlice>) {
    let p80 = |name: &str| service(name).port("p80", Protocol::Tcp, 80);
    let services = vec![
        p80("ns1/svc1").cluster_ip("172.30.0.41").build(),
        p80("ns2/svc2")
            .cluster_ip("172.30.0.42")
            .node_port(3001)
            .external_ip("192.168.99.22")
            .load_balancer_ip("1.2.3.4")
            .external_local()
            .health_check(30000)
            .build(),
        p80("ns3/svc3").cluster_ip("172.30.0.43").node_port(3003).build(),
        p80("ns4/svc4").cluster_ip("172.30.0.44").external_ip("192.168.99.33").build(),
        p80("ns5/svc5")
            .cluster_ip("172.30.0.45")
            .node_port(3002)
            .load_balancer_ip("5.6.7.8")
            .source_range(" 203.0.113.0/25")
            .affinity(10800)
            .health_check(30000)
            .build(),
        p80("ns6/svc6").cluster_ip("172.30.0.46").build(),
        service("kube-system/dns")
            .cluster_ip("172.30.0.10")
            .port("dns", Protocol::Udp, 53)
            .port("dns-tcp", Protocol::Tcp, 53)
            .port("dns-sctp", Protocol::Sctp, 53)
            .build(),
    ];
    let p80 = |name: &str| slice(name).port("p80", Protocol::Tcp, 80);
    let slices = vec![
        p80("ns1/svc1").endpoint("10.180.0.1").build(),
        p80("ns2/svc2").endpoint("10.180.0.2").build(),
        p80("ns3/svc3").endpoint("10.180.0.3").build(),
        p80("ns4/svc4").endpoint("10.180.0.4").local("10.180.0.5").build(),
        p80("ns5/svc5").endpoint("10.180.0.3").build(),
        slice("kube-system/dns")
            .port("dns", Protocol::Udp, 53)
            .port("dns-tcp", Protocol::Tcp, 5353)
            .port("dns-sctp", Protocol::Sctp, 53)
            .endpoint("10.180.0.6")
            .endpoint("10.180.0.7")
            .local("10.180.0.10")
            .build(),
    ];
    (services, slices)
}

fn services_v6() -> (Vec<Service>, Vec<EndpointSlice>) {
    let services = vec![
        service("ns1/svc1")
            .cluster_ip("fd00:172:30::41")
            .port("p80", Protocol::Tcp, 80)
            .node_port(3001)
            .affinity(10)
            .build(),
        service("ns2/svc2")
            .cluster_ip("172.30.0.42")
            .cluster_ip("fd00:172:30::42")
            .port("", Protocol::Udp, 53)
            .build(),
    ];
    let slices = vec![
        slice("ns1/svc1")
            .port("p80", Protocol::Tcp, 80)
            .endpoint("fd00:10:180::1")
            .local("fd00:10:180::2:1")
            .build(),
    ];
    (services, slices)
}

#[test]
fn ipv4_rules_are_those_of_kube_proxy() {
    let (services, slices) = services_v4();
    let rules = rules(IpFamily::V4, &services, &slices);
    expect_file!["golden/ipv4.rules"].assert_eq(&saved_text(&rules, IpFamily::V4));
}

#[test]
fn ipv6_rules_are_those_of_kube_proxy() {
    let (services, slices) = services_v6();
    let rules = rules(IpFamily::V6, &services, &slices);
    expect_file!["golden/ipv6.rules"].assert_eq(&saved_text(&rules, IpFamily::V6));
}

#[test]
fn golden_text_reads_back_as_the_rules_it_came_from() {
    for (family, (services, slices)) in
        [(IpFamily::V4, services_v4()), (IpFamily::V6, services_v6())]
    {
        let rules = rules(family, &services, &slices);
        let read = parse_saved(&saved_text(&rules, family), family).compared_with(&rules);
        assert_eq!(read, rules, "{family}");
    }
}
