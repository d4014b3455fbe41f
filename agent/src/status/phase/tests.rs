use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;
use serde_json::{Value, json};

use super::*;
use crate::model::PodSource;

/// Containers by their states: `R` running and started, `r` running and not started, `w` waiting
/// for the first time, `b` waiting after a failure, a digit is the code of a finished container.
fn statuses(prefix: &str, states: &str) -> Vec<api::ContainerStatus> {
    let status = |(index, state): (usize, char)| {
        let none = json!({});
        let (now, last) = match state {
            'R' | 'r' => (json!({ "running": {} }), none),
            'w' => (json!({ "waiting": {} }), none),
            'b' => (json!({ "waiting": {} }), json!({ "terminated": { "exitCode": 1 } })),
            code => (json!({ "terminated": { "exitCode": code.to_digit(10).unwrap() } }), none),
        };
        serde_json::from_value(json!({
            "name": format!("{prefix}{index}"), "image": "x", "imageID": "x", "ready": false,
            "started": state == 'R', "restartCount": 0, "state": now, "lastState": last,
        }))
        .unwrap()
    };
    states.chars().enumerate().map(status).collect()
}

/// Init containers, sidecars after them, regular containers: each a string of states.
fn judged(policy: &str, init: &str, sidecars: &str, regular: &str, ended: bool) -> Phase {
    let specs = |statuses: &[api::ContainerStatus], policy: Option<&str>| -> Vec<Value> {
        let spec = |status: &api::ContainerStatus| json!({ "name": status.name, "image": "x", "restartPolicy": policy });
        statuses.iter().map(spec).collect()
    };
    let (init, sidecars) = (statuses("i", init), statuses("s", sidecars));
    let regular = statuses("c", regular);
    let init_specs = [specs(&init, None), specs(&sidecars, Some("Always"))].concat();
    let object = json!({
        "metadata": { "uid": "u", "name": "p", "namespace": "ns" },
        "spec": {
            "restartPolicy": policy,
            "containers": specs(&regular, None),
            "initContainers": init_specs,
        },
    });
    let pod = Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap();
    let statuses = Statuses { init: [init, sidecars].concat(), regular, ephemeral: Vec::new() };
    phase(&pod, &statuses, ended)
}

#[test]
fn phase_of_regular_containers_follows_the_table() {
    let cases = [
        ("Always", "w", false, Phase::Pending),
        ("Always", "Rw", false, Phase::Pending),
        ("Always", "R", false, Phase::Running),
        ("Always", "r", false, Phase::Running),
        ("Always", "Rb", false, Phase::Running),
        ("Always", "0", false, Phase::Running),
        ("Always", "b", false, Phase::Running),
        ("Always", "0", true, Phase::Succeeded),
        ("Always", "1", true, Phase::Failed),
        ("OnFailure", "0", false, Phase::Succeeded),
        ("OnFailure", "01", false, Phase::Running),
        ("OnFailure", "b", false, Phase::Running),
        ("OnFailure", "01", true, Phase::Failed),
        ("Never", "00", false, Phase::Succeeded),
        ("Never", "01", false, Phase::Failed),
        ("Never", "R1", false, Phase::Running),
    ];
    for (policy, states, ended, expected) in cases {
        assert_eq!(judged(policy, "", "", states, ended), expected, "{policy} {states} {ended}");
    }
}

/// Every combination against the rules spelled out a second time, from the end of the pod's life
/// back to its beginning.
#[test]
fn phase_follows_init_exit_codes_regular_states_policy_and_sidecars() {
    let mut checked = 0;
    for policy in ["Always", "OnFailure", "Never"] {
        for init in ["", "w", "r", "0", "1", "b", "00", "01", "0w", "0r"] {
            for sidecar in ["", "w", "r", "R", "0", "1", "b"] {
                for regular in ["w", "R", "0", "1", "b", "wR", "R0", "00", "01"] {
                    let expected = expected(policy, init, sidecar, regular);
                    let found = judged(policy, init, sidecar, regular, false);
                    assert_eq!(found, expected, "{policy}: {init:?} {sidecar:?} {regular:?}");
                    checked += 1;
                }
            }
        }
    }
    assert_eq!(checked, 3 * 10 * 7 * 9);
}

fn expected(policy: &str, init: &str, sidecar: &str, regular: &str) -> Phase {
    let has = |states: &str, any: &str| states.contains(|state| any.contains(state));
    if has(init, "1b") && policy == "Never" {
        return Phase::Failed;
    }
    if has(init, "wr1b") || has(sidecar, "w") || has(regular, "w") {
        return Phase::Pending;
    }
    // From here on every regular container runs or ran.
    let failed = has(regular, "1b");
    let restarts = policy == "Always" || (policy == "OnFailure" && failed);
    if has(regular, "R") || has(sidecar, "rR") || restarts {
        Phase::Running
    } else if failed {
        Phase::Failed
    } else {
        Phase::Succeeded
    }
}

#[test]
fn sidecar_counts_before_the_first_run_of_a_regular_container_only() {
    assert_eq!(judged("Always", "0", "r", "w", false), Phase::Pending);
    assert_eq!(judged("Always", "0", "r", "R", false), Phase::Running);
    assert_eq!(judged("Always", "0", "b", "R", false), Phase::Running);
    assert_eq!(judged("Never", "0", "1", "0", true), Phase::Succeeded);
}

#[test]
fn container_without_a_status_keeps_the_pod_pending() {
    let object = json!({
        "metadata": { "uid": "u", "name": "p" },
        "spec": { "containers": [{ "name": "c0" }, { "name": "c1" }] },
    });
    let pod = Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap();
    let statuses = Statuses { regular: statuses("c", "R"), ..Statuses::default() };
    assert_eq!(phase(&pod, &statuses, false), Phase::Pending);
}
