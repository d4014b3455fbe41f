//! Claims and the volumes behind them.

use std::path::Path;

use serde_json::{Value, json};

/// A PersistentVolume with this source, for the one claim `namespace/claim`.
#[must_use]
pub fn volume(name: &str, (namespace, claim): (&str, &str), source: &Value) -> Value {
    let mut volume = json!({
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "1Gi"},
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": namespace, "name": claim},
        },
    });
    for (field, value) in source.as_object().into_iter().flatten() {
        volume["spec"][field] = value.clone();
    }
    volume
}

/// A directory of the node of that name.
#[must_use]
pub fn local(path: &Path, node: &str) -> Value {
    json!({"local": {"path": path}, "nodeAffinity": {"required": {"nodeSelectorTerms": [
        {"matchExpressions":
            [{"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}]}]}}})
}

/// A claim that waits for a volume that names it.
#[must_use]
pub fn claim(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": claim_spec(),
    })
}

/// What such a claim asks for.
#[must_use]
pub fn claim_spec() -> Value {
    json!({
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "",
        "resources": {"requests": {"storage": "1Gi"}},
    })
}

/// Lets the first container of the pod have the claim at `path`.
pub fn mount_claim(pod: &mut Value, volume: &str, claim: &str, path: &str) {
    mount(pod, &json!({"name": volume, "persistentVolumeClaim": {"claimName": claim}}), path);
}

/// Lets the first container of the pod have the volume at `path`.
pub fn mount(pod: &mut Value, volume: &Value, path: &str) {
    push(&mut pod["spec"]["volumes"], volume.clone());
    let mount = json!({"name": volume["name"], "mountPath": path});
    push(&mut pod["spec"]["containers"][0]["volumeMounts"], mount);
}

fn push(list: &mut Value, item: Value) {
    match list {
        Value::Array(items) => items.push(item),
        other => *other = json!([item]),
    }
}
