//! Pure. The cluster address of a service port.

use std::net::IpAddr;

use super::chains;
use super::reject;
use super::ruleset::Rule;
use super::service::{PortView, ServiceRules, SharedChain};

/// Dispatch to the endpoints, or the rule for a service without any.
pub(super) fn plan(view: &PortView<'_>, rules: &mut ServiceRules) {
    let address = view.port.cluster_ip;
    if view.facts.has_internal() {
        let rule = to_cluster_ip(view, address).jump(view.internal_chain().clone());
        rules.share(SharedChain::NatServices, rule);
    } else {
        rules.share(SharedChain::FilterServices, reject::to_address(view, address));
    }
}

/// The first rule of the chain the cluster address leads to: which of its traffic is
/// masqueraded. Nothing when none is, or nobody can tell.
pub(super) fn masquerade(view: &PortView<'_>) -> Option<Rule> {
    let rule = to_cluster_ip(view, view.port.cluster_ip);
    let rule = if view.context.masquerading.all {
        rule
    } else {
        view.context.detector.as_ref()?.only_foreign(rule)
    };
    Some(rule.jump(chains::MARK_MASQ))
}

fn to_cluster_ip(view: &PortView<'_>, address: IpAddr) -> Rule {
    Rule::remark(format!("{} cluster IP", view.title))
        .transport(view.port.name.protocol, Some(view.port.port))
        .destination(address)
}
