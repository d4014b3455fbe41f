use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::model::{Container, ContainerState, Exit, Sandbox};

fn listed(uid: &str, id: &str, state: ListedState) -> ListedContainer {
    ListedContainer {
        id: id.into(),
        sandbox: "s".into(),
        pod_uid: uid.into(),
        namespace: "ns".to_owned(),
        pod_name: uid.to_owned(),
        name: "c".to_owned(),
        attempt: 0,
        state,
        created_at: Timestamp::UNIX_EPOCH,
    }
}

fn listed_sandbox(uid: &str, state: SandboxState) -> ListedSandbox {
    ListedSandbox {
        id: "s".into(),
        pod_uid: uid.into(),
        namespace: "ns".to_owned(),
        name: uid.to_owned(),
        attempt: 0,
        state,
        created_at: Timestamp::UNIX_EPOCH,
        annotations: HashMap::new(),
    }
}

fn cached(uid: &str, state: ContainerState) -> RuntimePods {
    let pod = RuntimePod {
        uid: uid.into(),
        full_name: PodFullName::new("ns", uid),
        sandboxes: vec![Sandbox {
            id: "s".into(),
            attempt: 0,
            state: SandboxState::Ready,
            created_at: Timestamp::UNIX_EPOCH,
            ips: vec![],
            host_network: false,
            annotations: HashMap::new(),
        }],
        containers: vec![Container {
            id: "c1".into(),
            name: "c".to_owned(),
            sandbox: "s".into(),
            attempt: 0,
            state,
            created_at: Timestamp::UNIX_EPOCH,
            image: String::new(),
            image_ref: String::new(),
            user: None,
            stop_signal: None,
            recursive_read_only: Vec::new(),
            spec_hash: None,
            log_path: String::new(),
            labels: HashMap::new(),
            annotations: HashMap::new(),
        }],
    };
    [(uid.into(), Arc::new(pod))].into()
}

#[test]
fn difference_is_found_in_every_direction() {
    let running = || ContainerState::Running { started_at: Timestamp::UNIX_EPOCH };
    let exit = Exit {
        started_at: None,
        finished_at: Timestamp::UNIX_EPOCH,
        code: 0,
        reason: String::new(),
        message: String::new(),
    };
    let ready = vec![listed_sandbox("u", SandboxState::Ready)];
    let stopped = vec![listed_sandbox("u", SandboxState::NotReady)];
    let cases = [
        (
            "same",
            cached("u", running()),
            ready.clone(),
            vec![listed("u", "c1", ListedState::Running)],
            0,
        ),
        (
            "exit",
            cached("u", running()),
            ready.clone(),
            vec![listed("u", "c1", ListedState::Exited)],
            1,
        ),
        (
            "known exit",
            cached("u", ContainerState::Exited(exit)),
            ready.clone(),
            vec![listed("u", "c1", ListedState::Exited)],
            0,
        ),
        (
            "replaced",
            cached("u", running()),
            ready.clone(),
            vec![listed("u", "c2", ListedState::Running)],
            1,
        ),
        (
            "sandbox stopped",
            cached("u", running()),
            stopped,
            vec![listed("u", "c1", ListedState::Running)],
            1,
        ),
        ("gone", cached("u", running()), vec![], vec![], 1),
        ("new", RuntimePods::new(), ready, vec![], 1),
        (
            "other pod",
            cached("u", running()),
            vec![],
            vec![listed("v", "c9", ListedState::Running)],
            2,
        ),
    ];
    for (name, cache, sandboxes, containers, expected) in cases {
        assert_eq!(changed_pods(&cache, &sandboxes, &containers).len(), expected, "{name}");
    }
}
