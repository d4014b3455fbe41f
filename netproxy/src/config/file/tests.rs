use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{FileProblem, KubeProxyConfiguration};
use crate::config::{
    BindFailures, LocalTraffic, ModeSettings, NodePortAddresses, ProxyConfig, ProxyMode,
};

fn object(mut fields: Value) -> Map<String, Value> {
    fields["apiVersion"] = "kubeproxy.config.k8s.io/v1alpha1".into();
    fields["kind"] = "KubeProxyConfiguration".into();
    fields.as_object().unwrap().clone()
}

fn read(fields: Value) -> KubeProxyConfiguration {
    KubeProxyConfiguration::read(object(fields)).unwrap()
}

fn config(fields: Value) -> ProxyConfig {
    read(fields).proxy_config("n").unwrap()
}

/// What kubeadm writes.
fn of_kubeadm() -> Value {
    json!({
        "bindAddress": "0.0.0.0", "bindAddressHardFail": false,
        "clientConnection": {"acceptContentTypes": "", "burst": 0, "contentType": "",
            "kubeconfig": "/var/lib/kube-proxy/kubeconfig.conf", "qps": 0},
        "clusterCIDR": "10.244.0.0/16,fd00:10:244::/56", "configSyncPeriod": "0s",
        "conntrack": {"maxPerCore": null, "min": null, "tcpBeLiberal": false,
            "tcpCloseWaitTimeout": null, "tcpEstablishedTimeout": null,
            "udpStreamTimeout": "0s", "udpTimeout": "0s"},
        "detectLocal": {"bridgeInterface": "", "interfaceNamePrefix": ""}, "detectLocalMode": "",
        "enableProfiling": false, "healthzBindAddress": "", "hostnameOverride": "",
        "iptables": {"localhostNodePorts": null, "masqueradeAll": false, "masqueradeBit": null,
            "minSyncPeriod": "0s", "syncPeriod": "0s"},
        "ipvs": {"excludeCIDRs": null, "minSyncPeriod": "0s", "scheduler": "", "strictARP": false,
            "syncPeriod": "0s", "tcpFinTimeout": "0s", "tcpTimeout": "0s", "udpTimeout": "0s"},
        "logging": {"flushFrequency": 0, "options": {"json": {"infoBufferSize": "0"},
            "text": {"infoBufferSize": "0"}}, "verbosity": 0},
        "metricsBindAddress": "", "mode": "",
        "nftables": {"masqueradeAll": false, "masqueradeBit": null, "minSyncPeriod": "0s",
            "syncPeriod": "0s"},
        "nodePortAddresses": null, "oomScoreAdj": null, "portRange": "",
        "showHiddenMetricsForVersion": "",
        "winkernel": {"enableDSR": false, "forwardHealthCheckVip": false, "networkName": "",
            "rootHnsEndpointName": "", "sourceVip": ""},
    })
}

#[test]
fn file_of_kubeadm_is_read() {
    let mut expected = ProxyConfig::new("n");
    expected.local_traffic = LocalTraffic::ClusterCidrs(vec![
        "10.244.0.0/16".parse().unwrap(),
        "fd00:10:244::/56".parse().unwrap(),
    ]);
    assert_eq!(config(of_kubeadm()), expected);
}

#[test]
fn fields_of_other_systems_modes_and_times_are_tolerated() {
    let fields = json!({
        "featureGates": {"SupportIPVSProxyMode": true, "NoSuchGate": false},
        "windowsRunAsService": true, "udpIdleTimeout": "250ms", "resourceContainer": "/kube-proxy",
        "conntrack": {"max": 0}, "portRange": "1-2", "enableProfiling": true,
        "ipvs": {"scheduler": "sed", "excludeCIDRs": ["10.0.0.0/8"]},
        "winkernel": {"sourceVip": "1.2.3.4"},
        "logging": {"format": "json", "flushFrequency": "5s", "vmodule": []},
    });
    assert_eq!(config(fields), ProxyConfig::new("n"));
}

#[test]
fn every_unknown_field_and_wrong_type_is_told_with_its_path() {
    let fields = json!({
        "mod": "x", "enableProfiling": "yes", "nodePortAddresses": "10.0.0.0/8",
        "iptables": {"masqueradeBits": 3, "syncPeriod": 30}, "conntrack": 7,
        "nftables": {"localhostNodePorts": true}, "featureGates": {"A": "b"},
    });
    let problems = KubeProxyConfiguration::read(object(fields)).unwrap_err();
    let told: Vec<String> = problems.iter().map(ToString::to_string).collect();
    let expected = [
        "conntrack: invalid type",
        "enableProfiling: invalid type",
        "featureGates: invalid type",
        "unknown field \"iptables.masqueradeBits\"; remove it or correct its spelling",
        "iptables.syncPeriod: invalid type",
        "unknown field \"mod\"",
        "unknown field \"nftables.localhostNodePorts\"",
        "nodePortAddresses: invalid type",
    ];
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}");
    }
}

#[test]
fn every_unusable_value_is_reported() {
    let file = read(json!({
        "mode": "ipvs", "detectLocalMode": "Magic", "bindAddress": "here",
        "metricsBindAddress": "x:1", "nodePortAddresses": ["10.0.0.0/8", "nope", "primary"],
        "iptables": {"masqueradeBit": -1, "minSyncPeriod": "31s"},
        "nftables": {"masqueradeBit": 32, "syncPeriod": "10ms"},
        "oomScoreAdj": 1001, "conntrack": {"min": -5}, "clusterCIDR": "10.0.0.0/8,ten",
        "clientConnection": {"burst": -1},
    }));
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
            "mode",
            "iptables.masqueradeBit",
            "iptables.minSyncPeriod",
            "nftables.masqueradeBit",
            "nftables.minSyncPeriod",
            "bindAddress",
            "clusterCIDR",
            "detectLocalMode",
            "nodePortAddresses",
            "metricsBindAddress",
            "oomScoreAdj",
            "clientConnection.burst",
            "conntrack.min",
        ]
    );
}

#[test]
fn refused_mode_names_the_way_out() {
    let problems = read(json!({"mode": "ipvs"})).proxy_config("n").unwrap_err();
    let text = problems[0].to_string();
    assert!(text.starts_with("mode: invalid value \"ipvs\"") && text.contains("set nftables"));
    for (word, mode) in [
        ("", ProxyMode::Iptables),
        ("iptables", ProxyMode::Iptables),
        ("nftables", ProxyMode::Nftables),
        ("auto", ProxyMode::Auto),
    ] {
        assert_eq!(config(json!({"mode": word})).mode, mode, "{word}");
    }
}

#[test]
fn values_reach_the_configuration() {
    let config = config(json!({
        "detectLocalMode": "InterfaceNamePrefix", "detectLocal": {"interfaceNamePrefix": "veth"},
        "healthzBindAddress": "127.0.0.1", "bindAddressHardFail": true,
        "iptables": {"masqueradeBit": 5, "masqueradeAll": true, "localhostNodePorts": false,
            "syncPeriod": "1m30s", "minSyncPeriod": "500ms"},
    }));
    assert_eq!(config.local_traffic, LocalTraffic::InterfacePrefix("veth".into()));
    assert_eq!(config.healthz_bind_address.unwrap().to_string(), "127.0.0.1:10256");
    assert_eq!(config.bind_failures, BindFailures::Fatal);
    assert_eq!(config.sync_period, Duration::from_secs(90));
    assert_eq!(config.min_sync_period, Duration::from_millis(500));
    assert_eq!((config.masquerade_bit, config.masquerade_all), (5, true));
    assert_eq!(config.nftables, ModeSettings::nftables());
}

#[test]
fn section_of_nftables_counts_in_its_mode() {
    let config = config(json!({
        "iptables": {"masqueradeBit": 5},
        "nftables": {"masqueradeBit": 6, "masqueradeAll": true, "syncPeriod": "20s",
            "minSyncPeriod": "2s"},
    }));
    assert_eq!((config.masquerade_bit, config.masquerade_all), (5, false));
    assert_eq!(config.node_port_addresses, NodePortAddresses::All);
    let config = config.in_nftables_mode();
    assert_eq!((config.masquerade_bit, config.masquerade_all), (6, true));
    assert_eq!(config.sync_period, Duration::from_secs(20));
    assert_eq!(config.min_sync_period, Duration::from_secs(2));
    assert_eq!(config.node_port_addresses, NodePortAddresses::Primary);
    assert!(!config.localhost_node_ports);
}

#[test]
fn node_port_addresses_are_networks_and_words() {
    use NodePortAddresses::{All, Primary, PrimaryAnd, Within};
    let nets = |list: &[&str]| list.iter().map(|net| net.parse().unwrap()).collect::<Vec<_>>();
    let cases: [(&[&str], NodePortAddresses); 7] = [
        (&[], All),
        (&["primary"], Primary),
        (&["10.0.0.0/8", "fd00::/64"], Within(nets(&["10.0.0.0/8", "fd00::/64"]))),
        (&["localhost"], Within(nets(&["127.0.0.0/8", "::1/128"]))),
        (&["primary", "localhost"], PrimaryAnd(nets(&["127.0.0.0/8", "::1/128"]))),
        (&["primary", "10.0.0.0/8"], PrimaryAnd(nets(&["10.0.0.0/8"]))),
        (&["10.0.0.0/8", "all"], All),
    ];
    for (listed, expected) in cases {
        let config = config(json!({"nodePortAddresses": listed}));
        assert_eq!(config.node_port_addresses, expected, "{listed:?}");
        if !listed.is_empty() {
            assert_eq!(config.in_nftables_mode().node_port_addresses, expected, "{listed:?}");
        }
    }
}

#[test]
fn servers_follow_the_family_of_the_bind_address() {
    let addresses = |fields| {
        let config = config(fields);
        [config.healthz_bind_address, config.metrics_bind_address].map(|a| a.unwrap().to_string())
    };
    assert_eq!(addresses(json!({})), ["0.0.0.0:10256", "127.0.0.1:10249"]);
    assert_eq!(addresses(json!({"bindAddress": "::"})), ["[::]:10256", "[::1]:10249"]);
    assert_eq!(
        addresses(json!({"healthzBindAddress": "10.0.0.1:7", "metricsBindAddress": ":8"})),
        ["10.0.0.1:7", "0.0.0.0:8"]
    );
}

#[test]
fn effective_file_says_everything_and_reads_back_as_the_same() {
    for fields in [json!({}), of_kubeadm(), json!({"mode": "nftables", "oomScoreAdj": 0})] {
        let file = read(fields);
        let config = file.proxy_config("n").unwrap();
        let effective = file.effective(&config);
        let again = KubeProxyConfiguration::read(effective.as_object().unwrap().clone()).unwrap();
        assert_eq!(again.proxy_config("n").unwrap(), config);
        assert_eq!(again.effective(&config), effective);
    }
    let file = read(json!({"clusterCIDR": "10.0.0.0/8"}));
    let effective = file.effective(&file.proxy_config("n").unwrap());
    for (pointer, expected) in [
        ("/mode", json!("iptables")),
        ("/iptables/syncPeriod", json!("30s")),
        ("/iptables/masqueradeBit", json!(14)),
        ("/nftables/minSyncPeriod", json!("1s")),
        ("/conntrack/tcpEstablishedTimeout", json!("24h0m0s")),
        ("/configSyncPeriod", json!("15m0s")),
        ("/healthzBindAddress", json!("0.0.0.0:10256")),
        ("/clusterCIDR", json!("10.0.0.0/8")),
        ("/hostnameOverride", json!("n")),
    ] {
        assert_eq!(effective.pointer(pointer), Some(&expected), "{pointer}");
    }
}
