use serde_json::{Value, json};

use super::*;

fn found(spec: Value) -> Vec<String> {
    let spec: api::PodSpec = serde_json::from_value(spec).unwrap();
    api_references(&spec).iter().map(Problem::to_string).collect()
}

#[test]
fn every_reference_to_an_api_object_is_named() {
    let container = |fields: Value| json!({"containers": [fields]});
    let volume = |source: Value| {
        let mut volume = source;
        volume["name"] = "v".into();
        json!({"containers": [], "volumes": [volume]})
    };
    let cases = [
        (
            json!({"containers": [], "serviceAccountName": "x"}),
            "serviceAccountName",
            "serviceaccounts",
        ),
        (
            json!({"containers": [], "imagePullSecrets": [{"name": "x"}]}),
            "imagePullSecrets",
            "secrets",
        ),
        (
            json!({"containers": [], "resourceClaims": [{"name": "x"}]}),
            "resourceClaims",
            "resourceclaims",
        ),
        (volume(json!({"secret": {"secretName": "x"}})), "volumes[0].secret", "secrets"),
        (volume(json!({"configMap": {"name": "x"}})), "volumes[0].configMap", "configmaps"),
        (
            volume(json!({"persistentVolumeClaim": {"claimName": "x"}})),
            "volumes[0].persistentVolumeClaim",
            "persistentvolumeclaims",
        ),
        (volume(json!({"csi": {"driver": "x"}})), "volumes[0].csi", "csidrivers"),
        (
            volume(json!({"projected": {"sources": [{"secret": {"name": "x"}}]}})),
            "volumes[0].projected.sources[0].secret",
            "secrets",
        ),
        (
            volume(json!({"projected": {"sources": [{}, {"serviceAccountToken": {"path": "x"}}]}})),
            "volumes[0].projected.sources[1].serviceAccountToken",
            "serviceaccounts",
        ),
        (
            volume(
                json!({"iscsi": {"targetPortal": "p", "iqn": "q", "lun": 0, "secretRef": {"name": "x"}}}),
            ),
            "volumes[0].iscsi.secretRef",
            "secrets",
        ),
        (
            container(json!({"name": "c", "envFrom": [{"configMapRef": {"name": "x"}}]})),
            "containers[0].envFrom[0].configMapRef",
            "configmaps",
        ),
        (
            container(
                json!({"name": "c", "env": [{"name": "e", "valueFrom": {"secretKeyRef": {"name": "x", "key": "k"}}}]}),
            ),
            "containers[0].env[0].valueFrom.secretKeyRef",
            "secrets",
        ),
        (
            json!({"containers": [], "initContainers": [{"name": "c", "envFrom": [{"secretRef": {"name": "x"}}]}]}),
            "initContainers[0].envFrom[0].secretRef",
            "secrets",
        ),
    ];
    for (spec, field, resource) in cases {
        assert_eq!(
            found(spec),
            [format!("spec.{field}: static pods may not reference {resource}")]
        );
    }
}

#[test]
fn what_the_node_supplies_itself_is_no_reference() {
    let spec = json!({
        "containers": [{"name": "c", "env": [
            {"name": "a", "value": "b"},
            {"name": "n", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ]}],
        "priorityClassName": "system-node-critical",
        "volumes": [
            {"name": "e", "emptyDir": {}},
            {"name": "h", "hostPath": {"path": "/etc"}},
            {"name": "p", "projected": {"sources": [{"downwardAPI": {"items": []}}]}},
        ],
    });
    assert!(found(spec).is_empty());
}
