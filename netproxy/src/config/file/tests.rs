use std::time::Duration;

use super::{FileProblem, KubeProxyConfiguration, parse_duration};
use crate::config::{LocalTraffic, NodePortAddresses, ProxyConfig};

fn read(fields: &str) -> Result<KubeProxyConfiguration, serde_json::Error> {
    serde_json::from_str(&format!(
        r#"{{"apiVersion":"kubeproxy.config.k8s.io/v1alpha1","kind":"KubeProxyConfiguration"{fields}}}"#
    ))
}

#[test]
fn file_of_kubeadm_is_read() {
    let file = read(
        r#","bindAddress":"0.0.0.0","bindAddressHardFail":false,
        "clientConnection":{"acceptContentTypes":"","burst":0,"contentType":"",
            "kubeconfig":"/var/lib/kube-proxy/kubeconfig.conf","qps":0},
        "clusterCIDR":"10.244.0.0/16,fd00:10:244::/56","configSyncPeriod":"0s",
        "conntrack":{"maxPerCore":null,"min":null,"tcpBeLiberal":false,
            "tcpCloseWaitTimeout":null,"tcpEstablishedTimeout":null,"udpStreamTimeout":"0s",
            "udpTimeout":"0s"},
        "detectLocal":{"bridgeInterface":"","interfaceNamePrefix":""},"detectLocalMode":"",
        "enableProfiling":false,"healthzBindAddress":"","hostnameOverride":"",
        "iptables":{"localhostNodePorts":null,"masqueradeAll":false,"masqueradeBit":null,
            "minSyncPeriod":"0s","syncPeriod":"0s"},
        "logging":{"flushFrequency":0,"options":{"json":{"infoBufferSize":"0"}},"verbosity":0},
        "metricsBindAddress":"","mode":"","nodePortAddresses":null,"oomScoreAdj":null,
        "portRange":"","showHiddenMetricsForVersion":"",
        "winkernel":{"enableDSR":false}"#,
    )
    .unwrap();
    let mut expected = ProxyConfig::new("node-1");
    expected.local_traffic = LocalTraffic::ClusterCidrs(vec![
        "10.244.0.0/16".parse().unwrap(),
        "fd00:10:244::/56".parse().unwrap(),
    ]);
    assert_eq!(file.proxy_config("node-1").unwrap(), expected);
}

#[test]
fn unknown_field_is_named() {
    let error = read(r#","iptables":{"masqueradeBits":3}"#).unwrap_err().to_string();
    assert!(error.contains("masqueradeBits"), "{error}");
}

#[test]
fn every_unusable_value_is_reported() {
    let file = read(
        r#","detectLocalMode":"Magic","bindAddress":"here","metricsBindAddress":"x:1",
        "nodePortAddresses":["10.0.0.0/8","nope"],"iptables":{"masqueradeBit":-1}"#,
    )
    .unwrap();
    let fields: Vec<_> = file
        .proxy_config("node-1")
        .unwrap_err()
        .into_iter()
        .map(|problem| match problem {
            FileProblem::Value { field, .. } => field,
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(
        fields,
        [
            "iptables.masqueradeBit",
            "bindAddress",
            "detectLocalMode",
            "nodePortAddresses",
            "metricsBindAddress"
        ]
    );
}

#[test]
fn values_reach_the_configuration() {
    let file = read(
        r#","nodePortAddresses":["primary"],"detectLocalMode":"InterfaceNamePrefix",
        "detectLocal":{"interfaceNamePrefix":"veth"},"healthzBindAddress":"127.0.0.1",
        "iptables":{"masqueradeBit":5,"masqueradeAll":true,"localhostNodePorts":false,
            "syncPeriod":"1m30s","minSyncPeriod":"500ms"}"#,
    )
    .unwrap();
    let config = file.proxy_config("n").unwrap();
    assert_eq!(config.node_port_addresses, NodePortAddresses::Primary);
    assert_eq!(config.local_traffic, LocalTraffic::InterfacePrefix("veth".into()));
    assert_eq!(config.healthz_bind_address.unwrap().to_string(), "127.0.0.1:10256");
    assert_eq!(config.sync_period, Duration::from_secs(90));
    assert_eq!(config.min_sync_period, Duration::from_millis(500));
    assert_eq!((config.masquerade_bit, config.masquerade_all), (5, true));
}

#[test]
fn durations_are_read_as_go_spells_them() {
    let cases = [
        ("0", Some(0)),
        ("0s", Some(0)),
        ("1h1m1s", Some(3_661_000)),
        ("1.5s", Some(1500)),
        ("10ms", Some(10)),
        ("", None),
        ("5", None),
        ("-1s", None),
        ("1d", None),
    ];
    for (text, millis) in cases {
        assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
    }
}
