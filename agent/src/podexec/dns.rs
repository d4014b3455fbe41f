//! Pure. The resolver configuration of a pod: the host's file, the cluster's DNS and the pod's
//! own wishes, cut to what resolvers take.
//! Source: kubelet v1.36 `network/dns/dns.go`; limits of `apis/core/validation`.

use std::collections::HashSet;
use std::net::IpAddr;

use cri_proto::runtime::v1::DnsConfig as CriDnsConfig;
use k8s_openapi::api::core::v1 as api;

use crate::config::DnsConfig;
use crate::model::Pod;

/// Name servers a resolver reads.
const MAX_NAMESERVERS: usize = 3;
/// Search paths, and their length together with the blanks between them.
const MAX_SEARCH_PATHS: usize = 32;
const MAX_SEARCH_CHARS: usize = 2048;
/// Length of one search path: glibc 2.28 aborts above 255, a DNS name has at most 253.
const MAX_SEARCH_PATH: usize = 253;
/// Names with fewer dots are tried with the search paths first.
const CLUSTER_OPTIONS: &str = "ndots:5";

/// The three lines of a resolv.conf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvConf {
    pub servers: Vec<String>,
    pub searches: Vec<String>,
    pub options: Vec<String>,
}

/// An event to publish about a pod's DNS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsWarning {
    /// Reason `MissingClusterDNS`, on the pod and on the node.
    MissingClusterDns,
    /// Reason `DNSConfigForming`.
    NameserversCut { applied: String },
    /// Reason `DNSConfigForming`.
    SearchesCut { applied: String },
}

impl DnsWarning {
    /// The event's reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::MissingClusterDns => "MissingClusterDNS",
            Self::NameserversCut { .. } | Self::SearchesCut { .. } => "DNSConfigForming",
        }
    }

    /// The event's message for `pod`.
    pub fn message(&self, pod: &Pod) -> String {
        match self {
            Self::MissingClusterDns => format!(
                "pod: \"{}_{}({})\". kubelet does not have ClusterDNS IP configured and cannot \
                 create Pod using \"ClusterFirst\" policy. Falling back to \"Default\" policy.",
                pod.name(),
                pod.namespace(),
                pod.uid()
            ),
            Self::NameserversCut { applied } => format!(
                "Nameserver limits were exceeded, some nameservers have been omitted, the applied \
                 nameserver line is: {applied}"
            ),
            Self::SearchesCut { applied } => format!(
                "Search Line limits were exceeded, some search paths have been omitted, the \
                 applied search line is: {applied}"
            ),
        }
    }
}

/// What a pod's sandbox is given, and what is to be published about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodDns {
    pub resolv: ResolvConf,
    pub warnings: Vec<DnsWarning>,
}

impl PodDns {
    /// The CRI message.
    pub fn to_cri(&self) -> CriDnsConfig {
        CriDnsConfig {
            servers: self.resolv.servers.clone(),
            searches: self.resolv.searches.clone(),
            options: self.resolv.options.clone(),
        }
    }
}

/// Reads a resolv.conf. The last `search` line counts, `.` in it and a path's trailing dot are
/// dropped; `options` of several lines add up and a later one of the same name wins; lines without
/// a value and comments are skipped.
pub fn parse_resolv_conf(text: &str) -> ResolvConf {
    let mut conf = ResolvConf::default();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with(['#', ';']) {
            continue;
        }
        let mut fields = line.split_whitespace();
        match fields.next() {
            Some("nameserver") => conf.servers.extend(fields.next().map(str::to_owned)),
            Some("search") => {
                conf.searches = fields
                    .filter(|path| *path != ".")
                    .map(|path| path.trim_end_matches('.').to_owned())
                    .collect();
            }
            Some("options") => fields.for_each(|option| put_option(&mut conf.options, option)),
            _ => {}
        }
    }
    conf
}

/// Sets an option in place of one with the same name.
fn put_option(options: &mut Vec<String>, option: &str) {
    let name = |option: &str| option.split(':').next().unwrap_or_default().to_owned();
    match options.iter_mut().find(|known| name(known) == name(option)) {
        Some(known) => option.clone_into(known),
        None => options.push(option.to_owned()),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cluster,
    Host,
    None,
}

/// An unknown policy is read as `ClusterFirst`, the API's default; `ClusterFirst` of a pod on the
/// host's network is `Default`.
fn kind(pod: &Pod) -> Kind {
    match pod.spec().dns_policy.as_deref() {
        Some("None") => Kind::None,
        Some("Default") => Kind::Host,
        Some("ClusterFirstWithHostNet") => Kind::Cluster,
        Some("ClusterFirst") if pod.host_network() => Kind::Host,
        _ => Kind::Cluster,
    }
}

/// The resolver configuration of `pod`. `host` is the parsed `resolvConf` of the node, `None` when
/// that is set empty; `node_ips` decide which loopback address then stands in for it.
pub fn pod_dns(
    pod: &Pod,
    dns: &DnsConfig,
    host: Option<&ResolvConf>,
    node_ips: &[IpAddr],
) -> PodDns {
    let mut warnings = Vec::new();
    let mut wanted = kind(pod);
    if wanted == Kind::Cluster && dns.cluster_dns.is_empty() {
        warnings.push(DnsWarning::MissingClusterDns);
        wanted = Kind::Host;
    }
    let mut resolv = match wanted {
        Kind::None => ResolvConf::default(),
        Kind::Cluster => ResolvConf {
            servers: dns.cluster_dns.iter().map(IpAddr::to_string).collect(),
            searches: cluster_searches(pod, dns, host),
            options: vec![CLUSTER_OPTIONS.to_owned()],
        },
        Kind::Host => host.cloned().unwrap_or_else(|| loopback_resolver(node_ips)),
    };
    if let Some(own) = &pod.spec().dns_config {
        merge(&mut resolv, own);
    }
    cut(&mut resolv, &mut warnings);
    PodDns { resolv, warnings }
}

fn cluster_searches(pod: &Pod, dns: &DnsConfig, host: Option<&ResolvConf>) -> Vec<String> {
    let of_host = host.map(|host| host.searches.clone()).unwrap_or_default();
    let domain = &dns.cluster_domain;
    if domain.is_empty() {
        return of_host;
    }
    let mut searches =
        vec![format!("{}.svc.{domain}", pod.namespace()), format!("svc.{domain}"), domain.clone()];
    searches.extend(of_host);
    without_duplicates(searches)
}

/// Stands in for a host file that is switched off: no names but the pod's own resolver's.
fn loopback_resolver(node_ips: &[IpAddr]) -> ResolvConf {
    let mut servers: Vec<String> = node_ips
        .iter()
        .map(|ip| if ip.is_ipv6() { "::1".to_owned() } else { "127.0.0.1".to_owned() })
        .collect();
    if servers.is_empty() {
        servers.push("127.0.0.1".to_owned());
    }
    ResolvConf { servers, searches: vec![".".to_owned()], options: Vec::new() }
}

fn merge(resolv: &mut ResolvConf, own: &api::PodDNSConfig) {
    resolv.servers.extend(own.nameservers.iter().flatten().cloned());
    resolv.searches.extend(own.searches.iter().flatten().cloned());
    resolv.servers = without_duplicates(std::mem::take(&mut resolv.servers));
    resolv.searches = without_duplicates(std::mem::take(&mut resolv.searches));
    for option in own.options.iter().flatten() {
        let Some(name) = option.name.as_deref() else { continue };
        match option.value.as_deref() {
            Some(value) if !value.is_empty() => {
                put_option(&mut resolv.options, &format!("{name}:{value}"));
            }
            _ => put_option(&mut resolv.options, name),
        }
    }
}

fn without_duplicates(list: Vec<String>) -> Vec<String> {
    let mut seen = HashSet::new();
    list.into_iter().filter(|entry| seen.insert(entry.clone())).collect()
}

fn cut(resolv: &mut ResolvConf, warnings: &mut Vec<DnsWarning>) {
    if resolv.servers.len() > MAX_NAMESERVERS {
        resolv.servers.truncate(MAX_NAMESERVERS);
        warnings.push(DnsWarning::NameserversCut { applied: resolv.servers.join(" ") });
    }
    let searches = &mut resolv.searches;
    let before = searches.len();
    searches.truncate(MAX_SEARCH_PATHS);
    searches.retain(|path| path.len() <= MAX_SEARCH_PATH);
    while searches.join(" ").len() > MAX_SEARCH_CHARS {
        searches.pop();
    }
    if searches.len() < before {
        warnings.push(DnsWarning::SearchesCut { applied: searches.join(" ") });
    }
}

#[cfg(test)]
mod tests;
