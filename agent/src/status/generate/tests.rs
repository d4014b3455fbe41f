use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::model::{
    Container, ContainerId, ContainerState, Exit, PodSource, RuntimePod, Sandbox, SandboxId,
    SandboxState,
};
use crate::testing::observe::observe;

const NOW: i64 = 1_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

fn pod(policy: &str) -> Pod {
    let object = json!({
        "metadata": { "uid": "u", "name": "p", "namespace": "ns", "generation": 3 },
        "spec": { "restartPolicy": policy, "containers": [{ "name": "c", "image": "img" }] },
    });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

fn container(attempt: u32, state: ContainerState) -> Container {
    Container {
        id: ContainerId::from(format!("id{attempt}")),
        name: "c".to_owned(),
        sandbox: SandboxId::from("s"),
        attempt,
        state,
        created_at: at(NOW - 100),
        image: "img".to_owned(),
        image_ref: "img@sha256:1".to_owned(),
        user: None,
        stop_signal: None,
        recursive_read_only: Vec::new(),
        spec_hash: None,
        log_path: String::new(),
        labels: HashMap::new(),
        annotations: HashMap::new(),
    }
}

fn exited(code: i32) -> ContainerState {
    let reason = if code == 0 { "Completed" } else { "Error" }.to_owned();
    ContainerState::Exited(Exit {
        started_at: Some(at(NOW - 50)),
        finished_at: at(NOW - 10),
        code,
        reason,
        message: String::new(),
    })
}

fn runtime(pod: &Pod, containers: Vec<Container>, ips: &[&str]) -> RuntimePod {
    let sandbox = Sandbox {
        id: SandboxId::from("s"),
        attempt: 0,
        state: SandboxState::Ready,
        created_at: at(NOW - 100),
        ips: ips.iter().map(|ip| ip.parse().unwrap()).collect(),
        host_network: false,
        annotations: HashMap::new(),
    };
    RuntimePod {
        uid: pod.uid().clone(),
        full_name: pod.full_name().clone(),
        sandboxes: if ips.is_empty() { vec![] } else { vec![sandbox] },
        containers,
    }
}

struct Case {
    pod: Pod,
    lifecycle: Lifecycle,
    containers: Vec<Container>,
    ips: Vec<&'static str>,
    waiting: Vec<HeldBack>,
    trouble: Option<&'static str>,
    previous: Value,
}

impl Case {
    fn new(policy: &str) -> Self {
        Self {
            pod: pod(policy),
            lifecycle: Lifecycle::Syncing,
            containers: vec![],
            ips: vec!["10.1.0.2"],
            waiting: vec![],
            trouble: None,
            previous: json!({}),
        }
    }

    fn status(&self) -> Value {
        let previous = serde_json::from_value(self.previous.clone()).unwrap();
        let runtime = runtime(&self.pod, self.containers.clone(), &self.ips);
        let mut seen = observe(&self.pod, runtime).previous(previous).build();
        seen.lifecycle = self.lifecycle.clone();
        seen.now = at(NOW);
        let status = generate(&StatusInput {
            pod: &self.pod,
            seen: &seen,
            waiting: &self.waiting,
            trouble: self.trouble,
            host_ips: &["192.168.0.1".parse().unwrap()],
        });
        serde_json::to_value(status).unwrap()
    }
}

fn condition<'a>(status: &'a Value, kind: &str) -> &'a Value {
    let conditions = status["conditions"].as_array().unwrap();
    conditions.iter().find(|condition| condition["type"] == kind).unwrap()
}

#[test]
fn pod_just_seen_is_pending_with_its_container_being_created() {
    let mut case = Case::new("Always");
    case.ips.clear();
    let status = case.status();
    assert_eq!(status["phase"], "Pending");
    assert_eq!(status["containerStatuses"][0]["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!(status["hostIP"], "192.168.0.1");
    assert_eq!(status["observedGeneration"], 3);
    assert_eq!(condition(&status, "PodReadyToStartContainers")["status"], "False");
    assert_eq!(condition(&status, "Ready")["message"], "containers with unready status: [c]");
}

#[test]
fn running_container_makes_the_pod_ready() {
    let mut case = Case::new("Always");
    case.containers = vec![container(0, ContainerState::Running { started_at: at(NOW - 5) })];
    let status = case.status();
    assert_eq!(status["phase"], "Running");
    assert_eq!(condition(&status, "Ready")["status"], "True");
    assert_eq!(condition(&status, "Ready")["observedGeneration"], 3);
    assert_eq!(status["podIP"], "10.1.0.2");
    let container = &status["containerStatuses"][0];
    assert_eq!(container["containerID"], "containerd://id0");
    assert_eq!(container["ready"], true);
    assert_eq!(container["started"], true);
}

#[test]
fn crash_loop_shows_the_last_exit_and_the_wait() {
    let mut case = Case::new("Always");
    case.containers = vec![container(2, exited(3)), container(1, exited(4))];
    case.waiting = vec![HeldBack {
        name: "c".to_owned(),
        reason: reason::CRASH_LOOP_BACK_OFF,
        message: "back-off 10s".to_owned(),
        until: None,
    }];
    let status = case.status();
    let container = &status["containerStatuses"][0];
    assert_eq!(container["state"]["waiting"]["reason"], "CrashLoopBackOff");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 3);
    assert_eq!(container["restartCount"], 2);
    assert_eq!(status["phase"], "Running");
}

#[test]
fn terminal_phase_waits_until_nothing_runs() {
    let mut case = Case::new("Never");
    case.containers = vec![container(0, exited(0))];
    assert_eq!(case.status()["phase"], "Running");
    case.lifecycle = Lifecycle::Terminated { cause: EndCause::Completed };
    let status = case.status();
    assert_eq!(status["phase"], "Succeeded");
    assert_eq!(condition(&status, "Ready")["reason"], "PodCompleted");
    assert_eq!(condition(&status, "Initialized")["reason"], "PodCompleted");
}

#[test]
fn terminal_phase_never_changes() {
    let mut case = Case::new("Never");
    case.previous = json!({ "phase": "Failed" });
    case.containers = vec![container(0, ContainerState::Running { started_at: at(NOW) })];
    assert_eq!(case.status()["phase"], "Failed");
}

#[test]
fn pod_deleted_while_pending_ends_as_failed() {
    let mut case = Case::new("Always");
    case.ips.clear();
    case.lifecycle = Lifecycle::Terminated { cause: EndCause::Deleted };
    assert_eq!(case.status()["phase"], "Failed");
}

#[test]
fn container_lost_by_the_runtime_counts_as_a_restart() {
    let mut case = Case::new("Always");
    case.previous = json!({ "phase": "Running", "containerStatuses": [{
        "name": "c", "image": "img", "imageID": "i", "ready": true, "restartCount": 4,
        "containerID": "containerd://old", "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
    }] });
    let status = case.status();
    let container = &status["containerStatuses"][0];
    assert_eq!(container["restartCount"], 5);
    assert_eq!(container["lastState"]["terminated"]["reason"], "ContainerStatusUnknown");
    assert_eq!(container["lastState"]["terminated"]["exitCode"], 137);
}

#[test]
fn restart_count_never_shrinks() {
    let mut case = Case::new("Always");
    case.containers = vec![container(1, ContainerState::Running { started_at: at(NOW) })];
    case.previous = json!({ "containerStatuses": [{
        "name": "c", "image": "img", "imageID": "i", "ready": true, "restartCount": 4,
    }] });
    assert_eq!(case.status()["containerStatuses"][0]["restartCount"], 4);
}

#[test]
fn rejected_pod_carries_reason_and_message() {
    let mut case = Case::new("Always");
    case.ips.clear();
    case.lifecycle = Lifecycle::Finished {
        cause: EndCause::Rejected { reason: "OutOfcpu".to_owned(), message: "no room".to_owned() },
    };
    let status = case.status();
    assert_eq!(status["phase"], "Failed");
    assert_eq!(status["reason"], "OutOfcpu");
    assert_eq!(status["message"], "Pod was rejected: no room");
}

#[test]
fn transition_time_stays_while_a_condition_stays() {
    let mut case = Case::new("Always");
    case.containers = vec![container(0, ContainerState::Running { started_at: at(NOW - 5) })];
    let first = case.status();
    case.previous = first.clone();
    case.pod = pod("Always");
    assert_eq!(condition(&case.status(), "Ready"), condition(&first, "Ready"));
    case.previous["conditions"] = json!([
        { "type": "Ready", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z" },
        { "type": "example.com/gate", "status": "False" },
    ]);
    let status = case.status();
    assert_eq!(condition(&status, "Ready")["lastTransitionTime"], "2020-01-01T00:00:00Z");
    assert_eq!(condition(&status, "example.com/gate")["status"], "False");
}

#[test]
fn pod_being_terminated_keeps_its_phase() {
    let mut case = Case::new("Always");
    case.lifecycle = Lifecycle::Terminating {
        cause: EndCause::Deleted,
        since: at(NOW),
        grace: Duration::from_secs(30),
    };
    case.containers = vec![container(0, exited(0))];
    assert_eq!(case.status()["phase"], "Running");
}

#[test]
fn what_keeps_the_pod_from_starting_is_told_by_its_waiting_containers() {
    let mut case = Case::new("Always");
    case.ips.clear();
    case.trouble = Some("no network; next try within 15s");
    let state = case.status()["containerStatuses"][0]["state"].clone();
    assert_eq!(state["waiting"]["reason"], "ContainerCreating");
    assert_eq!(state["waiting"]["message"], "no network; next try within 15s");
}

#[test]
fn preempted_pod_shows_why_once_nothing_runs() {
    let cause = EndCause::Preempted { message: "room for p2".to_owned() };
    let mut case = Case::new("Always");
    case.containers = vec![container(0, ContainerState::Running { started_at: at(NOW - 5) })];
    case.lifecycle = Lifecycle::Terminating {
        cause: cause.clone(),
        since: at(NOW),
        grace: Duration::from_secs(30),
    };
    let ending = case.status();
    assert_eq!((&ending["phase"], &ending["reason"]), (&json!("Running"), &Value::Null));
    case.containers = vec![container(0, exited(0))];
    case.lifecycle = Lifecycle::Terminated { cause };
    let status = case.status();
    assert_eq!((&status["phase"], &status["reason"]), (&json!("Failed"), &json!("Preempting")));
    assert_eq!(status["message"], "room for p2");
    let disruption = condition(&status, "DisruptionTarget");
    assert_eq!(disruption["status"], "True");
    assert_eq!(disruption["reason"], "TerminationByKubelet");
    assert_eq!(disruption["observedGeneration"], 3);
}

#[test]
fn deadline_is_told_with_the_terminal_phase() {
    let mut case = Case::new("Always");
    case.containers = vec![container(0, ContainerState::Running { started_at: at(NOW - 5) })];
    case.lifecycle = Lifecycle::Terminating {
        cause: EndCause::DeadlineExceeded,
        since: at(NOW),
        grace: Duration::from_secs(30),
    };
    assert_eq!(case.status()["reason"], Value::Null);
    case.containers = vec![container(0, exited(0))];
    case.lifecycle = Lifecycle::Terminated { cause: EndCause::DeadlineExceeded };
    let status = case.status();
    assert_eq!(
        (&status["phase"], &status["reason"]),
        (&json!("Failed"), &json!("DeadlineExceeded"))
    );
}

#[test]
fn container_that_never_ran_counts_as_lost_at_the_end() {
    let mut case = Case::new("Never");
    case.ips.clear();
    case.lifecycle = Lifecycle::Terminated { cause: EndCause::Deleted };
    let state = case.status()["containerStatuses"][0]["state"]["terminated"].clone();
    assert_eq!(
        (&state["exitCode"], &state["reason"]),
        (&json!(137), &json!("ContainerStatusUnknown"))
    );
}
