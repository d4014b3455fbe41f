//! Pure. The chains that are there without any service.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::layout::{Path, TableContext, from_pod, keyed};
use super::rule::{Field, Rule, Side, Statement};
use super::state::{Chain, ChainKind, ChainName, Hook, HookPoint, SetName};
use crate::config::IpFamily;
use crate::input::Protocol;
use crate::rules::NodePortDestinations;

/// The chain that answers packets to services without endpoints.
pub const REJECT: &str = "reject-chain";
/// The chain for external addresses of services with policy Local.
pub const EXTERNAL_LOCAL: &str = "external-local";
/// The chain for node ports of services with policy Local.
pub const NODE_PORT_LOCAL: &str = "nodeport-local";

const SERVICES: &str = "services";
const MASQUERADING: &str = "masquerading";
const FIREWALL_CHECK: &str = "firewall-check";
const SERVICE_ENDPOINTS_CHECK: &str = "service-endpoints-check";
const NODE_PORT_ENDPOINTS_CHECK: &str = "nodeport-endpoints-check";
const CLUSTER_IPS_CHECK: &str = "cluster-ips-check";

/// The chains that are there without any service.
pub fn base_chains(context: &TableContext) -> BTreeMap<ChainName, Chain> {
    let jump = |to: &str| Statement::Jump(to.into());
    let first = |to: &str| Rule::new([Statement::NewConnection, jump(to)]);
    let filter = |point, priority, to: &[&str]| {
        let hook = Hook { kind: ChainKind::Filter, point, priority };
        Chain { hook: Some(hook), rules: to.iter().map(|to| first(to)).collect() }
    };
    let nat = |point, priority, to: &str| Chain {
        hook: Some(Hook { kind: ChainKind::Nat, point, priority }),
        rules: vec![Rule::new([jump(to)])],
    };
    let plain = |rules: Vec<Rule>| Chain { hook: None, rules };
    let checks = [SERVICE_ENDPOINTS_CHECK, CLUSTER_IPS_CHECK];
    let input = [NODE_PORT_ENDPOINTS_CHECK, SERVICE_ENDPOINTS_CHECK];
    // Hooks and priorities are declared interface (kube-proxy, v1.36).
    [
        ("filter-prerouting-pre-dnat", filter(HookPoint::Prerouting, -110, &[FIREWALL_CHECK])),
        ("filter-output-pre-dnat", filter(HookPoint::Output, -110, &[FIREWALL_CHECK])),
        ("filter-input", filter(HookPoint::Input, 0, &input)),
        ("filter-forward", filter(HookPoint::Forward, 0, &checks)),
        ("filter-output", filter(HookPoint::Output, 0, &checks)),
        ("nat-prerouting", nat(HookPoint::Prerouting, -100, SERVICES)),
        ("nat-output", nat(HookPoint::Output, -100, SERVICES)),
        ("nat-postrouting", nat(HookPoint::Postrouting, 100, MASQUERADING)),
        (SERVICES, plain(services(context))),
        (EXTERNAL_LOCAL, plain(local_policy(context, Path::ShortCircuit, Path::Local))),
        (
            NODE_PORT_LOCAL,
            plain(local_policy(context, Path::ShortCircuitNodePort, Path::LocalNodePort)),
        ),
        (Path::ShortCircuit.name(), plain(vec![dispatch(Path::ShortCircuit)])),
        (Path::ShortCircuitNodePort.name(), plain(vec![dispatch(Path::ShortCircuitNodePort)])),
        (FIREWALL_CHECK, plain(vec![by_address(SetName::FirewallIps)])),
        (SERVICE_ENDPOINTS_CHECK, plain(vec![by_address(SetName::NoEndpointServices)])),
        (
            NODE_PORT_ENDPOINTS_CHECK,
            plain(vec![by_node_port(context, SetName::NoEndpointNodePorts)]),
        ),
        (CLUSTER_IPS_CHECK, plain(cluster_ips_check(context))),
        (REJECT, plain(vec![Rule::new([Statement::Reject])])),
        (MASQUERADING, plain(masquerading(context))),
    ]
    .into_iter()
    .map(|(name, chain)| (name.into(), chain))
    .collect()
}

fn services(context: &TableContext) -> Vec<Rule> {
    vec![by_address(SetName::ServiceIps), by_node_port(context, SetName::ServiceNodePorts)]
}

fn dispatch(path: Path) -> Rule {
    // One map for all protocols.
    let map = path.sets(Protocol::Tcp).dispatch;
    Rule::new([Statement::VerdictMap { key: keyed(path), map }])
}

fn by_address(map: SetName) -> Rule {
    Rule::new([Statement::VerdictMap { key: keyed(Path::ClusterIp), map }])
}

fn by_node_port(context: &TableContext, map: SetName) -> Rule {
    let lookup = Statement::VerdictMap { key: keyed(Path::NodePort), map };
    let destination = Field::Address(Side::Destination);
    let mut statements = match context.node_ports {
        NodePortDestinations::Only(_) => {
            vec![Statement::Member { key: vec![destination], set: SetName::NodePortIps }]
        }
        NodePortDestinations::All => vec![
            Statement::LocalAddress(Side::Destination),
            Statement::Address {
                side: Side::Destination,
                negated: true,
                net: loopback(context.family),
            },
        ],
    };
    statements.push(lookup);
    Rule::new(statements)
}

fn loopback(family: IpFamily) -> IpNet {
    match family {
        IpFamily::V4 => IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8)),
        IpFamily::V6 => IpNet::V6(Ipv6Net::from(Ipv6Addr::LOCALHOST)),
    }
}

/// Clients inside the cluster reach all endpoints, others those of this node.
fn local_policy(context: &TableContext, inside: Path, outside: Path) -> Vec<Rule> {
    let short_circuit = Statement::Goto(inside.name().into());
    let from_node = Statement::LocalAddress(Side::Source);
    let pods = context.detector.as_ref().map(|detector| {
        Rule::new([from_pod(detector, false), short_circuit.clone()])
            .comment("short-circuit pod traffic")
    });
    let node = [
        Rule::new([from_node.clone(), Statement::SetMark(context.mark)])
            .comment("masquerade local traffic"),
        Rule::new([from_node, short_circuit]).comment("short-circuit local traffic"),
    ];
    pods.into_iter().chain(node).chain([dispatch(outside)]).collect()
}

fn cluster_ips_check(context: &TableContext) -> Vec<Rule> {
    let known = Statement::Member {
        key: vec![Field::Address(Side::Destination)],
        set: SetName::ClusterIps,
    };
    let invalid = Rule::new([known, Statement::Reject])
        .comment("Reject traffic to invalid ports of ClusterIPs");
    let unallocated = context.service_cidrs.iter().map(|net| {
        let within = Statement::Address { side: Side::Destination, negated: false, net: *net };
        Rule::new([within, Statement::Drop]).comment("Drop traffic to unallocated ClusterIPs")
    });
    std::iter::once(invalid).chain(unallocated).collect()
}

fn masquerading(context: &TableContext) -> Vec<Rule> {
    // A connection that was sent back to its own address has to be masqueraded on any port.
    let own = vec![Field::Address(Side::Source), Field::Address(Side::Destination)];
    vec![
        Rule::new([Statement::Classified, Statement::Translated, Statement::Unclassify]),
        // Clears the bit, so that a packet that comes by again (through a tunnel) is not
        // masqueraded twice.
        Rule::new([
            Statement::Marked(context.mark),
            Statement::FlipMark(context.mark),
            Statement::Masquerade,
        ]),
        Rule::new([
            Statement::Translated,
            Statement::Member { key: own, set: SetName::HairpinConnections },
            Statement::Masquerade,
        ]),
    ]
}
