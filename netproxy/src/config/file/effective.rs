//! Pure. The file as `/configz` shows it: with the values that stand for what was left out.

use std::time::Duration;

use serde_json::Value;

use super::{GoDuration, KubeProxyConfiguration};
use crate::config::{ModeSettings, ProxyConfig};

impl KubeProxyConfiguration {
    /// The file that says in full what `config`, which was made from this one, runs with.
    pub fn effective(&self, config: &ProxyConfig) -> Value {
        let mut file = self.clone();
        file.api_version = Some("kubeproxy.config.k8s.io/v1alpha1".to_owned());
        file.kind = Some("KubeProxyConfiguration".to_owned());
        file.hostname_override = Some(config.node_name.to_string());
        file.mode = Some(config.mode.word().to_owned());
        let text = |field: &mut Option<String>, default: &str| {
            if field.as_deref().unwrap_or_default().is_empty() {
                *field = Some(default.to_owned());
            }
        };
        text(&mut file.bind_address, "0.0.0.0");
        text(&mut file.detect_local_mode, "ClusterCIDR");
        let address = |address: Option<std::net::SocketAddr>| address.map(|a| a.to_string());
        file.healthz_bind_address = address(config.healthz_bind_address);
        file.metrics_bind_address = address(config.metrics_bind_address);
        file.bind_address_hard_fail.get_or_insert_default();
        file.enable_profiling.get_or_insert_default();
        file.feature_gates.get_or_insert_default();
        file.node_port_addresses.get_or_insert_default();
        file.cluster_cidr.get_or_insert_default();
        file.detect_local.get_or_insert_default();
        file.oom_score_adj.get_or_insert(-999);
        period(&mut file.config_sync_period, Duration::from_secs(15 * 60));
        file.fill_client();
        file.fill_modes(config);
        file.fill_conntrack();
        let mut value = serde_json::to_value(&file).unwrap_or_default();
        drop_nulls(&mut value);
        value
    }

    fn fill_client(&mut self) {
        let client = self.client_connection.get_or_insert_default();
        client.kubeconfig.get_or_insert_default();
        if client.content_type.as_deref().unwrap_or_default().is_empty() {
            client.content_type = Some("application/json".to_owned());
        }
    }

    fn fill_modes(&mut self, config: &ProxyConfig) {
        let iptables = self.iptables.get_or_insert_default();
        iptables.localhost_node_ports = Some(config.localhost_node_ports);
        iptables.masquerade_bit.get_or_insert(ModeSettings::iptables().masquerade_bit.into());
        iptables.masquerade_all.get_or_insert_default();
        period(&mut iptables.sync_period, ModeSettings::iptables().sync_period);
        period(&mut iptables.min_sync_period, ModeSettings::iptables().min_sync_period);
        let nftables = self.nftables.get_or_insert_default();
        nftables.masquerade_bit = Some(config.nftables.masquerade_bit.into());
        nftables.masquerade_all = Some(config.nftables.masquerade_all);
        nftables.sync_period = Some(GoDuration(config.nftables.sync_period));
        nftables.min_sync_period = Some(GoDuration(config.nftables.min_sync_period));
    }

    /// The defaults of kube-proxy, v1.36.
    fn fill_conntrack(&mut self) {
        let conntrack = self.conntrack.get_or_insert_default();
        conntrack.max_per_core.get_or_insert(32_768);
        conntrack.min.get_or_insert(131_072);
        let day = Duration::from_secs(24 * 3600);
        conntrack.tcp_established_timeout.get_or_insert(GoDuration(day));
        let hour = Duration::from_secs(3600);
        conntrack.tcp_close_wait_timeout.get_or_insert(GoDuration(hour));
        conntrack.tcp_be_liberal.get_or_insert_default();
        conntrack.udp_timeout.get_or_insert_default();
        conntrack.udp_stream_timeout.get_or_insert_default();
    }
}

/// Zero stands for the default here.
fn period(field: &mut Option<GoDuration>, default: Duration) {
    if field.is_none_or(|period| period.0.is_zero()) {
        *field = Some(GoDuration(default));
    }
}

fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, value| !value.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}
