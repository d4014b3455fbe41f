use std::net::IpAddr;

use super::{Detector, Loopback, MachineFacts, NodePortDestinations, RuleContext};
use crate::config::{IpFamily, LocalTraffic, NodePortAddresses, ProxyConfig};
use crate::testing::node;

fn context(config: &ProxyConfig, family: IpFamily) -> RuleContext {
    let local: Vec<IpAddr> = ["192.168.0.2", "192.168.1.2", "127.0.0.1", "::1", "2001:db8::1"]
        .map(|address| address.parse().unwrap())
        .into();
    let mut node = node(&["192.168.0.2", "2001:db8::1"]);
    node.pod_cidrs = vec!["10.1.0.0/24".parse().unwrap(), "fd01::/64".parse().unwrap()];
    let machine =
        MachineFacts { local_addresses: &local, random_fully: true, liberal_conntrack: true };
    RuleContext::new(config, family, &node, machine)
}

#[test]
fn every_family_has_its_own_detector() {
    let source = |cidr: &str| Some(Detector::Source(cidr.parse().unwrap()));
    let interface = |name: &str| Some(Detector::Interface(name.into()));
    let cluster = LocalTraffic::ClusterCidrs(vec!["10.0.0.0/8".parse().unwrap()]);
    let cases = [
        (cluster, source("10.0.0.0/8"), None),
        (LocalTraffic::NodeCidrs, source("10.1.0.0/24"), source("fd01::/64")),
        (LocalTraffic::Bridge("cbr0".into()), interface("cbr0"), interface("cbr0")),
        (LocalTraffic::InterfacePrefix("veth".into()), interface("veth+"), interface("veth+")),
    ];
    for (local_traffic, v4, v6) in cases {
        let config = ProxyConfig { local_traffic, ..ProxyConfig::new("node-1") };
        assert_eq!(context(&config, IpFamily::V4).detector, v4);
        assert_eq!(context(&config, IpFamily::V6).detector, v6);
    }
}

#[test]
fn node_port_addresses_are_matched_with_local_ones() {
    let within = |nets: &[&str]| {
        NodePortAddresses::Within(nets.iter().map(|net| net.parse().unwrap()).collect())
    };
    let only = |addresses: &[&str]| {
        NodePortDestinations::Only(addresses.iter().map(|text| text.parse().unwrap()).collect())
    };
    let cases = [
        (NodePortAddresses::All, NodePortDestinations::All, Loopback::Open),
        (within(&["10.0.0.0/8", "0.0.0.0/0"]), NodePortDestinations::All, Loopback::Open),
        (NodePortAddresses::Primary, only(&["192.168.0.2"]), Loopback::Closed),
        (within(&["192.168.0.0/24"]), only(&["192.168.0.2"]), Loopback::Closed),
        (
            within(&["192.168.0.0/16", "127.0.0.0/8"]),
            only(&["127.0.0.1", "192.168.0.2", "192.168.1.2"]),
            Loopback::Open,
        ),
        (within(&["2001:db8::/64"]), only(&[]), Loopback::Closed),
    ];
    for (addresses, destinations, loopback) in cases {
        let mut config = ProxyConfig::new("node-1");
        config.node_port_addresses = addresses;
        let found = context(&config, IpFamily::V4);
        assert_eq!((found.node_ports, found.loopback), (destinations, loopback));
        config.localhost_node_ports = false;
        assert_eq!(context(&config, IpFamily::V4).loopback, Loopback::Closed);
        config.localhost_node_ports = true;
        assert_eq!(context(&config, IpFamily::V6).loopback, Loopback::Closed);
    }
}

#[test]
fn configured_address_goes_before_that_of_the_node() {
    let mut config = ProxyConfig::new("node-1");
    config.node_ips = vec!["192.168.7.7".parse().unwrap()];
    assert_eq!(context(&config, IpFamily::V4).node_ip, "192.168.7.7".parse().ok());
    assert_eq!(context(&config, IpFamily::V6).node_ip, "2001:db8::1".parse().ok());
}
