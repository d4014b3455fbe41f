//! Pure. From the file's fields to the values the proxy runs with.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::{DetectLocal, FileProblem, GoDuration, KubeProxyConfiguration};
use crate::config::{
    BindFailures, ConntrackSettings, LocalTraffic, ModeSettings, NodePortAddresses, ProxyConfig,
    ProxyMode,
};
use crate::input::{parse_cidr, parse_ip};

type Problems = Vec<FileProblem>;

/// The fields that the sections `iptables` and `nftables` share, with their paths.
struct ModeFields {
    masquerade_bit: (&'static str, Option<i32>),
    masquerade_all: Option<bool>,
    sync_period: Option<GoDuration>,
    min_sync_period: (&'static str, Option<GoDuration>),
}

impl KubeProxyConfiguration {
    /// The configuration for the node of that name; all problems together if there are any.
    ///
    /// `hostnameOverride`, `clientConnection` and `oomScoreAdj` are for the caller. The settings
    /// of the iptables mode are in force; [`ProxyConfig::in_nftables_mode`] changes that.
    pub fn proxy_config(&self, node_name: &str) -> Result<ProxyConfig, Vec<FileProblem>> {
        let mut problems = Vec::new();
        self.check_kind(&mut problems);
        let mut config = ProxyConfig::new(node_name);
        config.mode = self.proxy_mode(&mut problems);
        self.read_modes(&mut config, &mut problems);
        config.node_ips = self.node_ips(&mut problems);
        config.local_traffic = self.local_traffic(&mut problems);
        self.read_node_port_addresses(&mut config, &mut problems);
        self.read_servers(&mut config, &mut problems);
        self.check_numbers(&mut problems);
        if let Some(section) = &self.conntrack {
            config.conntrack = ConntrackSettings::from_section(section);
        }
        problems.extend(config.problems().into_iter().map(FileProblem::Config));
        if problems.is_empty() { Ok(config) } else { Err(problems) }
    }

    fn check_kind(&self, problems: &mut Problems) {
        let api_version = self.api_version.clone().unwrap_or_default();
        let kind = self.kind.clone().unwrap_or_default();
        if api_version != "kubeproxy.config.k8s.io/v1alpha1" || kind != "KubeProxyConfiguration" {
            problems.push(FileProblem::Kind { api_version, kind });
        }
    }

    fn proxy_mode(&self, problems: &mut Problems) -> ProxyMode {
        let word = self.mode.as_deref().unwrap_or_default();
        ProxyMode::from_word(word).unwrap_or_else(|| {
            let want = match word {
                "ipvs" => {
                    "is not supported; set nftables, which takes its place, or iptables, or auto"
                }
                _ => "set iptables, nftables or auto",
            };
            problems.push(FileProblem::value("mode", word, want));
            ProxyMode::default()
        })
    }

    fn read_modes(&self, config: &mut ProxyConfig, problems: &mut Problems) {
        let section = self.iptables.clone().unwrap_or_default();
        if let Some(localhost) = section.localhost_node_ports {
            config.localhost_node_ports = localhost;
        }
        let fields = ModeFields {
            masquerade_bit: ("iptables.masqueradeBit", section.masquerade_bit),
            masquerade_all: section.masquerade_all,
            sync_period: section.sync_period,
            min_sync_period: ("iptables.minSyncPeriod", section.min_sync_period),
        };
        let settings = mode_settings(ModeSettings::iptables(), &fields, problems);
        config.masquerade_all = settings.masquerade_all;
        config.masquerade_bit = settings.masquerade_bit;
        config.sync_period = settings.sync_period;
        config.min_sync_period = settings.min_sync_period;

        let section = self.nftables.clone().unwrap_or_default();
        let fields = ModeFields {
            masquerade_bit: ("nftables.masqueradeBit", section.masquerade_bit),
            masquerade_all: section.masquerade_all,
            sync_period: section.sync_period,
            min_sync_period: ("nftables.minSyncPeriod", section.min_sync_period),
        };
        config.nftables = mode_settings(ModeSettings::nftables(), &fields, problems);
    }

    /// `bindAddress` names the node's address of its family, unless it is the wildcard.
    fn node_ips(&self, problems: &mut Problems) -> Vec<IpAddr> {
        let text = self.bind_address.as_deref().unwrap_or_default();
        match parse_ip(text) {
            Some(address) if !address.is_unspecified() => vec![address],
            None if !text.is_empty() => {
                problems.push(FileProblem::value("bindAddress", text, "want an IP address"));
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    fn local_traffic(&self, problems: &mut Problems) -> LocalTraffic {
        let DetectLocal { bridge_interface, interface_name_prefix } =
            self.detect_local.clone().unwrap_or_default();
        // Looked at in every mode, so that a mistake is told.
        let cidrs = self.cluster_cidrs(problems);
        match self.detect_local_mode.as_deref().unwrap_or_default() {
            "" | "ClusterCIDR" => LocalTraffic::ClusterCidrs(cidrs),
            "NodeCIDR" => LocalTraffic::NodeCidrs,
            "BridgeInterface" => LocalTraffic::Bridge(bridge_interface.unwrap_or_default().into()),
            "InterfaceNamePrefix" => {
                LocalTraffic::InterfacePrefix(interface_name_prefix.unwrap_or_default().into())
            }
            other => {
                let want = "set ClusterCIDR, NodeCIDR, BridgeInterface or InterfaceNamePrefix";
                problems.push(FileProblem::value("detectLocalMode", other, want));
                LocalTraffic::ClusterCidrs(Vec::new())
            }
        }
    }

    fn cluster_cidrs(&self, problems: &mut Problems) -> Vec<IpNet> {
        let listed = self.cluster_cidr.as_deref().unwrap_or_default();
        let parts = listed.split(',').map(str::trim).filter(|part| !part.is_empty());
        parts.filter_map(|part| cidr("clusterCIDR", part, problems)).collect()
    }

    fn read_node_port_addresses(&self, config: &mut ProxyConfig, problems: &mut Problems) {
        let listed = self.node_port_addresses.as_deref().unwrap_or_default();
        if !listed.is_empty() {
            let addresses = node_port_addresses(listed, problems);
            config.nftables.node_port_addresses = addresses.clone();
            config.node_port_addresses = addresses;
        }
    }

    fn read_servers(&self, config: &mut ProxyConfig, problems: &mut Problems) {
        if self.bind_address_hard_fail.unwrap_or_default() {
            config.bind_failures = BindFailures::Fatal;
        }
        let bind = self.bind_address.as_deref().and_then(parse_ip);
        if bind.is_some_and(|address| address.is_ipv6()) {
            config.healthz_bind_address = Some(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 10256)));
            config.metrics_bind_address = Some(SocketAddr::from((Ipv6Addr::LOCALHOST, 10249)));
        }
        for (field, text, address) in [
            ("healthzBindAddress", &self.healthz_bind_address, &mut config.healthz_bind_address),
            ("metricsBindAddress", &self.metrics_bind_address, &mut config.metrics_bind_address),
        ] {
            if let Some(text) = text.as_deref().filter(|text| !text.is_empty()) {
                let default_port = address.map_or(0, |address| address.port());
                *address = server_address(text, default_port);
                if address.is_none() {
                    let want = "want an IP address, or an IP address and a port";
                    problems.push(FileProblem::value(field, text, want));
                }
            }
        }
    }

    /// Numbers that are checked although nothing here is made of them.
    fn check_numbers(&self, problems: &mut Problems) {
        if let Some(score) = self.oom_score_adj.filter(|score| !(-1000..=1000).contains(score)) {
            problems.push(FileProblem::value("oomScoreAdj", score, "want -1000 to 1000"));
        }
        let burst = self.client_connection.as_ref().and_then(|connection| connection.burst);
        if let Some(burst) = burst.filter(|burst| *burst < 0) {
            problems.push(FileProblem::value("clientConnection.burst", burst, "want 0 or more"));
        }
        let conntrack = self.conntrack.clone().unwrap_or_default();
        for (field, number) in
            [("conntrack.maxPerCore", conntrack.max_per_core), ("conntrack.min", conntrack.min)]
        {
            if let Some(number) = number.filter(|number| *number < 0) {
                problems.push(FileProblem::value(field, number, "want 0 or more"));
            }
        }
    }
}

/// `defaults`, overridden by what the section sets. A value that is wrong is told and left out.
fn mode_settings(
    defaults: ModeSettings,
    fields: &ModeFields,
    problems: &mut Problems,
) -> ModeSettings {
    let mut settings = defaults;
    let (field, bit) = fields.masquerade_bit;
    if let Some(bit) = bit {
        match u8::try_from(bit) {
            Ok(bit) if bit <= 31 => settings.masquerade_bit = bit,
            _ => problems.push(FileProblem::value(field, bit, "want a bit, 0 to 31")),
        }
    }
    settings.masquerade_all = fields.masquerade_all.unwrap_or(settings.masquerade_all);
    let set = |value: Option<GoDuration>| value.filter(|period| !period.0.is_zero());
    if let Some(period) = set(fields.sync_period) {
        settings.sync_period = period.0;
    }
    let (field, period) = fields.min_sync_period;
    let period = set(period).map_or(settings.min_sync_period, |period| period.0);
    if period > settings.sync_period {
        let want = "want no more than syncPeriod";
        problems.push(FileProblem::value(field, GoDuration(period), want));
    } else {
        settings.min_sync_period = period;
    }
    settings
}

/// Networks, `primary`, and the words `localhost` and `all` that v1.37 adds, in any combination.
fn node_port_addresses(listed: &[String], problems: &mut Problems) -> NodePortAddresses {
    let mut networks = Vec::new();
    let (mut all, mut primary) = (false, false);
    for text in listed {
        match &**text {
            "all" => all = true,
            "primary" => primary = true,
            "localhost" => networks.extend(loopback()),
            text => networks.extend(cidr("nodePortAddresses", text, problems)),
        }
    }
    match (all, primary) {
        (true, _) => NodePortAddresses::All,
        (false, true) if networks.is_empty() => NodePortAddresses::Primary,
        (false, true) => NodePortAddresses::PrimaryAnd(networks),
        (false, false) => NodePortAddresses::Within(networks),
    }
}

fn loopback() -> [IpNet; 2] {
    let v4 = ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8);
    [IpNet::V4(v4), IpNet::V6(Ipv6Addr::LOCALHOST.into())]
}

fn cidr(field: &'static str, text: &str, problems: &mut Problems) -> Option<IpNet> {
    let parsed = parse_cidr(text);
    if parsed.is_none() {
        let want = match field {
            "nodePortAddresses" => "want a network such as 10.0.0.0/8, primary, localhost or all",
            _ => "want a network such as 10.0.0.0/8",
        };
        problems.push(FileProblem::value(field, text, want));
    }
    parsed
}

/// An address with a port, an address alone, or `:port`.
fn server_address(text: &str, default_port: u16) -> Option<SocketAddr> {
    text.parse()
        .ok()
        .or_else(|| parse_ip(text).map(|address| SocketAddr::new(address, default_port)))
        .or_else(|| {
            let port = text.strip_prefix(':')?.parse().ok()?;
            Some(SocketAddr::from(([0, 0, 0, 0], port)))
        })
}
