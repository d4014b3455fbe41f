//! Pure. External and load balancer addresses, and the chains for traffic from outside.

use std::net::IpAddr;

use ipnet::IpNet;

use super::chains;
use super::reject;
use super::ruleset::{Match, Rule, Side};
use super::service::{PortView, ServiceRules, SharedChain};
use crate::input::TrafficPolicy;

/// Dispatch by external and load balancer address, and the rules where endpoints are missing.
pub(super) fn plan_addresses(view: &PortView<'_>, rules: &mut ServiceRules) {
    for address in &view.port.external_ips {
        if view.used.any {
            let rule = to_address(view, "external IP", *address).jump(view.chains.external.clone());
            rules.share(SharedChain::NatServices, rule);
        }
        reject_without_endpoints(view, *address, rules);
    }
    for address in &view.port.load_balancer_ips {
        if view.facts.uses_firewall() {
            let rule =
                to_address(view, "loadbalancer IP", *address).jump(view.chains.firewall.clone());
            rules.share(SharedChain::NatServices, rule);
            rules.share(SharedChain::FilterFirewall, drop_refused(view, *address));
        } else if view.used.any {
            let rule =
                to_address(view, "loadbalancer IP", *address).jump(view.chains.external.clone());
            rules.share(SharedChain::NatServices, rule);
        }
        reject_without_endpoints(view, *address, rules);
    }
}

/// KUBE-EXT and KUBE-FW of the service port.
pub(super) fn plan_chains(view: &PortView<'_>, rules: &mut ServiceRules) {
    if view.facts.uses_external() {
        rules.own(view.chains.external.clone(), external_chain(view));
    }
    if view.facts.uses_firewall() {
        rules.own(view.chains.firewall.clone(), firewall_chain(view));
    }
}

fn to_address(view: &PortView<'_>, kind: &str, address: IpAddr) -> Rule {
    Rule::remark(format!("{} {kind}", view.title))
        .transport(view.port.name.protocol, Some(view.port.port))
        .destination(address)
}

fn reject_without_endpoints(view: &PortView<'_>, address: IpAddr, rules: &mut ServiceRules) {
    if !view.facts.has_external() {
        rules.share(SharedChain::FilterExternal, reject::to_address(view, address));
    }
}

/// Packets that KUBE-FW let fall still have the load balancer address when they come here.
fn drop_refused(view: &PortView<'_>, address: IpAddr) -> Rule {
    let firewall = &view.chains.firewall;
    Rule::remark(format!("{} traffic not accepted by {firewall}", view.title))
        .transport(view.port.name.protocol, Some(view.port.port))
        .destination(address)
        .then(super::ruleset::Target::Drop)
}

fn external_chain(view: &PortView<'_>) -> Vec<Rule> {
    let title = &view.title;
    let mut rules = Vec::new();
    match view.port.external_policy {
        TrafficPolicy::Cluster => rules.push(
            Rule::remark(format!("masquerade traffic for {title} external destinations"))
                .jump(chains::MARK_MASQ),
        ),
        TrafficPolicy::Local => {
            let cluster = &view.chains.cluster;
            if let Some(detector) = &view.context.detector {
                // A pod reaches a service of its cluster as if through the cluster address.
                let rule = Rule::remark(format!("pod traffic for {title} external destinations"));
                rules.push(detector.only_local(rule).jump(cluster.clone()));
            }
            let from_node = |verb: &str| {
                Rule::remark(format!("{verb} LOCAL traffic for {title} external destinations"))
                    .when(Match::LocalAddress(Side::Source))
            };
            rules.push(from_node("masquerade").jump(chains::MARK_MASQ));
            rules.push(from_node("route").jump(cluster.clone()));
        }
    }
    if view.facts.has_external() {
        rules.push(Rule::default().jump(view.external_chain().clone()));
    }
    rules
}

fn firewall_chain(view: &PortView<'_>) -> Vec<Rule> {
    let allowed = |net: IpNet| {
        Rule::remark(format!("{} loadbalancer IP", view.title))
            .source_within(net)
            .jump(view.chains.external.clone())
    };
    let mut rules: Vec<Rule> = view.port.source_ranges.iter().copied().map(allowed).collect();
    // Traffic of the node itself to a load balancer address bound to an interface has that very
    // address as its source.
    let node_allowed = view
        .context
        .node_ip
        .is_some_and(|node| view.port.source_ranges.iter().any(|range| range.contains(&node)));
    if node_allowed {
        rules.extend(view.port.load_balancer_ips.iter().map(|vip| allowed(IpNet::from(*vip))));
    }
    rules.push(Rule::remark(format!(
        "other traffic to {} will be dropped by {}",
        view.title,
        chains::PROXY_FIREWALL
    )));
    rules
}
