use super::*;
use crate::podexec::fixtures::pod;
use serde_json::{Value, json};

fn with_container(extra: Value) -> Value {
    let mut container = json!({"name": "main", "image": "img"});
    for (key, value) in extra.as_object().unwrap() {
        container[key] = value.clone();
    }
    json!({"spec": {"containers": [container]}})
}

fn with_volume(source: Value) -> Value {
    let mut volume = json!({"name": "v"});
    for (key, value) in source.as_object().unwrap() {
        volume[key] = value.clone();
    }
    json!({"spec": {"volumes": [volume]}})
}

#[test]
fn unsupported_fields_are_named() {
    for (overlay, field) in [
        (
            json!({"spec": {"initContainers": [{"name": "i"},
                {"name": "j", "volumeDevices": [{"name": "v", "devicePath": "/d"}]}]}}),
            "spec.initContainers[1].volumeDevices",
        ),
        (
            json!({"spec": {"ephemeralContainers": [
                {"name": "e", "volumeDevices": [{"name": "v", "devicePath": "/d"}]}]}}),
            "spec.ephemeralContainers[0].volumeDevices",
        ),
        (json!({"spec": {"resourceClaims": [{"name": "r"}]}}), "spec.resourceClaims"),
        (with_volume(json!({"csi": {"driver": "d"}})), "spec.volumes[0].csi"),
        (with_volume(json!({"emptyDir": {"medium": "Paper"}})), "spec.volumes[0].emptyDir.medium"),
        (
            with_volume(json!({"projected": {"sources": [{"configMap": {"name": "x"}},
                {"clusterTrustBundle": {"path": "p"}}]}})),
            "spec.volumes[0].projected.sources[1].clusterTrustBundle",
        ),
        (
            with_container(json!({"volumeDevices": [{"name": "v", "devicePath": "/d"}]})),
            "spec.containers[0].volumeDevices",
        ),
        (
            with_container(json!({"restartPolicy": "Never",
                "restartPolicyRules": [{"action": "Restart"}, {"action": "RestartAllContainers"}]})),
            "spec.containers[0].restartPolicyRules[1].action",
        ),
        (
            with_container(json!({"resources": {"claims": [{"name": "c"}]}})),
            "spec.containers[0].resources.claims",
        ),
        (
            with_container(json!({"securityContext": {"windowsOptions": {}}})),
            "spec.containers[0].securityContext.windowsOptions",
        ),
    ] {
        let found = unsupported_field(&pod(overlay.clone())).map(|found| found.field);
        assert_eq!(found.as_deref(), Some(field), "{overlay}");
    }
}

#[test]
fn message_says_what_is_refused() {
    let refused =
        unsupported_field(&pod(with_volume(json!({"nfs": {"path": "/", "server": "s"}})))).unwrap();
    assert_eq!(
        refused.message,
        "spec.volumes[0].nfs: volume \"v\" of kind nfs is not supported by this node"
    );
}

#[test]
fn ordinary_pods_pass() {
    let ordinary = with_container(json!({
        "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "envFrom": [{"configMapRef": {"name": "c"}}],
        "lifecycle": {"stopSignal": "SIGUSR1", "preStop": {}, "postStart": {}},
        "volumeMounts": [
            {"name": "v", "mountPath": "/m"},
            {"name": "v", "mountPath": "/s", "subPath": "s"},
            {"name": "v", "mountPath": "/x", "subPathExpr": "$(A)"},
        ],
    }));
    assert_eq!(unsupported_field(&pod(ordinary)), None);
    let kinds = json!({"spec": {
        "hostUsers": false,
        "runtimeClassName": "gvisor",
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "ephemeralContainers": [{"name": "e", "targetContainerName": "main"}],
    }});
    assert_eq!(unsupported_field(&pod(kinds)), None);
    for source in [
        json!({"emptyDir": {}}),
        json!({"emptyDir": {"medium": "Memory"}}),
        json!({"emptyDir": {"medium": "HugePages"}}),
        json!({"emptyDir": {"medium": "HugePages-2Mi"}}),
        json!({"persistentVolumeClaim": {"claimName": "c"}}),
        json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}),
        json!({"hostPath": {"path": "/x"}}),
        json!({"configMap": {"name": "c"}}),
        json!({"secret": {"secretName": "s"}}),
        json!({"downwardAPI": {"items": []}}),
        json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
    ] {
        assert_eq!(unsupported_field(&pod(with_volume(source.clone()))), None, "{source}");
    }
}
