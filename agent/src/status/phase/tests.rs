use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::PodSource;

fn pod(policy: &str, containers: &[&str]) -> Pod {
    let containers: Vec<Value> =
        containers.iter().map(|name| json!({ "name": name, "image": "x" })).collect();
    let object = json!({
        "metadata": { "uid": "u", "name": "p", "namespace": "ns" },
        "spec": { "restartPolicy": policy, "containers": containers },
    });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

/// `r` running, `w` waiting for the first time, `b` waiting after a failure, a digit is the code
/// of a finished container.
fn statuses(states: &str) -> Vec<api::ContainerStatus> {
    let status = |(index, state): (usize, char)| {
        let (now, last) = match state {
            'r' => (json!({ "running": {} }), json!({})),
            'w' => (json!({ "waiting": {} }), json!({})),
            'b' => (json!({ "waiting": {} }), json!({ "terminated": { "exitCode": 1 } })),
            code => {
                (json!({ "terminated": { "exitCode": code.to_digit(10).unwrap() } }), json!({}))
            }
        };
        serde_json::from_value(json!({
            "name": format!("c{index}"), "image": "x", "imageID": "x", "ready": false,
            "restartCount": 0, "state": now, "lastState": last,
        }))
        .unwrap()
    };
    states.chars().enumerate().map(status).collect()
}

#[test]
fn phase_follows_the_table() {
    let cases = [
        ("Always", "w", false, Phase::Pending),
        ("Always", "rw", false, Phase::Pending),
        ("Always", "r", false, Phase::Running),
        ("Always", "rb", false, Phase::Running),
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
        ("Never", "r1", false, Phase::Running),
    ];
    for (policy, states, ended, expected) in cases {
        let statuses = statuses(states);
        let names: Vec<&str> = statuses.iter().map(|status| status.name.as_str()).collect();
        assert_eq!(
            phase(&pod(policy, &names), &statuses, ended),
            expected,
            "{policy} {states} {ended}"
        );
    }
}

#[test]
fn container_without_a_status_keeps_the_pod_pending() {
    assert_eq!(phase(&pod("Always", &["c0", "c1"]), &statuses("r"), false), Phase::Pending);
}
