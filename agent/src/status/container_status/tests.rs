use serde_json::json;

use super::*;
use crate::model::PodFullName;

#[test]
fn ended_pod_shows_the_last_run_of_a_container_that_was_waiting_to_restart() {
    let spec = api::Container { name: "c".to_owned(), ..api::Container::default() };
    let runtime = RuntimePod::empty("u".into(), PodFullName::new("ns", "p"));
    let previous: api::ContainerStatus = serde_json::from_value(json!({
        "name": "c", "image": "i", "imageID": "i", "ready": false, "restartCount": 3,
        "containerID": "containerd://x",
        "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": 7 } },
    }))
    .unwrap();
    let status = container_status(&ContainerView {
        spec: &spec,
        runtime: &runtime,
        held_back: None,
        previous: Some(&previous),
        ended: true,
        restarts: true,
    });
    assert_eq!(status.state.unwrap().terminated.unwrap().exit_code, 7);
    assert_eq!(status.restart_count, 3);
}

#[test]
fn mounts_of_the_spec_are_published() {
    let spec: api::Container = serde_json::from_value(json!({
        "name": "c", "volumeMounts": [{ "name": "v", "mountPath": "/m", "readOnly": true }],
    }))
    .unwrap();
    let runtime = RuntimePod::empty("u".into(), PodFullName::new("ns", "p"));
    let status = container_status(&ContainerView {
        spec: &spec,
        runtime: &runtime,
        held_back: None,
        previous: None,
        ended: false,
        restarts: true,
    });
    let mounts = serde_json::to_value(status.volume_mounts).unwrap();
    assert_eq!(
        mounts,
        json!([{ "name": "v", "mountPath": "/m", "readOnly": true, "recursiveReadOnly": "Disabled" }])
    );
}
