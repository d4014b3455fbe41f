use super::*;
use crate::config::DnsConfig;
use crate::podexec::dns::pod_dns;
use crate::podexec::fixtures::{node_facts, pod};
use crate::podexec::security_context::node_users;
use expect_test::expect_file;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn build(overlay: Value) -> Result<PodSandboxConfig, HostnameError> {
    let pod = pod(overlay);
    let dns = DnsConfig {
        cluster_dns: vec!["10.96.0.10".parse().unwrap()],
        cluster_domain: "cluster.local".into(),
        resolv_conf: None,
    };
    let node = node_facts();
    let inputs = SandboxInputs {
        attempt: 2,
        cgroup_parent: "/kubepods/burstable/poduid-1",
        dns: &pod_dns(&pod, &dns, None, &[]),
        seen: "2026-01-02T03:04:05.000000006Z".parse().unwrap(),
        users: &node_users(),
        node: &node,
    };
    build_sandbox_config(&pod, &inputs)
}

#[test]
fn whole_sandbox() {
    let mut config = build(json!({
        "metadata": {"labels": {"app": "web"}},
        "spec": {
            "subdomain": "sub",
            "securityContext": {"fsGroup": 7, "runAsUser": 5, "sysctls": [{"name": "net/a", "value": "1"}]},
            "containers": [{"name": "main", "image": "img",
                "resources": {"requests": {"cpu": "100m"}},
                "ports": [
                    {"containerPort": 80, "hostPort": 8080, "protocol": "TCP", "hostIP": "127.0.0.1"},
                    {"containerPort": 53, "hostPort": 53, "protocol": "UDP"},
                    {"containerPort": 81},
                ]}],
        },
    }))
    .unwrap();
    // Maps print in no order: they are looked at by themselves.
    let labels = BTreeMap::from_iter(std::mem::take(&mut config.labels));
    let annotations = BTreeMap::from_iter(std::mem::take(&mut config.annotations));
    let whole = format!("{labels:#?}\n{annotations:#?}\n{config:#?}\n");
    expect_file!["whole_sandbox.txt"].assert_eq(&whole);
}

#[test]
fn host_network_keeps_the_nodes_name() {
    assert_eq!(build(json!({"spec": {"hostNetwork": true}})).unwrap().hostname, "");
}

#[test]
fn fqdn_that_does_not_fit_is_an_error() {
    let overlay = json!({"spec": {"hostname": "h".repeat(50), "subdomain": "sub", "setHostnameAsFQDN": true}});
    assert!(matches!(build(overlay), Err(HostnameError::FqdnTooLong { .. })));
}

#[test]
fn sidecars_map_their_host_ports_too() {
    let config = build(json!({"spec": {"initContainers": [
        {"name": "side", "restartPolicy": "Always", "ports": [{"containerPort": 1, "hostPort": 2}]},
        {"name": "init", "ports": [{"containerPort": 3, "hostPort": 4}]},
    ]}}));
    let ports: Vec<i32> = config.unwrap().port_mappings.iter().map(|p| p.host_port).collect();
    assert_eq!(ports, [2]);
}
