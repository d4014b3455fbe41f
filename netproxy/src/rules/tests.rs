mod properties;

use super::context::MachineFacts;
use super::{ProxyView, RuleContext, plan};
use crate::config::{IpFamily, ProxyConfig};
use crate::input::Protocol;
use crate::iptables::render::saved_text;
use crate::model::service_port::service_ports;
use crate::model::slices::endpoints;
use crate::nfacct::AccountingObjects;
use crate::testing::build::LOCAL_NODE;
use crate::testing::{ServiceBuilder, SliceBuilder, node, service, slice};

fn planned(config: &ProxyConfig, service: ServiceBuilder, slice: SliceBuilder) -> String {
    rendered(config, service, slice, |_| {})
}

fn rendered(
    config: &ProxyConfig,
    service: ServiceBuilder,
    slice: SliceBuilder,
    change: impl FnOnce(&mut RuleContext),
) -> String {
    let machine =
        MachineFacts { local_addresses: &[], random_fully: false, liberal_conntrack: false };
    let mut context = RuleContext::new(config, IpFamily::V4, &node(&["192.168.0.2"]), machine);
    change(&mut context);
    let slice = slice.build();
    let services = service_ports(&service.build(), IpFamily::V4)
        .into_iter()
        .map(|port| {
            let endpoints = endpoints([&slice], &port.name, IpFamily::V4, LOCAL_NODE);
            (port, endpoints)
        })
        .collect();
    saved_text(&plan(&ProxyView { context, services }), IpFamily::V4)
}

fn web() -> ServiceBuilder {
    service("a/web").cluster_ip("10.96.0.1").port("", Protocol::Tcp, 80)
}

fn backends() -> SliceBuilder {
    slice("a/web").port("", Protocol::Tcp, 80)
}

fn lines<'a>(text: &'a str, word: &str) -> Vec<&'a str> {
    text.lines().filter(|line| line.contains(word)).collect()
}

#[test]
fn large_clusters_go_without_the_comments_of_endpoints() {
    let config = ProxyConfig::new(LOCAL_NODE);
    let slice = backends().endpoint("10.0.0.1").endpoint("10.0.0.2");
    let small = planned(&config, web(), slice.clone());
    let large = rendered(&config, web(), slice, |context| context.endpoint_comments = false);
    assert_eq!(lines(&small, " -> 10.0.0").len(), 2);
    assert!(lines(&large, " -> 10.0.0").is_empty());
    assert_eq!(lines(&large, "a/web").len(), 1, "the dispatch keeps its comment: {large}");
    assert_eq!(large.lines().count(), small.lines().count());
}

#[test]
fn masquerading_settings_reach_the_rules() {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.masquerade_bit = 5;
    config.masquerade_all = true;
    let text = planned(&config, web(), backends().endpoint("10.0.0.1"));
    assert!(text.contains("-A KUBE-MARK-MASQ -j MARK --set-xmark 0x20/0x20"));
    assert!(text.contains("-A KUBE-POSTROUTING -m mark ! --mark 0x20/0x20 -j RETURN"));
    assert!(text.lines().any(|line| line.ends_with("-j MASQUERADE")));
    let cluster_ip = lines(&text, "-A KUBE-SVC-");
    assert!(cluster_ip[0].ends_with("--dport 80 -j KUBE-MARK-MASQ"), "{cluster_ip:?}");
    assert!(!cluster_ip[0].contains("! -s"), "{cluster_ip:?}");
}

#[test]
fn liberal_conntrack_keeps_invalid_packets() {
    let config = ProxyConfig::new(LOCAL_NODE);
    let strict = planned(&config, web(), backends());
    let liberal = rendered(&config, web(), backends(), |context| context.drop_invalid = false);
    assert_eq!(lines(&strict, "INVALID").len(), 1);
    assert!(lines(&liberal, "INVALID").is_empty());
}

#[test]
fn closed_loopback_leaves_the_shared_chain_to_the_kubelet() {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    config.localhost_node_ports = false;
    let text = planned(&config, web(), backends());
    // The chain is there for whoever needs it, as kube-proxy makes it.
    assert_eq!(lines(&text, ":KUBE-FIREWALL").len(), 1);
    assert!(lines(&text, "-A KUBE-FIREWALL").is_empty());
    assert!(lines(&text, "NOTE")[0].contains("! -d 127.0.0.0/8"), "{text}");
}

#[test]
fn source_ranges_that_hold_the_node_let_the_load_balancer_address_in() {
    let config = ProxyConfig::new(LOCAL_NODE);
    let balanced = || web().load_balancer_ip("192.0.2.1").source_range("192.168.0.0/24");
    let text = planned(&config, balanced(), backends().endpoint("10.0.0.1"));
    let sources: Vec<_> =
        lines(&text, "-A KUBE-FW-").iter().filter_map(|line| line.split(' ').nth(3)).collect();
    assert_eq!(sources[..2], ["192.168.0.0/24", "192.0.2.1/32"]);
    let elsewhere = web().load_balancer_ip("192.0.2.1").source_range("203.0.113.0/24");
    let text = planned(&config, elsewhere, backends().endpoint("10.0.0.1"));
    assert_eq!(lines(&text, "-A KUBE-FW-").len(), 2);
}

#[test]
fn rules_count_only_in_counters_that_are_there() {
    let config = ProxyConfig::new(LOCAL_NODE);
    let text = |counters| {
        rendered(&config, web().node_port(30080), backends().endpoint("10.0.0.1"), |context| {
            context.counters = counters;
        })
    };
    let none = AccountingObjects::default();
    let plain = text(none);
    assert!(lines(&plain, "nfacct").is_empty());
    assert_eq!(lines(&plain, "-A KUBE-NODEPORTS").len(), 1);
    let dropped = text(AccountingObjects { invalid_dropped: true, ..none });
    assert_eq!(lines(&dropped, "nfacct"), lines(&dropped, "ct_state_invalid_dropped_pkts -j DROP"));
    assert_eq!(lines(&dropped, "nfacct").len(), 1);
    let accepted = text(AccountingObjects { localhost_accepted: true, ..none });
    let ports = lines(&accepted, "-A KUBE-NODEPORTS");
    assert!(
        ports[0].contains("-d 127.0.0.0/8") && ports[0].contains("localhost_nps_accepted_pkts")
    );
    assert_eq!((ports.len(), ports[1]), (2, lines(&plain, "-A KUBE-NODEPORTS")[0]));
}
