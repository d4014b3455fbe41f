use serde_json::{Value, json};

use super::*;
use crate::podsource::defaults::apply_defaults;

/// Problems of a good pod with `change` made to its JSON.
fn problems(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut pod = json!({
        "metadata": {"name": "a-node", "namespace": "default", "uid": "0123abcd"},
        "spec": {
            "containers": [{"name": "main", "image": "i:1"}],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
    });
    change(&mut pod);
    let mut pod: api::Pod = serde_json::from_value(pod).unwrap();
    pod.spec.iter_mut().for_each(apply_defaults);
    validate(&pod).iter().map(Problem::to_string).collect()
}

#[test]
fn good_pod_has_no_problems() {
    assert_eq!(problems(|_| {}), [""; 0]);
    let full = problems(|pod| {
        pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/v"}]);
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "name": "http"}]);
        pod["spec"]["containers"][0]["readinessProbe"] =
            json!({"tcpSocket": {"port": 80}, "successThreshold": 3});
        pod["spec"]["initContainers"] = json!([{"name": "init", "image": "i:1"}]);
    });
    assert_eq!(full, [""; 0]);
}

/// Where a good pod is changed, into what, and what is said of it.
fn cases() -> Vec<(&'static str, Value, &'static str)> {
    vec![
        ("/metadata/name", json!("A_b"), "metadata.name: \"A_b\" is not a DNS subdomain"),
        ("/metadata/namespace", json!("x.y"), "metadata.namespace: \"x.y\" is not a DNS label"),
        ("/metadata/uid", json!("../up"), "metadata.uid"),
        ("/spec/containers", json!([]), "spec.containers: is required"),
        (
            "/spec/restartPolicy",
            json!("Sometimes"),
            "spec.restartPolicy: \"Sometimes\" is not one of",
        ),
        (
            "/spec/terminationGracePeriodSeconds",
            json!(-1),
            "spec.terminationGracePeriodSeconds: -1",
        ),
        ("/spec/activeDeadlineSeconds", json!(0), "spec.activeDeadlineSeconds: 0 is below 1"),
        ("/spec/ephemeralContainers", json!([{"name": "e"}]), "spec.ephemeralContainers"),
        ("/spec/containers/0/name", json!(""), "spec.containers[0].name: is required"),
        ("/spec/containers/0/name", json!("Main"), "spec.containers[0].name"),
        ("/spec/containers/0/image", json!(""), "spec.containers[0].image: is required"),
        ("/spec/containers/0/image", json!(" i"), "spec.containers[0].image"),
        (
            "/spec/containers/0/imagePullPolicy",
            json!("Often"),
            "spec.containers[0].imagePullPolicy",
        ),
        ("/spec/containers/0/env", json!([{"name": ""}]), "spec.containers[0].env[0].name"),
        (
            "/spec/containers/0/ports",
            json!([{"containerPort": 0}]),
            "ports[0].containerPort: 0 is not",
        ),
        (
            "/spec/containers/0/ports",
            json!([{"containerPort": 1, "protocol": "ICMP"}]),
            "ports[0].protocol",
        ),
        ("/spec/containers/0/ports", json!([{"containerPort": 1, "name": "80"}]), "ports[0].name"),
        (
            "/spec/containers/0/ports",
            json!([{"containerPort": 1, "hostPort": 5}, {"containerPort": 2, "hostPort": 5}]),
            "ports[1].hostPort: 5 is taken",
        ),
        (
            "/spec/containers/0/volumeMounts",
            json!([{"name": "w", "mountPath": "/v"}]),
            "volumeMounts[0].name: \"w\" is none",
        ),
        (
            "/spec/containers/0/volumeMounts",
            json!([{"name": "v", "mountPath": ""}]),
            "volumeMounts[0].mountPath: is required",
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({}),
            "livenessProbe: must have exactly one handler",
        ),
        (
            "/spec/containers/0/livenessProbe",
            json!({"exec": {}, "successThreshold": 2}),
            "livenessProbe.successThreshold: must be 1",
        ),
        ("/spec/containers/0/lifecycle", json!({"preStop": {}}), "lifecycle.preStop"),
        (
            "/spec/containers/0/resources",
            json!({"limits": {"cpu": "much"}}),
            "resources.limits[cpu]: \"much\" is not a quantity",
        ),
        (
            "/spec/containers/0/resources",
            json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
            "resources.requests[cpu]: is above the limit",
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]),
            "spec.volumes[0]: must have exactly one source",
        ),
        (
            "/spec/volumes",
            json!([{"name": "v"}, {"name": "v"}]),
            "spec.volumes[1].name: \"v\" is taken",
        ),
        (
            "/spec/volumes",
            json!([{"name": "v", "hostPath": {"path": "/a/../b"}}]),
            "spec.volumes[0].hostPath.path",
        ),
        (
            "/spec/initContainers",
            json!([{"name": "main", "image": "i:1"}]),
            "spec.initContainers[0].name: \"main\" is taken",
        ),
    ]
}

#[test]
fn each_problem_names_its_field() {
    for (place, value, expected) in cases() {
        let found = problems(|pod| {
            let (parent, field) = place.rsplit_once('/').unwrap();
            pod.pointer_mut(parent).unwrap()[field] = value.clone();
        });
        assert!(found.iter().any(|found| found.contains(expected)), "{place}={value}: {found:?}");
    }
}

#[test]
fn all_problems_are_found_at_once() {
    let found = problems(|pod| {
        pod["spec"]["containers"][0]["image"] = "".into();
        pod["spec"]["dnsPolicy"] = "Some".into();
    });
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn host_port_on_the_host_network_is_the_container_port() {
    let found = problems(|pod| {
        pod["spec"]["hostNetwork"] = true.into();
        pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 80, "hostPort": 81}]);
    });
    assert!(found[0].contains("ports[0].hostPort: must be the container port"), "{found:?}");
}

#[test]
fn own_users_exclude_the_nodes_namespaces() {
    for (field, expected) in [
        ("hostNetwork", vec!["spec.hostNetwork: is not allowed when `hostUsers` is false"]),
        ("hostPID", vec!["spec.hostPID: is not allowed when `hostUsers` is false"]),
        ("hostIPC", vec!["spec.hostIPC: is not allowed when `hostUsers` is false"]),
        ("shareProcessNamespace", vec![]),
    ] {
        let found = problems(|pod| {
            pod["spec"]["hostUsers"] = false.into();
            pod["spec"][field] = true.into();
        });
        assert_eq!(found, expected, "{field}");
    }
}

#[test]
fn unmasked_proc_needs_own_users() {
    let field = "spec.containers[0].securityContext.procMount";
    let needs = format!("{field}: `hostUsers` must be false to use `Unmasked`");
    for (host_users, kind, expected) in [
        (json!(null), "Default", vec![]),
        (json!(null), "Unmasked", vec![needs.clone()]),
        (json!(true), "Unmasked", vec![needs]),
        (json!(false), "Unmasked", vec![]),
        (
            json!(false),
            "Other",
            vec![format!("{field}: \"Other\" is not one of Default, Unmasked")],
        ),
    ] {
        let found = problems(|pod| {
            pod["spec"]["hostUsers"] = host_users.clone();
            pod["spec"]["containers"][0]["securityContext"] = json!({"procMount": kind});
        });
        assert_eq!(found, expected, "{host_users} {kind}");
    }
}
