use serde_json::{Value, json};

use super::*;

fn with_defaults(spec: Value) -> Value {
    let mut spec: api::PodSpec = serde_json::from_value(spec).unwrap();
    apply_defaults(&mut spec);
    let once = spec.clone();
    apply_defaults(&mut spec);
    assert_eq!(spec, once, "applied twice");
    serde_json::to_value(spec).unwrap()
}

#[test]
fn smallest_pod_gets_what_the_api_server_gives() {
    let spec = with_defaults(json!({"containers": [{"name": "c", "image": "i"}]}));
    assert_eq!(
        spec,
        json!({
            "containers": [{
                "name": "c", "image": "i", "imagePullPolicy": "Always", "resources": {},
                "terminationMessagePath": "/dev/termination-log",
                "terminationMessagePolicy": "File",
            }],
            "restartPolicy": "Always", "dnsPolicy": "ClusterFirst",
            "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30,
            "enableServiceLinks": true, "securityContext": {},
        })
    );
}

#[test]
fn pull_policy_follows_the_tag() {
    for (image, policy) in [
        ("a", "Always"),
        ("a:latest", "Always"),
        ("reg:5000/a", "Always"),
        ("a:1", "IfNotPresent"),
        (
            "a@sha256:0123456789012345678901234567890123456789012345678901234567890123",
            "IfNotPresent",
        ),
    ] {
        let spec = with_defaults(json!({"containers": [{"name": "c", "image": image}]}));
        assert_eq!(spec["containers"][0]["imagePullPolicy"], policy, "{image}");
    }
}

#[test]
fn ports_probes_and_hooks_are_filled_in() {
    let spec = with_defaults(json!({"hostNetwork": true, "containers": [{
        "name": "c", "image": "i:1",
        "ports": [{"containerPort": 80}],
        "livenessProbe": {"httpGet": {"port": 80}},
        "lifecycle": {"preStop": {"httpGet": {"port": 80}}},
        "resources": {"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "100m"}},
    }]}));
    let container = &spec["containers"][0];
    assert_eq!(
        container["ports"],
        json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}])
    );
    assert_eq!(
        container["livenessProbe"],
        json!({"httpGet": {"port": 80, "path": "/", "scheme": "HTTP"}, "timeoutSeconds": 1,
            "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3})
    );
    assert_eq!(container["lifecycle"]["preStop"]["httpGet"]["path"], "/");
    assert_eq!(container["resources"]["requests"], json!({"cpu": "100m", "memory": "1Gi"}));
}

#[test]
fn volumes_are_filled_in() {
    let spec = with_defaults(json!({"containers": [], "volumes": [
        {"name": "none"},
        {"name": "host", "hostPath": {"path": "/x"}},
        {"name": "down", "downwardAPI": {"items": [
            {"path": "n", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "mode", "projected": {"defaultMode": 256, "sources": []}},
    ]}));
    assert_eq!(
        spec["volumes"],
        json!([
            {"name": "none", "emptyDir": {}},
            {"name": "host", "hostPath": {"path": "/x", "type": ""}},
            {"name": "down", "downwardAPI": {"defaultMode": 420, "items": [
                {"path": "n", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}]}},
            {"name": "mode", "projected": {"defaultMode": 256, "sources": []}},
        ])
    );
}
