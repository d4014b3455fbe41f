//! From built services and slices to what a back end is given.

use crate::config::{IpFamily, LocalTraffic, ProxyConfig};
use crate::input::ObjectKey;
use crate::model::port_facts::PortFacts;
use crate::model::service_port::service_ports;
use crate::model::slices::endpoints;
use crate::rules::RuleContext;
use crate::rules::context::MachineFacts;

use super::build::{LOCAL_NODE, ServiceBuilder, SliceBuilder, node};

/// The context of a node at 192.168.0.2 and 2001:db8::1, with pods in 10.0.0.0/8 and
/// fd00:10::/64.
pub fn rule_context(family: IpFamily) -> RuleContext {
    let mut config = ProxyConfig::new(LOCAL_NODE);
    let pods = ["10.0.0.0/8", "fd00:10::/64"].map(|net| net.parse().expect("a network"));
    config.local_traffic = LocalTraffic::ClusterCidrs(pods.into());
    let machine =
        MachineFacts { local_addresses: &[], random_fully: true, liberal_conntrack: false };
    RuleContext::new(
        &config.in_nftables_mode(),
        family,
        &node(&["192.168.0.2", "2001:db8::1"]),
        machine,
    )
}

/// The ports of a service with the endpoints of one slice, by name.
pub fn port_facts(
    service: &ServiceBuilder,
    slice: &SliceBuilder,
    family: IpFamily,
) -> (ObjectKey, Vec<PortFacts>) {
    let topology = rule_context(family).topology;
    let (service, slice) = (service.clone().build(), slice.clone().build());
    let ports = service_ports(&service, family).into_iter().map(|port| {
        let endpoints = endpoints([&slice], &port.name, family, LOCAL_NODE);
        PortFacts::new(port, endpoints, &topology)
    });
    (service.metadata.key(), ports.collect())
}
