use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::PodSource;

fn ready_condition(gate_status: Option<&str>) -> Value {
    let object = json!({
        "metadata": { "uid": "u", "name": "p" },
        "spec": {
            "containers": [{ "name": "c" }],
            "readinessGates": [{ "conditionType": "example.com/gate" }],
        },
    });
    let pod = Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap();
    let statuses: Vec<api::ContainerStatus> = serde_json::from_value(json!([
        { "name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0 }
    ]))
    .unwrap();
    let previous: Vec<api::PodCondition> = gate_status
        .map(|status| json!({ "type": "example.com/gate", "status": status }))
        .map(|gate| serde_json::from_value(gate).unwrap())
        .into_iter()
        .collect();
    let now = Timestamp::UNIX_EPOCH;
    let all = conditions(&pod, Phase::Running, &statuses, true, &previous, now);
    serde_json::to_value(all.iter().find(|condition| condition.type_ == "Ready").unwrap()).unwrap()
}

#[test]
fn readiness_gate_holds_ready_back() {
    assert_eq!(ready_condition(Some("True"))["status"], "True");
    let held = ready_condition(Some("False"));
    assert_eq!(held["reason"], "ReadinessGatesNotReady");
    assert!(held["message"].as_str().unwrap().contains("is not \"True\", but False"));
    let missing = ready_condition(None);
    assert!(missing["message"].as_str().unwrap().contains("does not exist"));
}
