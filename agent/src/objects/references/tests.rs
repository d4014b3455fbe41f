use super::*;
use crate::podexec::fixtures::pod;
use serde_json::json;

fn names(set: &BTreeSet<String>) -> Vec<&str> {
    set.iter().map(String::as_str).collect()
}

#[test]
fn every_place_a_pod_refers_from_is_found() {
    let pod = pod(json!({"spec": {
        "runtimeClassName": "other",
        "imagePullSecrets": [{"name": "pull"}, {"name": ""}],
        "containers": [{
            "name": "main", "image": "img",
            "env": [
                {"name": "A", "valueFrom": {"configMapKeyRef": {"name": "cm-env", "key": "k"}}},
                {"name": "B", "valueFrom": {"secretKeyRef": {"name": "s-env", "key": "k"}}},
            ],
            "envFrom": [
                {"configMapRef": {"name": "cm-from"}}, {"secretRef": {"name": "s-from"}},
            ],
            "volumeMounts": [
                {"name": "cm", "mountPath": "/a"}, {"name": "s", "mountPath": "/b"},
                {"name": "p", "mountPath": "/c"},
            ],
        }],
        "volumes": [
            {"name": "cm", "configMap": {"name": "cm-vol"}},
            {"name": "s", "secret": {"secretName": "s-vol"}},
            {"name": "p", "projected": {"sources": [
                {"configMap": {"name": "kube-root-ca.crt"}}, {"secret": {"name": "s-proj"}},
            ]}},
            {"name": "unused", "secret": {"secretName": "s-unused"}},
        ],
    }}));
    let found = pod_references(&pod);
    assert_eq!(names(&found.config_maps), ["cm-env", "cm-from", "cm-vol", "kube-root-ca.crt"]);
    assert_eq!(names(&found.secrets), ["pull", "s-env", "s-from", "s-proj", "s-vol"]);
    assert_eq!(found.runtime_class.as_deref(), Some("other"));
    let env = container_references(&pod.spec().containers[0]);
    assert_eq!(names(&env.config_maps), ["cm-env", "cm-from"]);
    assert_eq!(names(&env.secrets), ["s-env", "s-from"]);
}

#[test]
fn empty_name_of_a_class_is_none() {
    for class in [json!(null), json!("")] {
        let found = pod_references(&pod(json!({"spec": {"runtimeClassName": class}})));
        assert_eq!(found.runtime_class, None);
    }
}
