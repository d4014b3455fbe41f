//! Pure. Ports on the addresses of the node.

use std::net::Ipv6Addr;

use ipnet::{IpNet, Ipv6Net};

use super::chains;
use super::context::{Loopback, NodePortDestinations, RuleContext, loopback_v4};
use super::reject;
use super::ruleset::{Match, Rule, Side};
use super::service::{PortView, ServiceRules, SharedChain};
use crate::config::IpFamily;
use crate::nfacct;

/// Dispatch by node port, and the rule where endpoints are missing.
pub(super) fn plan(view: &PortView<'_>, rules: &mut ServiceRules) {
    let Some(node_port) = view.port.node_port else { return };
    if view.used.any {
        let rule = || {
            Rule::remark(view.title.as_str()).transport(view.port.name.protocol, Some(node_port))
        };
        let external = &view.chains.external;
        if counts_localhost(view.context) {
            let localhost = rule()
                .destination_within(loopback_v4())
                .counted_in(nfacct::LOCALHOST_ACCEPTED)
                .jump(external.clone());
            rules.share(SharedChain::NatNodePorts, localhost);
        }
        rules.share(SharedChain::NatNodePorts, rule().jump(external.clone()));
    }
    if !view.facts.has_external() {
        rules.share(SharedChain::FilterExternal, reject::to_node_port(view, node_port));
    }
}

/// Whether packets to loopback addresses are counted; in IPv6 they never reach a node port.
fn counts_localhost(context: &RuleContext) -> bool {
    context.counters.localhost_accepted
        && context.family == IpFamily::V4
        && context.loopback == Loopback::Open
}

/// The end of KUBE-SERVICES: which destinations lead to KUBE-NODEPORTS.
pub(super) fn dispatch(context: &RuleContext) -> Vec<Rule> {
    let rule = || {
        Rule::remark("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
    };
    match &context.node_ports {
        NodePortDestinations::All => {
            let rule = rule().when(Match::LocalAddress(Side::Destination));
            let rule = match (context.family, context.loopback) {
                (IpFamily::V4, Loopback::Open) => rule,
                (IpFamily::V4, Loopback::Closed) => rule.destination_outside(loopback_v4()),
                (IpFamily::V6, _) => rule.destination_outside(loopback_v6()),
            };
            vec![rule.jump(chains::NODE_PORTS)]
        }
        NodePortDestinations::Only(addresses) => addresses
            .iter()
            .map(|address| rule().destination(*address).jump(chains::NODE_PORTS))
            .collect(),
    }
}

fn loopback_v6() -> IpNet {
    IpNet::V6(Ipv6Net::from(Ipv6Addr::LOCALHOST))
}
