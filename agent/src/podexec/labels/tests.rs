use super::*;
use crate::podexec::fixtures::{container, pod};
use serde_json::json;

#[test]
fn pod_identity_reads_back_what_was_written() {
    let pod = pod(json!({"metadata": {"labels": {"app": "x"}}}));
    let labels = sandbox_labels(&pod);
    assert_eq!(labels.get("app").map(String::as_str), Some("x"));
    assert_eq!(pod_identity(&labels), Some((pod.uid().clone(), pod.full_name().clone())));
    assert_eq!(pod_identity(&HashMap::new()), None);
}

#[test]
fn annotations_keep_what_ends_a_container() {
    let pod = pod(json!({"spec": {"terminationGracePeriodSeconds": 12}}));
    let container = container(json!({
        "name": "c", "image": "img",
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "lifecycle": {"preStop": {"exec": {"command": ["true"]}}},
        "ports": [{"containerPort": 80}],
    }));
    let record = container_record(&container_annotations(&pod, &container, 3));
    assert_eq!(record.restart_count, Some(3));
    assert_eq!(record.termination_grace, Some(12));
    assert_eq!(record.deletion_grace, None);
    assert_eq!(record.termination_message_path, "/dev/termination-log");
    assert_eq!(record.termination_message_policy, "File");
    assert_eq!(record.pre_stop, container.lifecycle.unwrap().pre_stop);
    assert_eq!(record.ports, container.ports.unwrap());
}

#[test]
fn unreadable_annotations_leave_fields_empty() {
    let annotations = HashMap::from([
        (RESTART_COUNT.to_owned(), "many".to_owned()),
        (PRE_STOP_HANDLER.to_owned(), "{".to_owned()),
    ]);
    assert_eq!(container_record(&annotations), ContainerRecord::default());
}

#[test]
fn sandbox_annotations_name_source_and_time() {
    let seen: Timestamp = "2026-01-02T03:04:05.5Z".parse().unwrap();
    let annotations = sandbox_annotations(&pod(json!({})), seen);
    assert_eq!(annotations[CONFIG_SEEN], "2026-01-02T03:04:05.5Z");
    assert_eq!(annotations[CONFIG_SOURCE], "api");
}
