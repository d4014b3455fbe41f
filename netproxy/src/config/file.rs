//! KubeProxyConfiguration as it stands in a file, and what of it the proxy uses.
//!
//! **What.** Strict serde types of `kubeproxy.config.k8s.io/v1alpha1`: an unknown field is an
//! error that names it. Fields that Linux or iptables mode do not use are read and ignored.
//! **Source.** v1.36; absent, `null` and zero values mean the default, as upstream.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

use super::{ConfigProblem, LocalTraffic, NodePortAddresses, ProxyConfig};
use crate::input::{parse_cidr, parse_ip};

/// The whole file.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the published file format")]
pub struct KubeProxyConfiguration {
    pub api_version: String,
    pub kind: String,
    pub feature_gates: Option<BTreeMap<String, bool>>,
    pub client_connection: Option<ClientConnection>,
    pub logging: Option<serde_json::Value>,
    pub hostname_override: Option<String>,
    pub bind_address: Option<String>,
    pub healthz_bind_address: Option<String>,
    pub metrics_bind_address: Option<String>,
    pub bind_address_hard_fail: Option<bool>,
    pub enable_profiling: Option<bool>,
    pub show_hidden_metrics_for_version: Option<String>,
    pub mode: Option<String>,
    pub iptables: Option<IptablesSection>,
    pub ipvs: Option<serde_json::Value>,
    pub nftables: Option<NftablesSection>,
    pub winkernel: Option<serde_json::Value>,
    pub detect_local_mode: Option<String>,
    pub detect_local: Option<DetectLocal>,
    #[serde(rename = "clusterCIDR")]
    pub cluster_cidr: Option<String>,
    pub node_port_addresses: Option<Vec<String>>,
    pub oom_score_adj: Option<i32>,
    pub conntrack: Option<ConntrackSection>,
    pub config_sync_period: Option<GoDuration>,
    pub port_range: Option<String>,
    pub windows_run_as_service: Option<bool>,
}

/// `clientConnection`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the published file format")]
pub struct ClientConnection {
    pub kubeconfig: Option<String>,
    pub accept_content_types: Option<String>,
    pub content_type: Option<String>,
    pub qps: Option<f64>,
    pub burst: Option<i32>,
}

/// `iptables`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the published file format")]
pub struct IptablesSection {
    pub masquerade_bit: Option<i32>,
    pub masquerade_all: Option<bool>,
    pub localhost_node_ports: Option<bool>,
    pub sync_period: Option<GoDuration>,
    pub min_sync_period: Option<GoDuration>,
}

/// `nftables`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the published file format")]
pub struct NftablesSection {
    pub masquerade_bit: Option<i32>,
    pub masquerade_all: Option<bool>,
    pub sync_period: Option<GoDuration>,
    pub min_sync_period: Option<GoDuration>,
}

/// `detectLocal`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the published file format")]
pub struct DetectLocal {
    pub bridge_interface: Option<String>,
    pub interface_name_prefix: Option<String>,
    #[serde(rename = "clusterCIDRs")]
    pub cluster_cidrs: Option<Vec<String>>,
}

/// `conntrack`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
#[allow(missing_docs, reason = "the names are those of the published file format")]
pub struct ConntrackSection {
    pub max_per_core: Option<i32>,
    pub min: Option<i32>,
    pub tcp_established_timeout: Option<GoDuration>,
    pub tcp_close_wait_timeout: Option<GoDuration>,
    pub tcp_be_liberal: Option<bool>,
    pub udp_timeout: Option<GoDuration>,
    pub udp_stream_timeout: Option<GoDuration>,
}

/// A duration as Go spells it: `30s`, `1m30s`, `1.5h`, `0`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GoDuration(pub Duration);

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).ok_or_else(|| {
            serde::de::Error::custom(format_args!("{text:?} is not a duration such as 30s"))
        })
    }
}

/// The duration that `text` spells, or nothing. Negative durations are refused.
fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(number_end);
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        let amount = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        total = total.checked_add(amount)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

/// One thing in the file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileProblem {
    /// Not the API version and kind that are understood.
    #[error(
        "unsupported {api_version:?} {kind:?}: want kubeproxy.config.k8s.io/v1alpha1 KubeProxyConfiguration"
    )]
    Kind {
        /// Found version.
        api_version: String,
        /// Found kind.
        kind: String,
    },
    /// A value that cannot be read or is not supported.
    #[error("{field}: invalid value {value:?}")]
    Value {
        /// Path of the field.
        field: &'static str,
        /// Found value.
        value: String,
    },
    /// Values that are readable but make no usable configuration.
    #[error("configuration cannot be used")]
    Config(#[source] ConfigProblem),
}

impl KubeProxyConfiguration {
    /// The configuration for the node of that name; all problems together if there are any.
    ///
    /// `hostnameOverride`, `clientConnection`, `oomScoreAdj` and `mode` are for the caller.
    pub fn proxy_config(&self, node_name: &str) -> Result<ProxyConfig, Vec<FileProblem>> {
        let mut problems = Vec::new();
        if self.api_version != "kubeproxy.config.k8s.io/v1alpha1"
            || self.kind != "KubeProxyConfiguration"
        {
            problems.push(FileProblem::Kind {
                api_version: self.api_version.clone(),
                kind: self.kind.clone(),
            });
        }
        let mut config = ProxyConfig::new(node_name);
        self.read_iptables(&mut config, &mut problems);
        config.node_ips = self.node_ips(&mut problems);
        config.local_traffic = self.local_traffic(&mut problems);
        config.node_port_addresses = self.node_port_addresses(&mut problems);
        config.healthz_bind_address = bind_address(
            "healthzBindAddress",
            self.healthz_bind_address.as_deref(),
            config.healthz_bind_address,
            &mut problems,
        );
        config.metrics_bind_address = bind_address(
            "metricsBindAddress",
            self.metrics_bind_address.as_deref(),
            config.metrics_bind_address,
            &mut problems,
        );
        problems.extend(config.problems().into_iter().map(FileProblem::Config));
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    fn read_iptables(&self, config: &mut ProxyConfig, problems: &mut Vec<FileProblem>) {
        let Some(section) = &self.iptables else { return };
        if let Some(bit) = section.masquerade_bit {
            match u8::try_from(bit) {
                Ok(bit) => config.masquerade_bit = bit,
                Err(_) => problems.push(FileProblem::Value {
                    field: "iptables.masqueradeBit",
                    value: bit.to_string(),
                }),
            }
        }
        config.masquerade_all = section.masquerade_all.unwrap_or(config.masquerade_all);
        config.localhost_node_ports =
            section.localhost_node_ports.unwrap_or(config.localhost_node_ports);
        let set = |value: Option<GoDuration>| value.filter(|period| !period.0.is_zero());
        if let Some(period) = set(section.sync_period) {
            config.sync_period = period.0;
        }
        if let Some(period) = set(section.min_sync_period) {
            config.min_sync_period = period.0;
        }
    }

    /// `bindAddress` names the node's address of its family, unless it is the wildcard.
    fn node_ips(&self, problems: &mut Vec<FileProblem>) -> Vec<IpAddr> {
        let Some(text) = self.bind_address.as_deref().filter(|text| !text.is_empty()) else {
            return Vec::new();
        };
        match parse_ip(text) {
            Some(address) if address.is_unspecified() => Vec::new(),
            Some(address) => vec![address],
            None => {
                problems.push(FileProblem::Value { field: "bindAddress", value: text.to_owned() });
                Vec::new()
            }
        }
    }

    fn local_traffic(&self, problems: &mut Vec<FileProblem>) -> LocalTraffic {
        let detect = self.detect_local.clone().unwrap_or_default();
        match self.detect_local_mode.as_deref().unwrap_or_default() {
            "" | "ClusterCIDR" => LocalTraffic::ClusterCidrs(self.cluster_cidrs(problems)),
            "NodeCIDR" => LocalTraffic::NodeCidrs,
            "BridgeInterface" => {
                LocalTraffic::Bridge(detect.bridge_interface.unwrap_or_default().into())
            }
            "InterfaceNamePrefix" => LocalTraffic::InterfacePrefix(
                detect.interface_name_prefix.unwrap_or_default().into(),
            ),
            other => {
                problems
                    .push(FileProblem::Value { field: "detectLocalMode", value: other.to_owned() });
                LocalTraffic::ClusterCidrs(Vec::new())
            }
        }
    }

    fn cluster_cidrs(&self, problems: &mut Vec<FileProblem>) -> Vec<IpNet> {
        let listed = self.cluster_cidr.as_deref().unwrap_or_default();
        let parts = listed.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.filter_map(|part| cidr("clusterCIDR", part, problems)).collect()
    }

    fn node_port_addresses(&self, problems: &mut Vec<FileProblem>) -> NodePortAddresses {
        match self.node_port_addresses.as_deref().unwrap_or_default() {
            [] => NodePortAddresses::All,
            [only] if only == "primary" => NodePortAddresses::Primary,
            listed => NodePortAddresses::Within(
                listed
                    .iter()
                    .filter_map(|text| cidr("nodePortAddresses", text, problems))
                    .collect(),
            ),
        }
    }
}

fn cidr(field: &'static str, text: &str, problems: &mut Vec<FileProblem>) -> Option<IpNet> {
    let parsed = parse_cidr(text);
    if parsed.is_none() {
        problems.push(FileProblem::Value { field, value: text.to_owned() });
    }
    parsed
}

/// The address of a server: an address with a port, or an address alone with the default port.
/// An empty text means the default.
fn bind_address(
    field: &'static str,
    text: Option<&str>,
    default: Option<SocketAddr>,
    problems: &mut Vec<FileProblem>,
) -> Option<SocketAddr> {
    let Some(text) = text.filter(|text| !text.is_empty()) else { return default };
    let default_port = default.map_or(0, |address| address.port());
    let parsed = text
        .parse()
        .ok()
        .or_else(|| parse_ip(text).map(|address| SocketAddr::new(address, default_port)))
        .or_else(|| {
            let port = text.strip_prefix(':')?.parse().ok()?;
            Some(SocketAddr::from(([0, 0, 0, 0], port)))
        });
    if parsed.is_none() {
        problems.push(FileProblem::Value { field, value: text.to_owned() });
    }
    parsed
}

#[cfg(test)]
mod tests;
