use serde_json::{Value, json};

use crate::podsource::validate::validate;

fn problems(container: &Value, volume: Value) -> Vec<String> {
    let mut main = json!({"name": "main", "image": "i:1"});
    for (key, value) in container.as_object().unwrap() {
        main[key] = value.clone();
    }
    let pod = json!({
        "metadata": {"name": "a-node", "namespace": "default", "uid": "0123abcd"},
        "spec": {"containers": [main], "volumes": [volume]},
    });
    let pod = serde_json::from_value(pod).unwrap();
    validate(&pod).iter().map(ToString::to_string).collect()
}

fn of_mount(fields: &Value, privileged: bool) -> Vec<String> {
    let mut mount = json!({"name": "v", "mountPath": "/m"});
    for (key, value) in fields.as_object().unwrap() {
        mount[key] = value.clone();
    }
    let container = json!({"volumeMounts": [mount], "securityContext": {"privileged": privileged}});
    problems(&container, json!({"name": "v", "emptyDir": {}}))
}

#[test]
fn mounts_are_checked_as_the_api_server_does() {
    for (fields, expected) in [
        (json!({"subPath": "a/b"}), None),
        (json!({"subPathExpr": "$(A)/b"}), None),
        (json!({"subPath": "/a"}), Some("subPath: must be a relative path")),
        (json!({"subPath": "a/.."}), Some("subPath: must not contain '..'")),
        (json!({"subPathExpr": "../$(A)"}), Some("subPathExpr: must not contain '..'")),
        (json!({"subPath": "a", "subPathExpr": "b"}), Some("subPathExpr: subPathExpr and subPath")),
        (json!({"mountPropagation": "HostToContainer"}), None),
        (json!({"mountPropagation": "None"}), None),
        (json!({"mountPropagation": "Sideways"}), Some("mountPropagation: \"Sideways\"")),
        (
            json!({"mountPropagation": "Bidirectional"}),
            Some(
                "mountPropagation: Bidirectional mount propagation is available only to \
                 privileged containers",
            ),
        ),
        (json!({"recursiveReadOnly": "Disabled"}), None),
        (json!({"recursiveReadOnly": "Enabled", "readOnly": true}), None),
        (
            json!({"recursiveReadOnly": "Enabled"}),
            Some("recursiveReadOnly: may only be specified when readOnly is true"),
        ),
        (
            json!({"recursiveReadOnly": "IfPossible", "readOnly": true,
                "mountPropagation": "HostToContainer"}),
            Some("recursiveReadOnly: may only be specified when mountPropagation is None"),
        ),
        (json!({"recursiveReadOnly": "Often"}), Some("recursiveReadOnly: \"Often\"")),
    ] {
        let found = of_mount(&fields, false);
        match expected {
            None => assert_eq!(found, [""; 0], "{fields}"),
            Some(expected) => assert!(
                found.iter().any(|problem| problem.contains(expected)),
                "{fields}: {found:?}"
            ),
        }
    }
    assert_eq!(of_mount(&json!({"mountPropagation": "Bidirectional"}), true), [""; 0]);
}

#[test]
fn files_stay_in_their_volume() {
    for (path, expected) in [
        ("a/b", None),
        ("a..b", None),
        ("", Some("is required")),
        ("/a", Some("must be a relative path")),
        ("../a", Some("must not contain '..'")),
        ("a/../../b", Some("must not contain '..'")),
        ("..data", Some("must not start with '..'")),
    ] {
        let items = json!([{"path": path, "fieldRef": {"fieldPath": "metadata.name"}}]);
        for source in [
            json!({"name": "v", "downwardAPI": {"items": items}}),
            json!({"name": "v", "projected": {"sources": [{"downwardAPI": {"items": items}}]}}),
        ] {
            let found = problems(&json!({}), source);
            match expected {
                None => assert_eq!(found, [""; 0], "{path}"),
                Some(expected) => {
                    assert!(found.len() == 1 && found[0].contains(expected), "{path}: {found:?}");
                }
            }
        }
    }
}
