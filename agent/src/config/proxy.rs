//! KubeProxyConfiguration v1alpha1: the file's form and what is taken from it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::file::{FileError, check_kind, decode};
use super::resolve::parse_duration;

#[cfg(test)]
mod tests;

/// API version the proxy part reads.
const API_VERSION: &str = "kubeproxy.config.k8s.io/v1alpha1";

/// What the proxy part runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct ProxySettings {
    /// Credential of the proxy, from `clientConnection.kubeconfig`.
    pub kubeconfig: Option<PathBuf>,
    /// CIDRs as text, comma separated in the file; empty means unknown.
    pub cluster_cidrs: Vec<String>,
    /// CIDRs whose local addresses answer on node ports; empty means all.
    pub node_port_addresses: Vec<String>,
    pub masquerade_all: bool,
    /// Bit of the packet mark, 0 to 31; default 14.
    pub masquerade_bit: u8,
    pub localhost_node_ports: bool,
    pub detect_local: DetectLocal,
    /// Default 1 s.
    pub min_sync_period: Duration,
    /// Default 30 s.
    pub sync_period: Duration,
}

/// How traffic from this node's pods is told from other traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DetectLocal {
    ClusterCidr,
    NodeCidr,
}

impl Default for ProxySettings {
    /// Defaults of kube-proxy v1.36.
    fn default() -> Self {
        Self {
            kubeconfig: None,
            cluster_cidrs: Vec::new(),
            node_port_addresses: Vec::new(),
            masquerade_all: false,
            masquerade_bit: 14,
            localhost_node_ports: true,
            detect_local: DetectLocal::ClusterCidr,
            min_sync_period: Duration::from_secs(1),
            sync_period: Duration::from_secs(30),
        }
    }
}

/// Every field of KubeProxyConfiguration v1alpha1 (v1.36); a `Value` is accepted and not acted on.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Wire {
    kind: Option<String>,
    api_version: Option<String>,
    feature_gates: Option<Value>,
    client_connection: ClientConnection,
    logging: Option<Value>,
    hostname_override: Option<String>,
    bind_address: Option<String>,
    healthz_bind_address: Option<String>,
    metrics_bind_address: Option<String>,
    bind_address_hard_fail: Option<bool>,
    enable_profiling: Option<bool>,
    show_hidden_metrics_for_version: Option<String>,
    mode: Option<String>,
    iptables: Iptables,
    ipvs: Option<Value>,
    nftables: Option<Value>,
    winkernel: Option<Value>,
    detect_local_mode: Option<String>,
    detect_local: Option<Value>,
    #[serde(rename = "clusterCIDR")]
    cluster_cidr: Option<String>,
    node_port_addresses: Option<Vec<String>>,
    oom_score_adj: Option<i64>,
    conntrack: Option<Value>,
    config_sync_period: Option<String>,
    port_range: Option<String>,
    windows_run_as_service: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ClientConnection {
    kubeconfig: Option<String>,
    accept_content_types: Option<String>,
    content_type: Option<String>,
    qps: Option<f64>,
    burst: Option<i64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct Iptables {
    masquerade_bit: Option<i64>,
    masquerade_all: Option<bool>,
    localhost_node_ports: Option<bool>,
    sync_period: Option<String>,
    min_sync_period: Option<String>,
}

/// The settings in a KubeProxyConfiguration object; an error names the field and the mend.
pub fn decode_proxy(path: &Path, object: Map<String, Value>) -> Result<ProxySettings, FileError> {
    read(object).map_err(|problem| FileError::Content { path: path.to_owned(), problem })
}

fn read(object: Map<String, Value>) -> Result<ProxySettings, String> {
    check_kind(&object, "KubeProxyConfiguration", API_VERSION)?;
    let wire: Wire = decode(object)?;
    match wire.mode.as_deref() {
        None | Some("" | "iptables") => {}
        Some(other) => return Err(format!("mode: \"{other}\" is not supported; use iptables")),
    }
    let detect_local = match wire.detect_local_mode.as_deref() {
        None | Some("" | "ClusterCIDR") => DetectLocal::ClusterCidr,
        Some("NodeCIDR") => DetectLocal::NodeCidr,
        Some(other) => {
            return Err(format!(
                "detectLocalMode: \"{other}\" is not supported; use ClusterCIDR or NodeCIDR"
            ));
        }
    };
    let defaults = ProxySettings::default();
    let bit = wire.iptables.masquerade_bit.unwrap_or_else(|| defaults.masquerade_bit.into());
    let masquerade_bit = u8::try_from(bit)
        .ok()
        .filter(|bit| *bit < 32)
        .ok_or_else(|| format!("iptables.masqueradeBit: {bit} is not between 0 and 31"))?;
    let duration = |field: &str, text: &Option<String>, default| match text {
        None => Ok(default),
        Some(text) => parse_duration(text)
            .map(|duration| if duration.is_zero() { default } else { duration })
            .ok_or_else(|| format!("{field}: \"{text}\" is not a duration like 10s or 1m30s")),
    };
    let cidrs = wire.cluster_cidr.unwrap_or_default();
    let cluster_cidrs: Vec<String> = cidrs
        .split(',')
        .map(str::trim)
        .filter(|cidr| !cidr.is_empty())
        .map(str::to_owned)
        .collect();
    let node_port_addresses = wire.node_port_addresses.unwrap_or_default();
    for (field, list) in
        [("clusterCIDR", &cluster_cidrs), ("nodePortAddresses", &node_port_addresses)]
    {
        let bad =
            list.iter().find(|cidr| *cidr != "primary" && cidr.parse::<ipnet::IpNet>().is_err());
        if let Some(bad) = bad {
            return Err(format!("{field}: \"{bad}\" is not a CIDR like 10.244.0.0/16"));
        }
    }
    Ok(ProxySettings {
        kubeconfig: wire.client_connection.kubeconfig.filter(|p| !p.is_empty()).map(PathBuf::from),
        cluster_cidrs,
        node_port_addresses,
        masquerade_all: wire.iptables.masquerade_all.unwrap_or(false),
        masquerade_bit,
        localhost_node_ports: wire.iptables.localhost_node_ports.unwrap_or(true),
        detect_local,
        min_sync_period: duration(
            "iptables.minSyncPeriod",
            &wire.iptables.min_sync_period,
            defaults.min_sync_period,
        )?,
        sync_period: duration(
            "iptables.syncPeriod",
            &wire.iptables.sync_period,
            defaults.sync_period,
        )?,
    })
}
