use super::*;
use crate::podexec::fixtures::{node_facts, pod};
use serde_json::{Value, json};

fn asking(of_pod: Value, of_container: Value, annotations: Value) -> Pod {
    pod(json!({
        "metadata": {"annotations": annotations},
        "spec": {"securityContext": of_pod, "containers": [
            {"name": "main", "image": "img", "securityContext": of_container},
        ]},
    }))
}

fn seccomp_of(
    of_pod: Value,
    of_container: Value,
    node: &NodeFacts,
) -> Result<(i32, String), ContainerConfigError> {
    let pod = asking(of_pod, of_container, json!({}));
    let got = seccomp(&pod, &pod.spec().containers[0], node)?;
    Ok((got.profile_type, got.localhost_ref))
}

#[test]
fn seccomp_profile_of_the_nearest_wins() {
    let runtime = json!({"type": "RuntimeDefault"});
    let file = json!({"type": "Localhost", "localhostProfile": "p/a.json"});
    for (of_pod, of_container, expected) in [
        (json!({}), json!({}), (1, "")),
        (json!({"seccompProfile": runtime}), json!({}), (0, "")),
        (
            json!({"seccompProfile": runtime}),
            json!({"seccompProfile": file}),
            (2, "/var/lib/kubelet/seccomp/p/a.json"),
        ),
        (
            json!({"seccompProfile": file}),
            json!({"seccompProfile": {"type": "Unconfined"}}),
            (1, ""),
        ),
    ] {
        let (kind, path) = seccomp_of(of_pod, of_container, &node_facts()).unwrap();
        assert_eq!((kind, path.as_str()), expected);
    }
}

#[test]
fn seccomp_default_of_the_node_applies_where_nothing_is_asked() {
    let node = NodeFacts { seccomp_default: true, ..node_facts() };
    assert_eq!(seccomp_of(json!({}), json!({}), &node).unwrap().0, 0);
    let unconfined = json!({"seccompProfile": {"type": "Unconfined"}});
    assert_eq!(seccomp_of(unconfined, json!({}), &node).unwrap().0, 1);
}

#[test]
fn localhost_profile_needs_a_name_beneath_the_nodes_directory() {
    let ask = |name: Value| {
        let profile = json!({"type": "Localhost", "localhostProfile": name});
        let error = seccomp_of(json!({"seccompProfile": profile}), json!({}), &node_facts());
        error.unwrap_err().to_string()
    };
    for missing in [Value::Null, json!("")] {
        let expected = "localhostProfile must be set if seccompProfile type is Localhost.";
        assert_eq!(ask(missing), expected);
    }
    for outside in ["/etc/a.json", "../a.json", "a/../../b.json"] {
        assert!(ask(json!(outside)).contains("must be a path beneath"), "{outside}");
    }
}

#[test]
fn app_armor_profile_comes_from_container_annotation_or_pod() {
    const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/main";
    let of_type = |name: &str| json!({"appArmorProfile": {"type": name}});
    let named = json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "own"}});
    for (of_pod, of_container, annotation, expected) in [
        (json!({}), json!({}), "", None),
        (json!({}), json!({}), "surely not", None),
        (of_type("RuntimeDefault"), json!({}), "", Some((0, "", "runtime/default"))),
        (of_type("RuntimeDefault"), of_type("Unconfined"), "", Some((1, "", "unconfined"))),
        (of_type("Unconfined"), named, "runtime/default", Some((2, "own", "localhost/own"))),
        (of_type("Unconfined"), json!({}), "localhost/old", Some((2, "old", "localhost/old"))),
        (json!({}), json!({}), "unconfined", Some((1, "", "unconfined"))),
    ] {
        let pod = asking(of_pod, of_container, json!({ANNOTATION: annotation}));
        let (profile, old) = app_armor(&pod, &pod.spec().containers[0]).unwrap();
        let got = profile.map(|profile| (profile.profile_type, profile.localhost_ref));
        let got = got.as_ref().map(|(kind, name)| (*kind, name.as_str(), old.as_str()));
        assert_eq!(got, expected, "{annotation:?}");
    }
}

#[test]
fn unusable_app_armor_profile_is_an_error() {
    for (profile, expected) in [
        (json!({"type": "Localhost"}), "missing localhost apparmor profile name"),
        (json!({"type": "Other"}), "unknown apparmor profile type: \"Other\""),
    ] {
        let pod = asking(json!({}), json!({"appArmorProfile": profile}), json!({}));
        let error = app_armor(&pod, &pod.spec().containers[0]).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
}
