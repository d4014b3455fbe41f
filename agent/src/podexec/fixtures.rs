//! Pods and containers from the JSON a test is about.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use serde_json::{Value, json};

use super::node_facts::{Allocatable, CgroupFacts, NodeFacts};
use crate::model::{Pod, PodSource};

/// Pod `ns/web-0` with UID `uid-1` and one container `main`; `overlay` is laid over it.
pub fn pod(overlay: Value) -> Pod {
    let mut object = json!({
        "metadata": {"name": "web-0", "namespace": "ns", "uid": "uid-1"},
        "spec": {"containers": [{"name": "main", "image": "img"}]},
    });
    lay_over(&mut object, overlay);
    let object: api::Pod = serde_json::from_value(object).expect("the overlay keeps it a pod");
    Pod::new(Arc::new(object), PodSource::Api).expect("name, uid and spec are set")
}

/// A container from its JSON.
pub fn container(json: Value) -> api::Container {
    serde_json::from_value(json).expect("the text is a container")
}

fn lay_over(object: &mut Value, overlay: Value) {
    match (object, overlay) {
        (Value::Object(object), Value::Object(overlay)) => {
            for (key, value) in overlay {
                lay_over(object.entry(key).or_insert(Value::Null), value);
            }
        }
        (object, overlay) => *object = overlay,
    }
}

/// A node with 4 CPUs, 8 GiB and cgroup v2.
pub fn node_facts() -> NodeFacts {
    NodeFacts {
        host_ips: vec!["192.0.2.10".parse().expect("it is an address")],
        allocatable: Allocatable {
            cpu_milli: 3900,
            memory_bytes: 7 << 30,
            ephemeral_storage_bytes: 90 << 30,
        },
        memory_capacity_bytes: 8 << 30,
        huge_page_sizes: vec![2 << 20],
        cgroup: CgroupFacts { version: 2, swap_controller: true },
        cfs_quota_period: Some(Duration::from_millis(100)),
        seccomp_root: "/var/lib/kubelet/seccomp".into(),
        seccomp_default: false,
        thermal_throttle_paths: Vec::new(),
        pod_logs_dir: "/var/log/pods".into(),
        cluster_domain: "cluster.local".to_owned(),
    }
}
