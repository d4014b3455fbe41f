//! Pure. What the proxy does for one service.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;
use serde::Serialize;

use super::compare::ChainDifference;
use super::live::LiveState;
use super::packet::{Trace, WayKind, policy_name};
use super::plan::{FamilyPlan, PlannedPort};
use super::walk::Packet;
use crate::input::{ObjectKey, Parsed, Service, ServiceType};
use crate::model::changes::ServiceMap;
use crate::model::endpoint::{Endpoint, EndpointState};
use crate::model::service_port::is_foreign;
use crate::rules::{Detector, NodePortDestinations};

/// What the proxy does for a service.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceReport {
    /// `namespace/name`.
    pub service: String,
    /// `spec.type`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Why nothing is planned for it, if so.
    pub not_proxied: Option<String>,
    /// Its ports, family by family.
    pub ports: Vec<PortReport>,
    /// Where its live rules differ from the plan, by family.
    pub kernel: Vec<KernelState>,
}

/// How the live rules of one family compare with the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KernelState {
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// Why they were not read, if so.
    pub unread: Option<String>,
    /// Where they differ.
    pub differences: Vec<ChainDifference>,
}

/// One port of a service in one family.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PortReport {
    /// `IPv4` or `IPv6`.
    pub family: &'static str,
    /// Name of the port; empty when it has none.
    pub name: String,
    /// Port number on the service's addresses.
    pub port: u16,
    /// Protocol, in lower case.
    pub protocol: &'static str,
    /// Its ways in.
    pub ways: Vec<WayIn>,
    /// Seconds for which a client address sticks to its endpoint.
    pub affinity_seconds: Option<u32>,
    /// Who may use the load balancer addresses; empty for everybody.
    pub source_ranges: Vec<String>,
    /// TCP port on which load balancers ask for local endpoints.
    pub health_check_node_port: Option<u16>,
    /// Endpoints, used or not.
    pub endpoints: Vec<EndpointReport>,
    /// What becomes of traffic, by source and way in.
    pub traffic: Vec<Traffic>,
}

/// A way into a service port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WayIn {
    /// Which.
    pub way: WayKind,
    /// Address; nothing for a node port that answers on every local address.
    pub address: Option<IpAddr>,
    /// Port.
    pub port: u16,
    /// `Cluster` or `Local`.
    pub policy: &'static str,
}

/// An endpoint and how much it is used.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EndpointReport {
    /// Address and port.
    pub endpoint: SocketAddr,
    /// `ready`, `draining`, `serving` or `down`.
    pub state: &'static str,
    /// Whether it runs on this node.
    pub local: bool,
    /// Its node.
    pub node: Option<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its share of traffic under policy Cluster, 0 to 1.
    pub cluster_share: Option<f64>,
    /// Its share of traffic under policy Local.
    pub local_share: Option<f64>,
    /// Why it is not used, if so.
    pub left_out: Option<String>,
}

/// What becomes of traffic from one source by one way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Traffic {
    /// Who sends.
    pub from: String,
    /// By which way.
    pub way: WayKind,
    /// Where it is sent to.
    pub to: SocketAddr,
    /// What becomes of it.
    pub outcome: String,
}

/// What is known to explain a service.
#[derive(Clone, Copy)]
pub struct ServiceFacts<'a> {
    /// The followed objects.
    pub map: &'a ServiceMap,
    /// The service.
    pub key: &'a ObjectKey,
    /// The only source asked about; the usual ones when nobody asked.
    pub from: Option<IpAddr>,
    /// Addresses of the machine.
    pub local_addresses: &'a [IpAddr],
}

/// What the proxy does for a service, with the live rules of each plan or why they were not read.
/// Nothing when there is no such service.
pub fn explain_service(
    facts: ServiceFacts<'_>,
    plans: &[(FamilyPlan, Result<&LiveState, String>)],
) -> Option<ServiceReport> {
    let service = facts.map.service(facts.key)?;
    let mut report = ServiceReport {
        service: facts.key.to_string(),
        kind: kind(service),
        not_proxied: None,
        ports: Vec::new(),
        kernel: Vec::new(),
    };
    for (plan, live) in plans {
        let ports: Vec<&PlannedPort> = plan.ports_of(facts.key).collect();
        report.ports.extend(ports.iter().map(|port| port_report(facts, plan, port)));
        let state = |unread, differences| KernelState {
            family: plan.context.family.name(),
            unread,
            differences,
        };
        match live {
            Err(_) if ports.is_empty() => {}
            Err(why) => report.kernel.push(state(Some(why.clone()), Vec::new())),
            Ok(live) => {
                let found = plan.differences_of(facts.key, live);
                if !ports.is_empty() || !found.is_empty() {
                    report.kernel.push(state(None, found));
                }
            }
        }
    }
    if report.ports.is_empty() {
        report.not_proxied = Some(why_not_proxied(service));
    }
    Some(report)
}

fn kind(service: &Service) -> &'static str {
    match service.spec.service_type {
        ServiceType::ClusterIp => "ClusterIP",
        ServiceType::NodePort => "NodePort",
        ServiceType::LoadBalancer => "LoadBalancer",
        ServiceType::ExternalName => "ExternalName",
    }
}

fn why_not_proxied(service: &Service) -> String {
    let spec = &service.spec;
    let headless =
        |address: &Parsed<IpAddr>| address.invalid().is_some_and(|text| &**text == "None");
    let why = if spec.service_type == ServiceType::ExternalName {
        "an ExternalName service is a name in DNS and has no rules"
    } else if is_foreign(&service.metadata) {
        "its labels leave it to another proxy"
    } else if spec.cluster_ips.iter().chain(spec.cluster_ip.iter()).any(headless) {
        "a headless service has no address; its clients reach the pods themselves"
    } else if spec.ports.is_empty() {
        "it has no ports"
    } else {
        "it has no cluster address yet"
    };
    why.to_owned()
}

fn port_report(facts: ServiceFacts<'_>, plan: &FamilyPlan, one: &PlannedPort) -> PortReport {
    let port = &one.facts.port;
    let ways = ways_in(plan, one);
    PortReport {
        family: plan.context.family.name(),
        name: port.name.port.to_string(),
        port: port.port,
        protocol: port.name.protocol.name(),
        affinity_seconds: port.affinity_seconds,
        source_ranges: port.source_ranges.iter().map(ToString::to_string).collect(),
        health_check_node_port: port.health_check_node_port,
        endpoints: (0..one.facts.endpoints.len())
            .map(|position| endpoint_report(facts, plan, one, position))
            .collect(),
        traffic: traffic(facts, plan, one, &ways),
        ways,
    }
}

fn ways_in(plan: &FamilyPlan, one: &PlannedPort) -> Vec<WayIn> {
    let port = &one.facts.port;
    let inside = policy_name(port.internal_policy);
    let outside = policy_name(port.external_policy);
    let way = |way, address: IpAddr, policy| WayIn {
        way,
        address: Some(address),
        port: port.port,
        policy,
    };
    let mut ways = vec![way(WayKind::ClusterIp, port.cluster_ip, inside)];
    ways.extend(port.external_ips.iter().map(|ip| way(WayKind::ExternalIp, *ip, outside)));
    let balancers = port.load_balancer_ips.iter();
    ways.extend(balancers.map(|ip| way(WayKind::LoadBalancerIp, *ip, outside)));
    if let Some(number) = port.node_port {
        let on = |address| WayIn { way: WayKind::NodePort, address, port: number, policy: outside };
        match &plan.context.node_ports {
            NodePortDestinations::All => ways.push(on(None)),
            NodePortDestinations::Only(addresses) => {
                ways.extend(addresses.iter().map(|address| on(Some(*address))));
            }
        }
    }
    ways
}

fn endpoint_report(
    facts: ServiceFacts<'_>,
    plan: &FamilyPlan,
    one: &PlannedPort,
    position: usize,
) -> EndpointReport {
    let endpoint = &one.facts.endpoints[position];
    let slices = facts.map.slices_of(facts.key);
    let source = slices
        .flat_map(|slice| &slice.endpoints)
        .find(|source| source.address.as_ref().and_then(Parsed::valid) == Some(&endpoint.address));
    let name = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(str::to_owned);
    EndpointReport {
        endpoint: SocketAddr::new(endpoint.address, endpoint.port),
        state: match endpoint.state {
            EndpointState::Ready => "ready",
            EndpointState::Draining => "draining",
            EndpointState::Serving => "serving",
            EndpointState::Down => "down",
        },
        local: endpoint.is_local,
        node: source.and_then(|source| name(&source.node_name)),
        zone: source.and_then(|source| name(&source.zone)),
        cluster_share: share(&one.facts.used.cluster, position),
        local_share: share(&one.facts.used.local, position),
        left_out: left_out(plan, one, position),
    }
}

fn share(used: &[usize], position: usize) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "far fewer than 2^52 endpoints")]
    used.contains(&position).then(|| 1.0 / used.len() as f64)
}

/// Why an endpoint is used by no way in.
fn left_out(plan: &FamilyPlan, one: &PlannedPort, position: usize) -> Option<String> {
    if one.facts.used.reachable.contains(&position) {
        return None;
    }
    let endpoint = &one.facts.endpoints[position];
    Some(match endpoint.state {
        EndpointState::Down => "not ready".to_owned(),
        EndpointState::Serving => "not ready, though it still answers".to_owned(),
        _ if !one.facts.port.uses_cluster_endpoints() && !endpoint.is_local => {
            "on another node, and the policy is Local".to_owned()
        }
        EndpointState::Draining => "terminating, and others are ready".to_owned(),
        EndpointState::Ready => hinted_away(plan, one, endpoint),
    })
}

/// A ready endpoint that is left out is meant for another node or zone.
fn hinted_away(plan: &FamilyPlan, one: &PlannedPort, endpoint: &Endpoint) -> String {
    let here = &plan.context.topology;
    let by_node = one
        .facts
        .used
        .cluster
        .iter()
        .all(|position| one.facts.endpoints[*position].node_hints.contains(&here.node_name));
    if by_node && !endpoint.node_hints.is_empty() {
        return format!("its hints name node {}", endpoint.node_hints.join(", "));
    }
    let zone = here.zone.as_deref().unwrap_or("unknown");
    format!(
        "its hints name zone {}, and this node is in zone {zone}",
        endpoint.zone_hints.join(", ")
    )
}

/// Who sends: a name and a packet without its destination.
struct Sender {
    name: String,
    source: IpAddr,
    interface: Option<String>,
}

fn traffic(
    facts: ServiceFacts<'_>,
    plan: &FamilyPlan,
    one: &PlannedPort,
    ways: &[WayIn],
) -> Vec<Traffic> {
    let family = plan.context.family;
    let senders = match facts.from {
        Some(source) if !family.has(source) => return Vec::new(),
        Some(source) => {
            let interface = (!is_local(facts, plan, source)).then(String::new);
            vec![Sender { name: source.to_string(), source, interface }]
        }
        None => usual_senders(facts, plan, one),
    };
    let mut local_addresses = facts.local_addresses.to_vec();
    local_addresses.extend(plan.context.node_ip);
    let mut found = Vec::new();
    for sender in &senders {
        for way in ways {
            let Some(address) = way.address.or_else(|| node_address(facts, plan)) else { continue };
            let packet = Packet {
                source: sender.source,
                destination: address,
                port: way.port,
                protocol: one.facts.port.name.protocol,
                interface: sender.interface.as_deref().map(Into::into),
                local_addresses: local_addresses.clone(),
                known_in: Vec::new(),
            };
            found.push(Traffic {
                from: sender.name.clone(),
                way: way.way,
                to: SocketAddr::new(address, way.port),
                outcome: outcome(&plan.trace(&packet)),
            });
        }
    }
    found
}

fn is_local(facts: ServiceFacts<'_>, plan: &FamilyPlan, address: IpAddr) -> bool {
    address.is_loopback()
        || facts.local_addresses.contains(&address)
        || plan.context.node_ip == Some(address)
}

/// An address of this machine on which node ports answer.
fn node_address(facts: ServiceFacts<'_>, plan: &FamilyPlan) -> Option<IpAddr> {
    plan.context.node_ip.or_else(|| {
        let family = plan.context.family;
        let mut local = facts.local_addresses.iter();
        local.find(|address| family.has(**address) && !address.is_loopback()).copied()
    })
}

/// Addresses for documentation (RFC 5737, RFC 3849), which stand for anybody outside.
const ANYBODY: [&str; 4] = ["192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1"];

/// A pod, this node, and somebody outside; with source ranges also somebody within them.
fn usual_senders(facts: ServiceFacts<'_>, plan: &FamilyPlan, one: &PlannedPort) -> Vec<Sender> {
    let family = plan.context.family;
    let is_endpoint =
        |address: IpAddr| one.facts.endpoints.iter().any(|known| known.address == address);
    let free = |address: &IpAddr| !is_endpoint(*address) && !is_local(facts, plan, *address);
    let ranges = &one.facts.port.source_ranges;
    let allowed = |address: IpAddr| ranges.iter().any(|range| range.contains(&address));
    let anybody = || ANYBODY.iter().filter_map(|text| text.parse::<IpAddr>().ok());
    let anybody = || anybody().filter(|address| family.has(*address)).filter(free);
    let is_pod = |address: IpAddr| match &plan.context.detector {
        Some(Detector::Source(net)) => net.contains(&address),
        _ => false,
    };
    let mut senders = Vec::new();
    let sender = |name: &str, source, interface: Option<&str>| Sender {
        name: name.to_owned(),
        source,
        interface: interface.map(str::to_owned),
    };
    match &plan.context.detector {
        Some(Detector::Source(net)) => {
            if let Some(source) = some_host(*net, free) {
                senders.push(sender("a pod", source, Some("")));
            }
        }
        Some(Detector::Interface(name)) => {
            if let Some(source) = anybody().next() {
                // A prefix alone is the shortest name that it covers.
                let name = name.strip_suffix('+').unwrap_or(name);
                senders.push(sender("a pod", source, Some(name)));
            }
        }
        None => {}
    }
    if let Some(source) = node_address(facts, plan) {
        senders.push(sender("this node", source, None));
    }
    // No interface has a name with a slash, so this is none that a detector knows.
    let elsewhere = Some("/");
    if let Some(source) = anybody().find(|address| !allowed(*address) && !is_pod(*address)) {
        senders.push(sender("outside", source, elsewhere));
    }
    let within = |range: &IpNet| some_host(*range, |address| free(address) && !is_pod(*address));
    if let Some(source) = ranges.iter().find_map(within) {
        senders.push(sender("a source range", source, elsewhere));
    }
    senders
}

/// An address of the network that `wanted` accepts, among the first thousand.
fn some_host(net: IpNet, wanted: impl Fn(&IpAddr) -> bool) -> Option<IpAddr> {
    net.hosts().take(1000).find(wanted)
}

/// The ends of a way in a few words.
fn outcome(trace: &Trace) -> String {
    for verdict in ["dropped", "rejected"] {
        if trace.ways.iter().any(|way| way.verdict == verdict) {
            return verdict.to_owned();
        }
    }
    let mut endpoints: Vec<SocketAddr> = trace.ways.iter().filter_map(|way| way.endpoint).collect();
    endpoints.sort_unstable();
    endpoints.dedup();
    let target = match endpoints.len() {
        0 => return "unchanged".to_owned(),
        1 => "1 endpoint".to_owned(),
        count => format!("{count} endpoints"),
    };
    let masqueraded = trace.ways.iter().filter(|way| way.masqueraded).count();
    let certain = trace.ways.iter().all(|way| way.when.is_empty());
    match masqueraded {
        0 => target,
        count if count == trace.ways.len() => format!("{target}, masqueraded"),
        _ if certain => format!("{target}, masqueraded to itself"),
        _ => format!("{target}, masqueraded or not by interface"),
    }
}
