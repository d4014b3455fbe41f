use std::collections::HashMap;

use serde_json::json;

use super::*;
use crate::model::{Pod, PodFullName};
use crate::prober::{ContainerProbes, ProbeResult};
use crate::testing::build::{RuntimeBuilder, pod, runtime};

struct Case {
    spec: api::Container,
    role: Role,
    runtime: RuntimePod,
    probes: PodProbes,
    held: Option<HeldBack>,
    previous: Option<api::ContainerStatus>,
    outlook: Outlook,
    hook_runs: bool,
}

impl Case {
    fn new(held: impl FnOnce(RuntimeBuilder) -> RuntimeBuilder) -> Self {
        Self {
            spec: api::Container { name: "app".to_owned(), ..api::Container::default() },
            role: Role::Regular,
            runtime: held(runtime(&a_pod())).build(),
            probes: PodProbes::default(),
            held: None,
            previous: None,
            outlook: Outlook::Restarts,
            hook_runs: false,
        }
    }

    fn status(&self) -> api::ContainerStatus {
        container_status(&ContainerView {
            spec: &self.spec,
            role: self.role,
            runtime: &self.runtime,
            probes: &self.probes,
            held_back: self.held.as_ref(),
            previous: self.previous.as_ref(),
            outlook: self.outlook,
            hook_runs: self.hook_runs,
            new: (reason::CONTAINER_CREATING, ""),
        })
    }

    fn probed(mut self, startup: Option<ProbeResult>, readiness: Option<ProbeResult>) -> Self {
        self.spec.startup_probe = startup.map(|_| api::Probe::default());
        self.spec.readiness_probe = readiness.map(|_| api::Probe::default());
        let probes = ContainerProbes { id: "app-0".into(), startup, readiness, liveness: None };
        self.probes = PodProbes(HashMap::from([("app".to_owned(), probes)]));
        self
    }
}

fn a_pod() -> Pod {
    pod("ns/p").container("app").build()
}

fn published(value: serde_json::Value) -> Option<api::ContainerStatus> {
    let mut status = json!({
        "name": "app", "image": "i", "imageID": "i", "ready": false, "restartCount": 0,
    });
    for (field, value) in value.as_object().unwrap() {
        status[field] = value.clone();
    }
    Some(serde_json::from_value(status).unwrap())
}

fn waiting_reason(status: &api::ContainerStatus) -> Option<&str> {
    status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()
}

#[test]
fn readiness_follows_the_probes() {
    use ProbeResult::{Failure, Success, Unknown};
    let table = [
        (None, None, true, true),
        (None, Some(Success), true, true),
        (None, Some(Failure), true, false),
        (None, Some(Unknown), true, false),
        (Some(Success), None, true, true),
        (Some(Unknown), None, false, false),
        (Some(Failure), Some(Success), false, false),
        (Some(Success), Some(Success), true, true),
    ];
    for (startup, readiness, started, ready) in table {
        let status =
            Case::new(|r| r.sandbox(0).running("app", 0)).probed(startup, readiness).status();
        assert_eq!(
            (status.started, status.ready),
            (Some(started), ready),
            "{startup:?} {readiness:?}"
        );
    }
}

#[test]
fn without_a_result_yet_the_same_instance_stays_as_it_was_and_another_is_not_ready() {
    let mut case = Case::new(|r| r.sandbox(0).running("app", 0));
    case.spec.startup_probe = Some(api::Probe::default());
    case.spec.readiness_probe = Some(api::Probe::default());
    assert_eq!((case.status().started, case.status().ready), (Some(false), false));
    for (id, holds) in [("app-0", true), ("other", false)] {
        case.previous = published(json!({
            "containerID": format!("containerd://{id}"), "ready": true, "started": true,
            "state": { "running": {} },
        }));
        assert_eq!((case.status().started, case.status().ready), (Some(holds), holds), "{id}");
    }
}

#[test]
fn container_whose_post_start_hook_runs_is_shown_as_before() {
    let mut case = Case::new(|r| r.sandbox(0).running("app", 0));
    case.hook_runs = true;
    let first = case.status();
    assert_eq!(waiting_reason(&first), Some("ContainerCreating"));
    assert_eq!((first.started, first.ready, first.restart_count), (Some(false), false, 0));

    let mut case = Case::new(|r| r.sandbox(0).exited("app", 0, 1, 5).running("app", 1));
    case.hook_runs = true;
    case.previous = published(json!({
        "containerID": "containerd://app-0", "restartCount": 0,
        "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": 1 } },
    }));
    let again = case.status();
    assert_eq!(waiting_reason(&again), Some("CrashLoopBackOff"));
    assert_eq!(again.restart_count, 0);
    case.previous = published(json!({
        "containerID": "containerd://app-0", "state": { "running": {} }, "ready": true,
    }));
    assert_eq!(exit_code(&case.status()), Some(1));
    case.hook_runs = false;
    let after = case.status();
    assert!(is_running(&after) && after.ready && after.restart_count == 1);
}

#[test]
fn init_container_is_ready_once_it_ended_well() {
    let table = [(0, true), (1, false)];
    for (code, ready) in table {
        let mut case = Case::new(|r| r.sandbox(0).exited("app", 0, code, 5));
        case.role = Role::Init;
        assert_eq!((case.status().ready, case.status().started), (ready, Some(false)), "{code}");
    }
    let mut case = Case::new(|r| r.sandbox(0).running("app", 0));
    case.role = Role::Init;
    assert!(!case.status().ready);
}

#[test]
fn ended_init_container_stays_so_when_the_runtime_has_dropped_it() {
    let mut case = Case::new(|r| r.sandbox(0));
    case.role = Role::Init;
    case.previous = published(json!({
        "containerID": "containerd://app-0", "ready": true,
        "state": { "terminated": { "exitCode": 0, "reason": "Completed" } },
    }));
    let status = case.status();
    assert_eq!((exit_code(&status), status.ready, status.restart_count), (Some(0), true, 0));
}

#[test]
fn ephemeral_container_is_neither_ready_nor_started_and_has_no_resources() {
    let mut case = Case::new(|r| r.sandbox(0).running("app", 0));
    case.role = Role::Ephemeral;
    let status = case.status();
    assert!(is_running(&status) && !status.ready);
    assert_eq!((status.started, status.resources), (None, None));
}

#[test]
fn restart_count_and_last_run_survive_the_removal_of_dead_instances() {
    let mut case = Case::new(|r| r.sandbox(0).running("app", 2));
    case.previous = published(json!({
        "restartCount": 5, "lastState": { "terminated": { "exitCode": 9 } },
    }));
    let status = case.status();
    assert_eq!(status.restart_count, 5);
    assert_eq!(status.last_state.unwrap().terminated.unwrap().exit_code, 9);
}

#[test]
fn lost_container_is_a_restart_only_where_it_restarts() {
    let empty = RuntimePod::empty("u".into(), PodFullName::new("ns", "p"));
    for (outlook, count) in [(Outlook::Restarts, 4), (Outlook::Stays, 3)] {
        let mut case = Case::new(|r| r);
        case.runtime = empty.clone();
        case.outlook = outlook;
        case.previous = published(json!({ "restartCount": 3, "state": { "running": {} } }));
        let status = case.status();
        assert_eq!(status.restart_count, count);
        assert_eq!(exit_code(&status), (outlook == Outlook::Stays).then_some(137));
    }
}

#[test]
fn unknown_state_changes_nothing() {
    let mut case = Case::new(|r| r.sandbox(0).container("app", 0, ContainerState::Unknown));
    case.previous = published(json!({
        "containerID": "containerd://app-0", "ready": true, "started": true,
        "state": { "running": { "startedAt": "2026-01-01T00:00:00Z" } },
    }));
    let status = case.status();
    assert!(is_running(&status) && status.ready && status.started == Some(true));
}

#[test]
fn ended_pod_shows_the_last_run_of_a_container_that_was_waiting_to_restart() {
    let mut status = published(json!({
        "restartCount": 3, "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": 7 } },
    }))
    .unwrap();
    close(&mut status);
    assert_eq!((exit_code(&status), status.restart_count), (Some(7), 3));
    assert_eq!(status.last_state, empty());
}
