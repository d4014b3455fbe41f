//! The configuration files of an agent on a test node.

use std::path::Path;

use serde_json::{Value, json};

use crate::node::Node;

/// Address of the cluster's DNS Service.
pub const CLUSTER_DNS: &str = "10.96.0.10";
/// Domain of the cluster's Services.
pub const CLUSTER_DOMAIN: &str = "cluster.local";
/// Port of the kubelet API.
pub const KUBELET_PORT: u16 = 10250;

/// A `KubeletConfiguration` that fits the node.
pub fn kubelet_configuration(node: &Node) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "port": KUBELET_PORT,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": 10248,
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": node.cluster().pki().file("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup_root(),
        "failCgroupV1": false,
        "failSwapOn": false,
        "clusterDNS": [CLUSTER_DNS],
        "clusterDomain": CLUSTER_DOMAIN,
        "resolvConf": "/etc/resolv.conf",
        "containerRuntimeEndpoint": node.runtime_endpoint(),
        "staticPodPath": node.manifests(),
        // A test machine's disk may be nearly full; tests of eviction set their own limits.
        "evictionHard": {
            "memory.available": "100Mi",
            "nodefs.available": "1%",
            "imagefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
    })
}

/// A `KubeProxyConfiguration` that fits the node of this name.
pub fn proxy_configuration(node: &str, kubeconfig: &Path) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "hostnameOverride": node,
        "clientConnection": {"kubeconfig": kubeconfig},
        "mode": "iptables",
        "clusterCIDR": "10.244.0.0/16,fd00:244::/56",
        "bindAddress": "0.0.0.0",
        "healthzBindAddress": "0.0.0.0:10256",
        "metricsBindAddress": "127.0.0.1:10249",
        // These sysctls can be read but not written in a network namespace; zero leaves them.
        "conntrack": {
            "maxPerCore": 0,
            "min": 0,
            "tcpEstablishedTimeout": "0s",
            "tcpCloseWaitTimeout": "0s",
        },
    })
}

/// Lays `patch` over `target` as a JSON merge patch (RFC 7386), but a patch that is null as a
/// whole changes nothing.
pub fn overlay(target: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return };
    for (name, value) in fields {
        match value {
            Value::Null => {
                if let Some(target) = target.as_object_mut() {
                    target.remove(name);
                }
            }
            Value::Object(_) if target[name].is_object() => overlay(&mut target[name], value),
            _ => target[name] = value.clone(),
        }
    }
}
