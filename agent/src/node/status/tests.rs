use serde_json::{Value, json};

use super::*;
use crate::boundary::Machine as _;
use crate::model::quantity::Quantity;
use crate::testing::build::at;
use crate::testing::fake_host::FakeMachine;

fn leaked(entries: &[(&str, &str)]) -> &'static Resources {
    Box::leak(Box::new(resources(entries)))
}

fn resources(entries: &[(&str, &str)]) -> Resources {
    entries
        .iter()
        .map(|(name, text)| ((*name).to_owned(), Quantity::parse(text).unwrap()))
        .collect()
}

/// Builds a status over inputs that a test changes at will.
fn build<'a>(existing: Value, change: impl FnOnce(&mut StatusInputs<'a>)) -> Value {
    // Leaked, so that the inputs a test puts in may have any lifetime.
    let identity = Box::leak(Box::new(FakeMachine::default().identity().unwrap()));
    let capacity =
        leaked(&[("cpu", "4"), ("memory", "8Gi"), ("pods", "110"), ("ephemeral-storage", "100Gi")]);
    let allocatable = leaked(&[
        ("cpu", "3500m"),
        ("memory", "7Gi"),
        ("pods", "110"),
        ("ephemeral-storage", "90Gi"),
    ]);
    let runtime: &RuntimeVersion =
        Box::leak(Box::new(RuntimeVersion { name: "containerd".into(), version: "2.1.4".into() }));
    let ips: &[IpAddr; 1] = Box::leak(Box::new(["192.0.2.10".parse().unwrap()]));
    let mut inputs = StatusInputs {
        node_name: "node-1",
        now: at(0),
        identity,
        swap_bytes: 0,
        capacity,
        allocatable,
        ips,
        keep_addresses: false,
        runtime: Some(runtime),
        features: None,
        images: Some(&[]),
        max_images: 50,
        kubelet_version: "v1.36.3",
        port: 10250,
        pressures: [Pressure::No; 3],
        problems: Vec::new(),
    };
    change(&mut inputs);
    let existing: api::NodeStatus = serde_json::from_value(existing).unwrap();
    serde_json::to_value(node_status(&existing, &inputs)).unwrap()
}

#[test]
fn first_status_is_complete() {
    let status = build(json!({}), |_| {});
    assert_eq!(
        status["capacity"],
        json!({"cpu": "4", "memory": "8Gi", "pods": "110", "ephemeral-storage": "100Gi"})
    );
    assert_eq!(status["allocatable"]["cpu"], "3500m");
    assert_eq!(
        status["nodeInfo"],
        json!({
            "machineID": "machine-1", "systemUUID": "system-1", "bootID": "boot-1",
            "kernelVersion": "6.1.0", "osImage": "Test OS 1",
            "containerRuntimeVersion": "containerd://2.1.4", "kubeletVersion": "v1.36.3",
            "kubeProxyVersion": "", "operatingSystem": "linux", "architecture": "amd64",
        })
    );
    assert_eq!(status["daemonEndpoints"], json!({"kubeletEndpoint": {"Port": 10250}}));
    assert_eq!(status["declaredFeatures"], json!(["ExtendWebSocketsToKubelet"]));
    assert_eq!(status["addresses"][0], json!({"type": "InternalIP", "address": "192.0.2.10"}));
    assert_eq!(status["conditions"][3]["type"], "Ready");
    assert_eq!(status["conditions"][3]["status"], "True");
}

#[test]
fn what_others_write_is_kept() {
    let existing = json!({
        "capacity": {"vendor.com/gpu": "2", "hugepages-1Gi": "0", "cpu": "8"},
        "volumesAttached": [{"name": "v", "devicePath": "/dev/x"}],
        "conditions": [{"type": "NetworkUnavailable", "status": "False"}],
    });
    let status = build(existing, |_| {});
    assert_eq!(status["capacity"]["vendor.com/gpu"], "2");
    assert_eq!(status["capacity"]["cpu"], "4");
    assert_eq!(status["capacity"].get("hugepages-1Gi"), None);
    assert_eq!(status["volumesAttached"][0]["name"], "v");
    assert_eq!(status["conditions"][0]["type"], "NetworkUnavailable");
}

#[test]
fn unreadable_machine_is_not_ready() {
    let empty = Resources::new();
    let status = build(json!({}), |inputs| {
        inputs.capacity = &empty;
        inputs.problems = vec!["PLEG is not healthy: x".to_owned()];
    });
    assert_eq!(status["conditions"][3]["status"], "False");
    assert_eq!(
        status["conditions"][3]["message"],
        "[PLEG is not healthy: x, missing node capacity for resources: cpu, memory, pods, ephemeral-storage]"
    );
}

#[test]
fn runtime_that_is_away_keeps_what_is_published() {
    let existing = json!({
        "nodeInfo": {"containerRuntimeVersion": "containerd://1.7.0", "architecture": "", "bootID": "", "kernelVersion": "", "kubeProxyVersion": "", "kubeletVersion": "", "machineID": "", "operatingSystem": "", "osImage": "", "systemUUID": ""},
        "images": [{"names": ["a"], "sizeBytes": 1}],
        "runtimeHandlers": [{"name": "runc"}],
    });
    let status = build(existing, |inputs| {
        inputs.runtime = None;
        inputs.images = None;
    });
    assert_eq!(status["nodeInfo"]["containerRuntimeVersion"], "containerd://1.7.0");
    assert_eq!(status["images"][0]["names"], json!(["a"]));
    assert_eq!(status["runtimeHandlers"], json!([{"name": "runc"}]));
}

#[test]
fn greatest_images_are_published_with_digests_first() {
    let image = |name: &str, size_bytes: u64| LocalImage {
        tags: (0..4).map(|n| format!("{name}:{n}")).collect(),
        digests: vec![format!("{name}@sha256:1"), format!("{name}@sha256:2")],
        size_bytes,
        ..LocalImage::default()
    };
    let images = [image("small", 1), image("great", 3), image("b", 2), image("a", 2)];
    let status = build(json!({}), |inputs| {
        inputs.images = Some(&images);
        inputs.max_images = 3;
    });
    let first_names: Vec<_> = status["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["names"][0].as_str().unwrap())
        .collect();
    assert_eq!(first_names, ["great@sha256:1", "a@sha256:1", "b@sha256:1"]);
    assert_eq!(
        status["images"][0]["names"],
        json!(["great@sha256:1", "great@sha256:2", "great:0", "great:1", "great:2"])
    );
    let all = build(json!({}), |inputs| {
        inputs.images = Some(&images);
        inputs.max_images = -1;
    });
    assert_eq!(all["images"].as_array().unwrap().len(), 4);
}

#[test]
fn handlers_and_features_are_published_as_the_runtime_tells_them() {
    let both = HandlerFeatures { recursive_read_only_mounts: true, user_namespaces: true };
    let handlers = [("runc", both), ("", both), ("gvisor", HandlerFeatures::default())];
    let features = RuntimeFeatures {
        handlers: handlers.map(|(name, can)| (name.to_owned(), can)).into(),
        supplemental_groups_policy: Some(true),
    };
    let status = build(json!({}), |inputs| inputs.features = Some(&features));
    let both = json!({"recursiveReadOnlyMounts": true, "userNamespaces": true});
    let none = json!({"recursiveReadOnlyMounts": false, "userNamespaces": false});
    assert_eq!(
        status["runtimeHandlers"],
        json!([
            {"name": "", "features": both},
            {"name": "gvisor", "features": none},
            {"name": "runc", "features": both},
        ])
    );
    assert_eq!(status["features"], json!({"supplementalGroupsPolicy": true}));
    // While the runtime is silent, what is published stays.
    let kept = build(status.clone(), |_| {});
    assert_eq!(kept["runtimeHandlers"], status["runtimeHandlers"]);
    // A runtime of before 2.0 tells neither.
    let old = RuntimeFeatures::default();
    let status = build(json!({}), |inputs| inputs.features = Some(&old));
    assert_eq!((&status["runtimeHandlers"], &status["features"]), (&Value::Null, &Value::Null));
}

#[test]
fn addresses_of_a_cloud_provider_stay() {
    let existing = json!({"addresses": [{"type": "ExternalIP", "address": "203.0.113.5"}]});
    let kept = build(existing.clone(), |inputs| inputs.keep_addresses = true);
    assert_eq!(kept["addresses"], existing["addresses"]);
    let ours = build(existing, |_| {});
    assert_eq!(ours["addresses"][0]["type"], "InternalIP");
    let first = build(json!({}), |inputs| inputs.keep_addresses = true);
    assert_eq!(first["addresses"][0]["type"], "InternalIP");
}

#[test]
fn swap_is_published_when_there_is_some() {
    let status = build(json!({}), |inputs| inputs.swap_bytes = 4096);
    assert_eq!(status["nodeInfo"]["swap"], json!({"capacity": 4096}));
}

#[test]
fn runtime_version_is_published_as_the_kubelet_spells_it() {
    let cases = [
        ("v2.4.2", "2.4.2"),
        ("1.6.20~ds1", "1.6.20"),
        ("v2.1.0-rc.1", "2.1.0-rc.1"),
        ("1.7.0+unknown", "1.7.0+unknown"),
        ("unknown", "unknown"),
    ];
    for (reported, expected) in cases {
        assert_eq!(published_version(reported), expected);
    }
}
