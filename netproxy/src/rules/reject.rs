//! Pure. Service ports that traffic cannot reach, and health check ports that it must.

use std::net::IpAddr;

use super::ruleset::{Match, Rule, Side, Target};
use super::service::{PortView, ServiceRules, SharedChain};
use crate::input::Protocol;

/// The rule for one address of a service port without usable endpoints.
pub(super) fn to_address(view: &PortView<'_>, address: IpAddr) -> Rule {
    let (remark, verdict) = verdict(view);
    Rule::remark(remark)
        .transport(view.port.name.protocol, Some(view.port.port))
        .destination(address)
        .then(verdict)
}

/// The rule for the node port of a service port without usable endpoints.
pub(super) fn to_node_port(view: &PortView<'_>, node_port: u16) -> Rule {
    let (remark, verdict) = verdict(view);
    Rule::remark(remark)
        .when(Match::LocalAddress(Side::Destination))
        .transport(view.port.name.protocol, Some(node_port))
        .then(verdict)
}

/// Opens the port on which load balancers ask for local endpoints.
pub(super) fn plan_health_check(view: &PortView<'_>, rules: &mut ServiceRules) {
    if let Some(port) = view.port.health_check_node_port {
        let rule = Rule::remark(format!("{} health check node port", view.title))
            .transport(Protocol::Tcp, Some(port))
            .then(Target::Accept);
        rules.share(SharedChain::FilterNodePorts, rule);
    }
}

/// A client is told when there is no endpoint at all. When endpoints only miss on this node the
/// packet is dropped: a load balancer that has not noticed yet may get through elsewhere.
fn verdict(view: &PortView<'_>) -> (String, Target) {
    if view.used.any {
        (format!("{} has no local endpoints", view.title), Target::Drop)
    } else {
        (format!("{} has no endpoints", view.title), Target::Reject)
    }
}
