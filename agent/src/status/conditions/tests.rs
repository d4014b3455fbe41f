use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::PodSource;

/// A container status: its name, whether it is ready, and its state.
fn status(name: &str, ready: bool, state: Value) -> api::ContainerStatus {
    serde_json::from_value(json!({
        "name": name, "image": "", "imageID": "", "ready": ready, "started": ready,
        "restartCount": 0, "state": state,
    }))
    .unwrap()
}

fn running() -> Value {
    json!({ "running": {} })
}

fn exited(code: i32) -> Value {
    json!({ "terminated": { "exitCode": code } })
}

fn waiting() -> Value {
    json!({ "waiting": {} })
}

struct Case {
    spec: Value,
    phase: Phase,
    statuses: Statuses,
    previous: Value,
    disruption: Option<&'static str>,
}

impl Case {
    fn new(spec: Value) -> Self {
        Self {
            spec,
            phase: Phase::Running,
            statuses: Statuses::default(),
            previous: json!([]),
            disruption: None,
        }
    }

    fn judged(&self, kind: &str) -> Value {
        let object = json!({
            "metadata": { "uid": "u", "name": "p", "generation": 2 }, "spec": self.spec,
        });
        let pod =
            Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap();
        let previous: Vec<api::PodCondition> =
            serde_json::from_value(self.previous.clone()).unwrap();
        let all = conditions(&ConditionInput {
            pod: &pod,
            phase: self.phase,
            statuses: &self.statuses,
            sandbox_ready: true,
            disruption: self.disruption,
            previous: &previous,
            now: Timestamp::UNIX_EPOCH,
        });
        let found = all.iter().find(|condition| condition.type_ == kind);
        serde_json::to_value(found).unwrap()
    }
}

fn gated(gate_status: Option<&str>) -> Value {
    let mut case = Case::new(json!({
        "containers": [{ "name": "c" }],
        "readinessGates": [{ "conditionType": "example.com/gate" }],
    }));
    case.statuses.regular = vec![status("c", true, running())];
    if let Some(status) = gate_status {
        case.previous = json!([{ "type": "example.com/gate", "status": status }]);
    }
    case.judged("Ready")
}

#[test]
fn readiness_gate_holds_ready_back() {
    assert_eq!(gated(Some("True"))["status"], "True");
    let held = gated(Some("False"));
    assert_eq!(held["reason"], "ReadinessGatesNotReady");
    assert!(held["message"].as_str().unwrap().contains("is not \"True\", but False"));
    let missing = gated(None);
    assert!(missing["message"].as_str().unwrap().contains("does not exist"));
}

fn with_init() -> Case {
    let mut case = Case::new(json!({
        "containers": [{ "name": "c" }],
        "initContainers": [
            { "name": "b" }, { "name": "a" }, { "name": "s", "restartPolicy": "Always" },
        ],
    }));
    case.phase = Phase::Pending;
    case.statuses.init = vec![
        status("b", false, running()),
        status("a", false, waiting()),
        status("s", false, waiting()),
    ];
    case.statuses.regular = vec![status("c", false, waiting())];
    case
}

#[test]
fn pod_is_initialized_when_all_init_containers_are_done_and_all_sidecars_started() {
    let mut case = with_init();
    let first = case.judged("Initialized");
    assert_eq!(
        (&first["status"], &first["reason"]),
        (&json!("False"), &json!("ContainersNotInitialized"))
    );
    assert_eq!(first["message"], "containers with incomplete status: [b a s]");
    assert_eq!(first["observedGeneration"], 2);
    case.statuses.init[0] = status("b", true, exited(0));
    case.statuses.init[1] = status("a", true, exited(0));
    assert_eq!(case.judged("Initialized")["message"], "containers with incomplete status: [s]");
    case.statuses.init[2] = status("s", true, running());
    assert_eq!(case.judged("Initialized")["status"], "True");
    case.statuses.init.remove(0);
    assert_eq!(case.judged("Initialized")["message"], "containers with unknown status: [b]");
}

#[test]
fn sidecar_that_restarts_does_not_make_the_pod_uninitialized() {
    let mut case = with_init();
    case.statuses.regular = vec![status("c", true, running())];
    assert_eq!(case.judged("Initialized")["status"], "True");
}

#[test]
fn sidecar_that_is_not_ready_holds_the_pod_back() {
    let mut case = with_init();
    case.phase = Phase::Running;
    case.statuses.regular = vec![status("c", true, running())];
    let held = case.judged("ContainersReady");
    assert_eq!(held["reason"], "ContainersNotReady");
    assert_eq!(held["message"], "containers with unready status: [s]");
    assert_eq!(case.judged("Ready")["status"], "False");
    case.statuses.init[2] = status("s", true, running());
    assert_eq!(case.judged("ContainersReady")["status"], "True");
    case.statuses.regular.clear();
    assert_eq!(case.judged("Ready")["message"], "containers with unknown status: [c]");
}

#[test]
fn ended_pod_tells_how_it_ended() {
    let mut case = with_init();
    for (phase, reason) in [(Phase::Succeeded, "PodCompleted"), (Phase::Failed, "PodFailed")] {
        case.phase = phase;
        for kind in ["Ready", "ContainersReady"] {
            assert_eq!(case.judged(kind)["reason"], reason);
            assert_eq!(case.judged(kind)["status"], "False");
        }
    }
    case.phase = Phase::Succeeded;
    assert_eq!(case.judged("Initialized")["reason"], "PodCompleted");
}

#[test]
fn disruption_of_others_is_theirs() {
    let mut case = with_init();
    case.previous = json!([
        { "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI" },
    ]);
    let kept = case.judged("DisruptionTarget");
    assert_eq!(kept["reason"], "EvictionByEvictionAPI");
    assert!(!is_own(&serde_json::from_value(kept).unwrap()));
    case.disruption = Some("room is needed");
    let own = case.judged("DisruptionTarget");
    assert_eq!(own["reason"], "TerminationByKubelet");
    assert!(is_own(&serde_json::from_value(own).unwrap()));
}
