//! Rules of single services as kube-proxy writes them, with counters in the kernel.
//!
//! The files hold what kube-proxy feeds to iptables-restore. A file lists what its service adds
//! to the rules without services (`v01`); a rule that ends KUBE-SERVICES takes the place of
//! the one there.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeMap;

use netproxy::config::{IpFamily, LocalTraffic, ProxyConfig};
use netproxy::input::Protocol;
use netproxy::iptables::parse::parse_saved;
use netproxy::iptables::render::{rule_text, saved_text};
use netproxy::model::service_port::service_ports;
use netproxy::model::slices::endpoints;
use netproxy::nfacct::AccountingObjects;
use netproxy::rules::context::MachineFacts;
use netproxy::rules::{ProxyView, RuleContext, plan};
use netproxy::testing::build::LOCAL_NODE;
use netproxy::testing::{ServiceBuilder, SliceBuilder, node, service, slice};

/// Rules by table and chain, in the spelling of iptables-save.
type Rules = BTreeMap<String, Vec<String>>;

struct Vector {
    name: &'static str,
    wire: &'static str,
    service: ServiceBuilder,
    slices: Vec<SliceBuilder>,
    family: IpFamily,
    config: fn(&mut ProxyConfig),
    large: bool,
}

impl Vector {
    fn new(name: &'static str, wire: &'static str, service: ServiceBuilder) -> Self {
        Self {
            name,
            wire,
            service,
            slices: Vec::new(),
            family: IpFamily::V4,
            config: |_| {},
            large: false,
        }
    }

    fn slice(mut self, slice: SliceBuilder) -> Self {
        self.slices.push(slice);
        self
    }

    fn planned(&self) -> Rules {
        let mut config = ProxyConfig::new(LOCAL_NODE);
        let cidrs = ["10.0.0.0/8", "fd00:10::/64"].map(|cidr| cidr.parse().unwrap());
        config.local_traffic = LocalTraffic::ClusterCidrs(cidrs.to_vec());
        (self.config)(&mut config);
        let machine =
            MachineFacts { local_addresses: &[], random_fully: false, liberal_conntrack: false };
        let node = node(&["192.168.0.2", "2001:db8::1"]);
        let mut context = RuleContext::new(&config, self.family, &node, machine)
            .with_counters(AccountingObjects::ALL);
        context.endpoint_comments = !self.large;
        let slices: Vec<_> = self.slices.iter().map(|slice| slice.clone().build()).collect();
        let services = service_ports(&self.service.clone().build(), self.family)
            .into_iter()
            .map(|port| {
                let endpoints = endpoints(&slices, &port.name, self.family, LOCAL_NODE);
                (port, endpoints)
            })
            .collect();
        let rules = plan(&ProxyView { context, services });
        let mut planned = canonical(&saved_text(&rules, self.family), self.family);
        planned.retain(|chain, _| chain.contains(" KUBE-"));
        planned
    }
}

/// Whether services share the chain. kube-proxy has no order of services, so such chains are
/// compared without one.
fn is_shared(chain: &str) -> bool {
    !["KUBE-SV", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-"].iter().any(|own| chain.contains(own))
}

/// The rules of a text, in whichever spelling.
fn canonical(text: &str, family: IpFamily) -> Rules {
    let mut found = Rules::new();
    for (key, rules) in &parse_saved(text, family).chains {
        let texts = rules.iter().map(|rule| rule_text(rule, family));
        add(&mut found, &key.to_string(), texts.collect());
    }
    found
}

fn add(all: &mut Rules, chain: &str, rules: Vec<String>) {
    if !rules.is_empty() {
        let known = all.entry(chain.to_owned()).or_default();
        known.extend(rules);
        if is_shared(chain) {
            known.sort();
        }
    }
}

/// What kube-proxy has with this service: the rules without services, and those it adds.
fn expected(vector: &Vector) -> Rules {
    let ends = |rule: &String| rule.contains("this must be the last rule");
    let mut all = canonical(include_str!("golden/vectors/v01.rules"), vector.family);
    let closed = vector.name == "v27" || vector.family == IpFamily::V6;
    if closed {
        all.remove("filter KUBE-FIREWALL");
    }
    for (chain, rules) in canonical(vector.wire, vector.family) {
        if rules.iter().any(ends) {
            all.entry(chain.clone()).or_default().retain(|rule| !ends(rule));
        }
        add(&mut all, &chain, rules);
    }
    all
}

fn tcp(name: &str, address: &str) -> ServiceBuilder {
    service(name).cluster_ip(address).port("p80", Protocol::Tcp, 80)
}

fn svc1() -> ServiceBuilder {
    tcp("ns1/svc1", "172.30.0.41")
}

fn p80(name: &str) -> SliceBuilder {
    slice(name).port("p80", Protocol::Tcp, 80)
}

fn two() -> SliceBuilder {
    p80("ns1/svc1").endpoint("10.180.0.1").local("10.180.2.1")
}

fn everywhere() -> ServiceBuilder {
    svc1().node_port(3001).load_balancer_ip("1.2.3.4").external_ip("192.168.99.11")
}

macro_rules! vector {
    ($name:literal, $service:expr) => {
        Vector::new($name, include_str!(concat!("golden/vectors/", $name, ".rules")), $service)
    };
}

fn first_vectors() -> Vec<Vector> {
    let svc2 = tcp("ns2/svc2", "172.30.0.42").node_port(3001).external_ip("192.168.99.22");
    let svc3 = || tcp("ns3/svc3", "172.30.0.43");
    let svc5 = tcp("ns5/svc5", "172.30.0.45").node_port(3002).load_balancer_ip("5.6.7.8");
    let remote = |name: &str, address: &str| p80(name).endpoint(address);
    let mut closed = vector!("v27", svc3().node_port(3003)).slice(remote("ns3/svc3", "10.180.0.3"));
    closed.config = |config| config.localhost_node_ports = false;
    let mut large =
        vector!("v25", svc3()).slice(p80("ns3/svc3").endpoint("10.0.3.1").endpoint("10.0.3.2"));
    large.large = true;
    vec![
        vector!("v02", svc1()).slice(remote("ns1/svc1", "10.180.0.1")),
        vector!("v03", svc2.load_balancer_ip("1.2.3.4").external_local().health_check(30000))
            .slice(remote("ns2/svc2", "10.180.0.2")),
        vector!("v04", svc3().node_port(3003)).slice(remote("ns3/svc3", "10.180.0.3")),
        vector!("v05", tcp("ns4/svc4", "172.30.0.44").external_ip("192.168.99.33"))
            .slice(p80("ns4/svc4").endpoint("10.180.0.4").local("10.180.0.5")),
        vector!("v06", svc5.source_range(" 203.0.113.0/25").affinity(10800).health_check(30000))
            .slice(remote("ns5/svc5", "10.180.0.3")),
        vector!("v07", tcp("ns6/svc6", "172.30.0.46")),
        vector!(
            "v08",
            svc1().node_port(3001).load_balancer_ip("1.2.3.4").external_ip("192.168.99.11")
        ),
        large,
        closed,
    ]
}

fn more_vectors() -> Vec<Vector> {
    let mut no_detector = vector!("v12", svc1().node_port(3001).external_local()).slice(two());
    no_detector.config = |config| config.local_traffic = LocalTraffic::ClusterCidrs(Vec::new());
    let inside = service("ns1/svc1").cluster_ip("172.30.1.1").port("", Protocol::Tcp, 80);
    let v6 = service("ns1/svc1").cluster_ip("fd00:172:30::41").port("p80", Protocol::Tcp, 80);
    let mut v6 = vector!("v20", v6.node_port(3001))
        .slice(p80("ns1/svc1").endpoint("fd00:10:180::1").local("fd00:10:180::2:1"));
    v6.family = IpFamily::V6;
    let dns = service("ns2/svc2").cluster_ip("172.30.0.42");
    let watcher = service("default/crd-array-watcher").cluster_ip("10.96.10.1");
    let mut watcher = vector!("v23", watcher.port("", Protocol::Tcp, 443)).slice(
        slice("default/crd-array-watcher").port("", Protocol::Tcp, 8080).endpoint("10.244.0.35"),
    );
    watcher.config = |config| {
        config.local_traffic = LocalTraffic::ClusterCidrs(vec!["10.244.0.0/16".parse().unwrap()]);
    };
    let numbered = |numbers: &[u8], net: &str| {
        numbers.iter().fold(p80("ns1/svc1"), |slice, n| slice.endpoint(&format!("{net}.{n}")))
    };
    vec![
        vector!("v10", everywhere().external_local().health_check(30000)).slice(two()),
        vector!("v11", everywhere()).slice(two()),
        no_detector,
        vector!("v14", inside.internal_local())
            .slice(slice("ns1/svc1").port("", Protocol::Tcp, 80).endpoint("10.0.1.1")),
        vector!("v15", svc1().node_port(3001).external_local().internal_local()).slice(two()),
        vector!("v19", dns.port("dns-udp", Protocol::Udp, 53).port("dns-sctp", Protocol::Sctp, 53))
            .slice(
                slice("ns2/svc2")
                    .port("dns-udp", Protocol::Udp, 53)
                    .endpoint("10.180.0.1")
                    .endpoint("10.180.2.1"),
            )
            .slice(slice("ns2/svc2").port("dns-sctp", Protocol::Sctp, 53).endpoint("10.180.0.1")),
        v6,
        vector!("v21", svc1().affinity(10800)).slice(numbered(&[1, 2, 10], "10.180.0")),
        watcher,
        vector!("v24", svc1()).slice(numbered(&[1, 2, 3, 4, 5], "10.0.0")),
    ]
}

#[test]
fn single_services_get_the_rules_of_kube_proxy() {
    for vector in first_vectors().into_iter().chain(more_vectors()) {
        let (planned, expected) = (vector.planned(), expected(&vector));
        let chains: Vec<&String> = planned.keys().chain(expected.keys()).collect();
        for chain in chains {
            assert_eq!(planned.get(chain), expected.get(chain), "{} {chain}", vector.name);
        }
    }
}
