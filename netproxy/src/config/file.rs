//! KubeProxyConfiguration as it stands in a file, and what of it the proxy uses.
//!
//! **What.** Strict serde types of `kubeproxy.config.k8s.io/v1alpha1`: an unknown field and a
//! value of another type are errors that name the field, all of them together. Fields that do not
//! matter here (Windows, IPVS, profiling, logging, what was removed from the format) are read and
//! ignored.
//! **Source.** v1.36; absent, `null` and zero values mean the default, as upstream.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

mod duration;
mod effective;
mod problem;
mod resolve;

pub use duration::GoDuration;
pub use problem::FileProblem;

/// An object of the file, all of whose fields may be left out.
macro_rules! object {
    ($(#[$about:meta])* $name:ident {
        $($(#[$attribute:meta])* $field:ident: $kind:ty,)*
    }) => {
        $(#[$about])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields, rename_all = "camelCase")]
        #[allow(missing_docs, reason = "the names are those of the published file format")]
        pub struct $name {
            $($(#[$attribute])* pub $field: Option<$kind>,)*
        }
    };
}

object! {
    /// The whole file.
    KubeProxyConfiguration {
        api_version: String,
        kind: String,
        feature_gates: BTreeMap<String, bool>,
        client_connection: ClientConnection,
        logging: LoggingSection,
        hostname_override: String,
        bind_address: String,
        healthz_bind_address: String,
        metrics_bind_address: String,
        bind_address_hard_fail: bool,
        enable_profiling: bool,
        show_hidden_metrics_for_version: String,
        mode: String,
        iptables: IptablesSection,
        ipvs: IpvsSection,
        nftables: NftablesSection,
        winkernel: WinkernelSection,
        detect_local_mode: String,
        detect_local: DetectLocal,
        #[serde(rename = "clusterCIDR")]
        cluster_cidr: String,
        node_port_addresses: Vec<String>,
        oom_score_adj: i32,
        conntrack: ConntrackSection,
        config_sync_period: GoDuration,
        port_range: String,
        windows_run_as_service: bool,
        // Both were removed from the format and still stand in old files.
        #[serde(skip_serializing)]
        udp_idle_timeout: GoDuration,
        #[serde(skip_serializing)]
        resource_container: String,
    }
}

object! {
    /// `clientConnection`.
    ClientConnection {
        kubeconfig: String,
        accept_content_types: String,
        content_type: String,
        qps: f64,
        burst: i32,
    }
}

object! {
    /// `logging`.
    LoggingSection {
        format: String,
        // Text such as `5s`, or a number of nanoseconds.
        flush_frequency: Value,
        verbosity: u32,
        vmodule: Value,
        options: Value,
    }
}

object! {
    /// `iptables`.
    IptablesSection {
        masquerade_bit: i32,
        masquerade_all: bool,
        localhost_node_ports: bool,
        sync_period: GoDuration,
        min_sync_period: GoDuration,
    }
}

object! {
    /// `nftables`.
    NftablesSection {
        masquerade_bit: i32,
        masquerade_all: bool,
        sync_period: GoDuration,
        min_sync_period: GoDuration,
    }
}

object! {
    /// `ipvs`.
    IpvsSection {
        sync_period: GoDuration,
        min_sync_period: GoDuration,
        scheduler: String,
        #[serde(rename = "excludeCIDRs")]
        exclude_cidrs: Vec<String>,
        #[serde(rename = "strictARP")]
        strict_arp: bool,
        tcp_timeout: GoDuration,
        tcp_fin_timeout: GoDuration,
        udp_timeout: GoDuration,
    }
}

object! {
    /// `winkernel`.
    WinkernelSection {
        network_name: String,
        source_vip: String,
        #[serde(rename = "enableDSR")]
        enable_dsr: bool,
        root_hns_endpoint_name: String,
        forward_health_check_vip: bool,
    }
}

object! {
    /// `detectLocal`.
    DetectLocal {
        bridge_interface: String,
        interface_name_prefix: String,
    }
}

object! {
    /// `conntrack`.
    ConntrackSection {
        max_per_core: i32,
        min: i32,
        tcp_established_timeout: GoDuration,
        tcp_close_wait_timeout: GoDuration,
        tcp_be_liberal: bool,
        udp_timeout: GoDuration,
        udp_stream_timeout: GoDuration,
        // Removed from the format; it still stands in old files.
        #[serde(skip_serializing)]
        max: i32,
    }
}

impl KubeProxyConfiguration {
    /// The typed form of an object. Every field that is unknown or holds a value of another type
    /// is told, with its path.
    pub fn read(object: Map<String, Value>) -> Result<Self, Vec<FileProblem>> {
        let problems = problems_of(&object);
        if !problems.is_empty() {
            return Err(problems);
        }
        serde_json::from_value(Value::Object(object))
            .map_err(|error| vec![FileProblem::of("", "file", &error)])
    }
}

/// serde stops at the first field it does not like; so each is tried alone.
fn problems_of(object: &Map<String, Value>) -> Vec<FileProblem> {
    let mut problems = Vec::new();
    for (name, value) in object {
        let Value::Object(section) = value else {
            each_alone::<KubeProxyConfiguration>("", std::iter::once((name, value)), &mut problems);
            continue;
        };
        let path = format!("{name}.");
        let found = &mut problems;
        match &**name {
            "clientConnection" => each_alone::<ClientConnection>(&path, section, found),
            "logging" => each_alone::<LoggingSection>(&path, section, found),
            "iptables" => each_alone::<IptablesSection>(&path, section, found),
            "nftables" => each_alone::<NftablesSection>(&path, section, found),
            "ipvs" => each_alone::<IpvsSection>(&path, section, found),
            "winkernel" => each_alone::<WinkernelSection>(&path, section, found),
            "detectLocal" => each_alone::<DetectLocal>(&path, section, found),
            "conntrack" => each_alone::<ConntrackSection>(&path, section, found),
            _ => each_alone::<KubeProxyConfiguration>("", [(name, value)], found),
        }
    }
    problems
}

fn each_alone<'a, T: DeserializeOwned>(
    path: &str,
    fields: impl IntoIterator<Item = (&'a String, &'a Value)>,
    problems: &mut Vec<FileProblem>,
) {
    for (name, value) in fields {
        let alone = Map::from_iter([(name.clone(), value.clone())]);
        if let Err(error) = serde_json::from_value::<T>(Value::Object(alone)) {
            problems.push(FileProblem::of(path, name, &error));
        }
    }
}

#[cfg(test)]
mod tests;
