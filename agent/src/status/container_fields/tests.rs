use serde_json::json;

use super::*;
use crate::testing::build::{pod, runtime};

fn mounts(recursive: Option<&str>, instance: Option<&Container>) -> serde_json::Value {
    let spec: api::Container = serde_json::from_value(json!({
        "name": "c",
        "volumeMounts": [
            { "name": "v", "mountPath": "/m", "readOnly": true, "recursiveReadOnly": recursive },
            { "name": "w", "mountPath": "/w" },
        ],
    }))
    .unwrap();
    serde_json::to_value(volume_mounts(&spec, instance)).unwrap()
}

#[test]
fn mounts_of_the_spec_are_published_as_the_runtime_made_them() {
    let pod = pod("ns/p").container("c").build();
    let held = runtime(&pod)
        .container_with("c", 0, |c| c.recursive_read_only = vec!["/m".to_owned()])
        .build();
    let plain = runtime(&pod).running("c", 0).build();
    let table = [
        (None, None, "Disabled"),
        (Some("Enabled"), None, "Enabled"),
        (Some("IfPossible"), None, "Disabled"),
        (Some("IfPossible"), held.newest("c"), "Enabled"),
        (Some("IfPossible"), plain.newest("c"), "Disabled"),
    ];
    for (asked, instance, told) in table {
        assert_eq!(
            mounts(asked, instance),
            json!([
                { "name": "v", "mountPath": "/m", "readOnly": true, "recursiveReadOnly": told },
                { "name": "w", "mountPath": "/w" },
            ]),
            "{asked:?}"
        );
    }
}

#[test]
fn requests_are_told_as_allocated() {
    let spec: api::Container = serde_json::from_value(json!({
        "name": "c", "resources": { "requests": { "cpu": "100m" }, "limits": { "cpu": "1" } },
    }))
    .unwrap();
    let (resources, requests) = allocated(&spec);
    assert_eq!(serde_json::to_value(requests).unwrap(), json!({ "cpu": "100m" }));
    assert_eq!(
        serde_json::to_value(resources).unwrap(),
        json!({ "requests": { "cpu": "100m" }, "limits": { "cpu": "1" } })
    );
    let (resources, requests) = allocated(&api::Container::default());
    assert_eq!((resources, requests), (Some(api::ResourceRequirements::default()), None));
}

#[test]
fn user_without_further_groups_has_no_list_of_them() {
    let plain = ContainerUser { uid: 1, gid: 2, supplemental_groups: vec![] };
    assert_eq!(
        serde_json::to_value(user(&plain)).unwrap(),
        json!({ "linux": { "uid": 1, "gid": 2 } })
    );
}
