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
        "status": { "allocatable": {
            "cpu": "2", "memory": "1Gi", "pods": "3", "ephemeral-storage": "1Gi",
            "example.com/present": "2",
        } },
        "spec": {},
    });
    for (key, value) in extra.as_object().unwrap() {
        node["spec"][key] = value.clone();
    }
    serde_json::from_value(node).unwrap()
}

fn judge(pod: &Pod, admitted: &[Pod], node: &api::Node, pressures: &[&'static str]) -> String {
    let rules = AdmissionRules::default();
    match admit(pod, &Surroundings { admitted, node: Some(node), pressures, rules: &rules }) {
        AdmitDecision::Admit => "admit".to_owned(),
        AdmitDecision::Reject { reason, message } => format!("{reason}: {message}"),
        AdmitDecision::Preempt { victims, .. } => format!("preempt {victims:?}"),
    }
}

fn verdict(pod: &Pod, admitted: &[Pod]) -> String {
    judge(pod, admitted, &node(json!({})), &[])
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
fn resource_is_judged_when_the_node_advertises_it_or_kubernetes_knows_it() {
    let asking = |name: &str, amount: &str| {
        pod(json!({ "containers": [{
            "name": "c", "resources": { "requests": { name: amount } },
        }] }))
    };
    let cases = [
        (asking("example.com/device", "1"), "admit"),
        (asking("example.com/present", "2"), "admit"),
        (
            asking("example.com/present", "3"),
            "OutOfexample.com/present: Node didn't have enough resource: example.com/present, requested: 3, used: 0, capacity: 2",
        ),
        (
            asking("ephemeral-storage", "2Gi"),
            "OutOfephemeral-storage: Node didn't have enough resource: ephemeral-storage, requested: 2147483648, used: 0, capacity: 1073741824",
        ),
        (
            asking("hugepages-2Mi", "2Mi"),
            "OutOfhugepages-2Mi: Node didn't have enough resource: hugepages-2Mi, requested: 2097152, used: 0, capacity: 0",
        ),
        (asking("hugepages-2Mi", "0"), "admit"),
    ];
    for (pod, expected) in cases {
        assert_eq!(verdict(&pod, &[]), expected);
    }
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
fn host_port_is_given_once_per_address_and_protocol() {
    let list = |kind: &str, ip: &str, protocol: &str, restart: Value| {
        pod(json!({ kind: [{ "name": "c", "restartPolicy": restart, "ports": [
            { "containerPort": 80, "hostPort": 80, "hostIP": ip, "protocol": protocol },
        ] }] }))
    };
    let with_port = |ip, protocol| list("containers", ip, protocol, json!(null));
    let sidecar = pod(json!({ "containers": [], "initContainers": [{
        "name": "s", "restartPolicy": "Always", "ports": [{ "containerPort": 1, "hostPort": 80 }],
    }] }));
    let init = pod(json!({ "containers": [], "initContainers": [{
        "name": "i", "ports": [{ "containerPort": 1, "hostPort": 80 }],
    }] }));
    let clashes = |pod: &Pod, taken: &Pod| !fit::host_ports(pod, std::slice::from_ref(taken));
    for (pod, taken, clash) in [
        (with_port("10.0.0.1", "TCP"), with_port("", "TCP"), true),
        (with_port("", "TCP"), with_port("10.0.0.1", "TCP"), true),
        (with_port("0.0.0.0", "TCP"), with_port("10.0.0.1", "TCP"), true),
        (with_port("10.0.0.1", "UDP"), with_port("", "TCP"), false),
        (with_port("10.0.0.1", "TCP"), with_port("10.0.0.2", "TCP"), false),
        (with_port("10.0.0.1", "TCP"), with_port("10.0.0.1", "TCP"), true),
        (with_port("", ""), sidecar.clone(), true),
        (with_port("", ""), init, false),
        (sidecar, with_port("", ""), true),
    ] {
        assert_eq!(clashes(&pod, &taken), clash, "{:?} {:?}", pod.spec(), taken.spec());
    }
    let refused = verdict(&with_port("", "TCP"), &[with_port("", "TCP")]);
    assert_eq!(
        refused,
        "NodePorts: Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
    );
}

fn static_pod(spec: Value) -> Pod {
    Pod::new(Arc::clone(pod(spec).object()), PodSource::File).unwrap()
}

#[test]
fn no_execute_taint_must_be_tolerated() {
    let node = node(json!({ "taints": [{ "key": "k", "value": "v", "effect": "NoExecute" }] }));
    for (tolerations, fits) in [
        (json!([]), false),
        (json!([{ "operator": "Exists" }]), true),
        (json!([{ "key": "k", "value": "v" }]), true),
        (json!([{ "key": "k", "value": "w" }]), false),
        (json!([{ "key": "k", "operator": "Exists", "effect": "NoSchedule" }]), false),
    ] {
        let spec = json!({ "containers": [], "tolerations": tolerations });
        let refused = "TaintToleration: Predicate TaintToleration failed: node(s) had taints that the pod didn't tolerate";
        let expected = if fits { "admit" } else { refused };
        assert_eq!(judge(&pod(spec.clone()), &[], &node, &[]), expected);
        assert_eq!(judge(&static_pod(spec), &[], &node, &[]), "admit");
    }
}

#[test]
fn other_operating_system_is_refused() {
    assert_eq!(
        verdict(&pod(json!({ "containers": [], "os": { "name": "windows" } })), &[]),
        "PodOSNotSupported: Failed to admit pod as the OS field doesn't match node OS"
    );
    let labelled = json!({
        "metadata": { "uid": "u", "name": "p", "labels": { "kubernetes.io/os": "windows" } },
        "spec": { "containers": [] },
    });
    let labelled = Arc::new(serde_json::from_value(labelled).unwrap());
    assert_eq!(
        verdict(&Pod::new(labelled, PodSource::Api).unwrap(), &[]),
        "PodOSSelectorNodeLabelDoesNotMatch: Failed to admit pod as the `kubernetes.io/os` label doesn't match node label"
    );
}

#[test]
fn node_under_pressure_takes_on_what_does_not_add_to_it() {
    let best_effort = pod(json!({ "containers": [{ "name": "c" }] }));
    let tolerant = pod(json!({ "containers": [{ "name": "c" }], "tolerations": [
        { "key": "node.kubernetes.io/memory-pressure", "operator": "Exists" },
    ] }));
    let burstable = requests("1", "1Mi");
    let critical = pod(json!({ "containers": [{ "name": "c" }], "priority": 2_000_000_000 }));
    let cases: [(&Pod, &[&'static str], &str); 7] = [
        (&best_effort, &[], "admit"),
        (&best_effort, &["MemoryPressure"], "Evicted: The node had condition: [MemoryPressure]. "),
        (&tolerant, &["MemoryPressure"], "admit"),
        (&burstable, &["MemoryPressure"], "admit"),
        (&burstable, &["DiskPressure"], "Evicted: The node had condition: [DiskPressure]. "),
        (
            &tolerant,
            &["MemoryPressure", "PIDPressure"],
            "Evicted: The node had condition: [MemoryPressure PIDPressure]. ",
        ),
        (&critical, &["DiskPressure"], "admit"),
    ];
    for (pod, pressures, expected) in cases {
        assert_eq!(judge(pod, &[], &node(json!({})), pressures), expected);
    }
}

#[test]
fn strict_groups_need_a_runtime_that_honours_them() {
    let asking = |policy: &str| {
        pod(json!({ "containers": [], "securityContext": { "supplementalGroupsPolicy": policy } }))
    };
    let refused = "SupplementalGroupsPolicyNotSupported: SupplementalGroupsPolicy=Strict is not \
                   supported in this node";
    for (policy, features, expected) in [
        ("Strict", None, refused),
        ("Strict", Some(false), refused),
        ("Strict", Some(true), "admit"),
        ("Merge", None, "admit"),
    ] {
        let mut node = node(json!({}));
        let features =
            features.map(|can| api::NodeFeatures { supplemental_groups_policy: Some(can) });
        node.status.as_mut().unwrap().features = features;
        assert_eq!(judge(&asking(policy), &[], &node, &[]), expected, "{policy}");
    }
}

#[test]
fn profile_of_an_annotation_counts_too() {
    let name = "container.apparmor.security.beta.kubernetes.io/c";
    for (annotation, refused) in [("runtime/default", true), ("unconfined", false)] {
        let object = json!({
            "metadata": {
                "uid": "u", "name": "p", "namespace": "ns", "annotations": { name: annotation },
            },
            "spec": { "containers": [{ "name": "c" }] },
        });
        let object = Arc::new(serde_json::from_value(object).unwrap());
        let pod = Pod::new(object, PodSource::Api).unwrap();
        assert_eq!(app_armor::refusal(&pod, false).is_some(), refused, "{annotation}");
    }
}

#[test]
fn profile_needs_a_kernel_that_enforces_it() {
    let with = |kind: &str| {
        pod(json!({ "containers": [{ "name": "c", "securityContext": {
            "appArmorProfile": { "type": kind },
        } }] }))
    };
    for (kind, enforced, problem) in [
        ("RuntimeDefault", true, None),
        ("RuntimeDefault", false, Some("AppArmor is not enabled on the host")),
        ("Unconfined", false, None),
        ("Localhost", true, Some("localhost AppArmor profile without a name")),
    ] {
        let refused = app_armor::refusal(&with(kind), enforced);
        let expected = problem.map(|problem| {
            AdmitDecision::reject("AppArmor", format!("Cannot enforce AppArmor: {problem}"))
        });
        assert_eq!(refused, expected, "{kind}");
    }
}

#[test]
fn critical_pod_is_refused_only_when_room_is_not_all_it_lacks() {
    let critical = |cpu: &str, more: Value| {
        let mut spec = json!({ "priority": 2_000_000_000, "containers": [{
            "name": "c", "resources": { "requests": { "cpu": cpu } },
        }] });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        pod(spec)
    };
    let taken = [requests("1500m", "1Mi")];
    let cases = [
        (critical("500m", json!({})), "admit"),
        (critical("1", json!({})), "preempt [PodUid(u)]"),
        (
            critical("1", json!({ "nodeSelector": { "disk": "hdd" } })),
            "NodeAffinity: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            critical("1", json!({ "resourceClaims": [{ "name": "r" }] })),
            "PodFeatureUnsupported: spec.resourceClaims: dynamic resource allocation is not supported by this node",
        ),
        (
            critical("3", json!({})),
            "UnexpectedAdmissionError: Unexpected error while attempting to recover from admission failure: preemption: error finding a set of pods to preempt: no set of running pods found to reclaim resources: [(res: cpu, q: 1000), ]",
        ),
    ];
    for (pod, expected) in cases {
        assert_eq!(verdict(&pod, &taken), expected);
    }
}

#[test]
fn pod_of_another_node_is_refused() {
    let other = pod(json!({ "containers": [], "nodeName": "m" }));
    assert_eq!(
        verdict(&other, &[]),
        "NodeName: Predicate NodeName failed: node(s) didn't match the requested node name"
    );
    assert_eq!(verdict(&pod(json!({ "containers": [], "nodeName": "n" })), &[]), "admit");
}

#[test]
fn without_a_node_only_what_needs_none_is_checked() {
    let rules = AdmissionRules::default();
    let around = Surroundings { admitted: &[], node: None, pressures: &[], rules: &rules };
    assert_eq!(admit(&requests("1000", "1Gi"), &around), AdmitDecision::Admit);
    let windows = pod(json!({ "containers": [], "os": { "name": "windows" } }));
    assert_ne!(admit(&windows, &around), AdmitDecision::Admit);
}
