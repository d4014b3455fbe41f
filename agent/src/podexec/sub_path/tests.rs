use super::*;
use crate::podexec::fixtures::container;
use serde_json::{Value, json};

fn variables() -> Variables {
    let pairs = [("POD", "web-0"), ("UP", ".."), ("ROOT", "/etc"), ("TICK", "`id`"), ("EMPTY", "")];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec())).collect()
}

fn part(fields: &Value) -> Result<String, String> {
    let mut mount = json!({"name": "v", "mountPath": "/m"});
    for (key, value) in fields.as_object().unwrap() {
        mount[key] = value.clone();
    }
    let mount = serde_json::from_value(mount).unwrap();
    sub_path(&mount, &variables()).map_err(|error| error.to_string())
}

#[test]
fn path_is_relative_and_expanded() {
    for (fields, expected) in [
        (json!({}), Ok("")),
        (json!({"subPath": "a/b"}), Ok("a/b")),
        (json!({"subPath": "$(POD)"}), Ok("$(POD)")),
        (json!({"subPath": "a/..b/c.."}), Ok("a/..b/c..")),
        (json!({"subPathExpr": "logs/$(POD)"}), Ok("logs/web-0")),
        (json!({"subPathExpr": "$$(POD)"}), Ok("$(POD)")),
        // A name like any other: nothing is executed.
        (json!({"subPathExpr": "$(TICK)"}), Ok("`id`")),
        (
            json!({"subPath": "a/../b"}),
            Err("unable to provision SubPath `a/../b`: must not contain '..'"),
        ),
        (
            json!({"subPathExpr": "$(UP)"}),
            Err("unable to provision SubPath `..`: must not contain '..'"),
        ),
        (
            json!({"subPathExpr": "a/$(UP)/b"}),
            Err("unable to provision SubPath `a/../b`: must not contain '..'"),
        ),
        (json!({"subPath": "/etc"}), Err("error SubPath `/etc` must not be an absolute path")),
        (
            json!({"subPathExpr": "$(ROOT)"}),
            Err("error SubPath `/etc` must not be an absolute path"),
        ),
        (json!({"subPathExpr": "$(EMPTY)"}), Err("missing value for EMPTY")),
        (json!({"subPathExpr": "$(Z)/$(A)/$(Z)"}), Err("missing value for A, Z")),
    ] {
        let found = part(&fields);
        assert_eq!(found.as_deref().map_err(String::as_str), expected, "{fields}");
    }
}

#[test]
fn parts_are_numbered_by_their_mount_and_images_left_out() {
    let container = container(json!({"name": "main", "volumeMounts": [
        {"name": "data", "mountPath": "/all"},
        {"name": "tool", "mountPath": "/tool", "subPath": "bin"},
        {"name": "data", "mountPath": "/part", "subPathExpr": "$(POD)"},
    ]}));
    assert!(has_sub_paths(&container));
    let tool = VolumeImage { reference: "sha256:tool".into(), named: "tool:1".into() };
    let images = BTreeMap::from([("tool".to_owned(), tool)]);
    let wanted = wanted_sub_paths(&container, &images, &variables()).unwrap();
    let path = "web-0".to_owned();
    assert_eq!(wanted, [WantedSubPath { index: 2, volume: "data".to_owned(), path }]);
}
