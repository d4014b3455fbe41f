use super::*;
use crate::podexec::fixtures::pod;
use serde_json::{Value, json};

fn check(mounts: &[&[(&str, &str)]], expected: &[&str]) {
    let mount = |&(name, path): &(&str, &str)| json!({"name": name, "mountPath": path});
    let containers = mounts.iter().enumerate().map(|(number, mounts)| {
        let mounts: Vec<Value> = mounts.iter().map(mount).collect();
        json!({"name": format!("c{number}"), "volumeMounts": mounts})
    });
    let containers: Vec<Value> = containers.collect();
    let found = nested_mount_points(&pod(json!({"spec": {"containers": containers}})), "v");
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected, "{mounts:?}");
}

#[test]
fn mounts_below_the_volume_get_a_directory() {
    check(&[&[("v", "/dir"), ("w", "/dir/nested")]], &["nested"]);
    check(&[&[("w", "/dir/a/b"), ("v", "/dir")]], &["a/b"]);
    check(&[&[("v", "/dir/"), ("w", "/dir//x/../nested/")]], &["nested"]);
    check(&[&[("v", "dir"), ("w", "/dir/nested")]], &["nested"]);
    check(&[&[("v", "/dir"), ("v", "/dir/again")]], &["again"]);
    check(&[&[("v", "/one"), ("v", "/two"), ("w", "/one/a"), ("w", "/two/b")]], &["a", "b"]);
}

#[test]
fn only_the_outermost_of_several_counts() {
    let mounts = [
        ("v", "/dir"),
        ("a", "/dir/nested/double"),
        ("b", "/dir/nested"),
        ("c", "/dir/nested-vol"),
        ("d", "/dir/nested.vol"),
    ];
    check(&[&mounts], &["nested", "nested-vol", "nested.vol"]);
}

#[test]
fn mounts_elsewhere_and_in_other_containers_do_not_count() {
    check(&[&[("v", "/dir"), ("w", "/dirt"), ("x", "/")]], &[]);
    check(&[&[("v", "/dir")], &[("w", "/dir/nested")]], &[]);
    check(&[&[("v", "/dir"), ("w", "/dir/../nested")]], &[]);
}
