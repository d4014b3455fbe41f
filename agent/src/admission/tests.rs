use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::PodSource;

fn pod(spec: Value) -> Pod {
    let object =
        json!({ "metadata": { "uid": "u", "name": "p", "namespace": "ns" }, "spec": spec });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

fn requests(cpu: &str, memory: &str) -> Pod {
    pod(json!({ "containers": [{
        "name": "c", "resources": { "requests": { "cpu": cpu, "memory": memory } },
    }] }))
}

fn node(extra: Value) -> api::Node {
    let mut node = json!({
        "metadata": { "name": "n", "labels": { "disk": "ssd", "cores": "8" } },
        "status": { "allocatable": { "cpu": "2", "memory": "1Gi", "pods": "3" } },
        "spec": {},
    });
    for (key, value) in extra.as_object().unwrap() {
        node["spec"][key] = value.clone();
    }
    serde_json::from_value(node).unwrap()
}

fn verdict(pod: &Pod, admitted: &[Pod]) -> String {
    match admit(pod, admitted, Some(&node(json!({})))) {
        AdmitDecision::Admit => "admit".to_owned(),
        AdmitDecision::Reject { reason, message } => format!("{reason}: {message}"),
    }
}

#[test]
fn pod_too_big_for_the_node_is_refused_with_the_figures() {
    let cases = [
        (requests("2", "1Gi"), vec![], "admit"),
        (
            requests("2001m", "1Mi"),
            vec![],
            "OutOfcpu: Node didn't have enough resource: cpu, requested: 2001, used: 0, capacity: 2000",
        ),
        (
            requests("1", "600Mi"),
            vec![requests("1", "500Mi")],
            "OutOfmemory: Node didn't have enough resource: memory, requested: 629145600, used: 524288000, capacity: 1073741824",
        ),
        (
            requests("0", "0"),
            vec![requests("0", "0"), requests("0", "0"), requests("0", "0")],
            "OutOfpods: Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3",
        ),
    ];
    for (pod, admitted, expected) in cases {
        assert_eq!(verdict(&pod, &admitted), expected);
    }
}

#[test]
fn resource_the_node_does_not_have_is_not_judged() {
    let pod = pod(json!({ "containers": [{
        "name": "c", "resources": { "requests": { "example.com/device": "1" } },
    }] }));
    assert_eq!(verdict(&pod, &[]), "admit");
}

#[test]
fn selector_and_affinity_must_match_the_labels() {
    let affinity = |key: &str, operator: &str, values: Value| {
        pod(json!({ "containers": [], "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [
                { "matchExpressions": [{ "key": key, "operator": operator, "values": values }] },
            ] },
        } } }))
    };
    let cases = [
        (pod(json!({ "containers": [], "nodeSelector": { "disk": "ssd" } })), true),
        (pod(json!({ "containers": [], "nodeSelector": { "disk": "hdd" } })), false),
        (affinity("disk", "In", json!(["hdd", "ssd"])), true),
        (affinity("disk", "NotIn", json!(["ssd"])), false),
        (affinity("gpu", "NotIn", json!(["a"])), true),
        (affinity("gpu", "Exists", json!(null)), false),
        (affinity("gpu", "DoesNotExist", json!(null)), true),
        (affinity("cores", "Gt", json!(["4"])), true),
        (affinity("cores", "Lt", json!(["4"])), false),
        (affinity("disk", "Like", json!(["ssd"])), false),
    ];
    for (pod, fits) in cases {
        let verdict = verdict(&pod, &[]);
        assert_eq!(verdict == "admit", fits, "{verdict}");
        assert!(fits || verdict.starts_with("NodeAffinity: Predicate NodeAffinity failed"));
    }
}

#[test]
fn host_port_is_given_once() {
    let with_port = |ip: &str, protocol: &str| {
        pod(json!({ "containers": [{ "name": "c", "ports": [
            { "containerPort": 80, "hostPort": 80, "hostIP": ip, "protocol": protocol },
        ] }] }))
    };
    let taken = [with_port("", "TCP")];
    assert!(verdict(&with_port("10.0.0.1", "TCP"), &taken).starts_with("NodePorts: "));
    assert_eq!(verdict(&with_port("10.0.0.1", "UDP"), &taken), "admit");
    assert_eq!(verdict(&with_port("10.0.0.1", "TCP"), &[with_port("10.0.0.2", "TCP")]), "admit");
}

#[test]
fn no_execute_taint_must_be_tolerated() {
    let node = node(json!({ "taints": [{ "key": "k", "value": "v", "effect": "NoExecute" }] }));
    let admitted = |tolerations: Value| {
        let pod = pod(json!({ "containers": [], "tolerations": tolerations }));
        admit(&pod, &[], Some(&node)) == AdmitDecision::Admit
    };
    assert!(!admitted(json!([])));
    assert!(admitted(json!([{ "operator": "Exists" }])));
    assert!(admitted(json!([{ "key": "k", "value": "v" }])));
    assert!(!admitted(json!([{ "key": "k", "value": "w" }])));
    assert!(!admitted(json!([{ "key": "k", "operator": "Exists", "effect": "NoSchedule" }])));
}

#[test]
fn other_operating_system_is_refused() {
    let pod = pod(json!({ "containers": [], "os": { "name": "windows" } }));
    assert!(verdict(&pod, &[]).starts_with("PodOSNotSupported: "));
}
