use serde_json::{Value, json};

use super::*;

/// `marks` says what the pod is: `ready`, `runs`.
fn status(phase: &str, marks: &str) -> api::PodStatus {
    let (ready, runs) = (marks.contains("ready"), marks.contains("runs"));
    let state = if runs { json!({ "running": {} }) } else { Value::Null };
    serde_json::from_value(json!({
        "phase": phase,
        "conditions": [{ "type": "Ready", "status": if ready { "True" } else { "False" } }],
        "containerStatuses": [{
            "name": "c", "image": "", "imageID": "", "ready": ready, "restartCount": 0,
            "state": state,
        }],
    }))
    .unwrap()
}

#[test]
fn only_what_somebody_waits_for_is_written_at_once() {
    let pending = || status("Pending", "");
    let unready = || status("Running", "runs");
    let ready = || status("Running", "ready runs");
    let crashed = || status("Running", "");
    let ended = || status("Succeeded", "");
    let table = [
        ("first sight", api::PodStatus::default(), pending(), false, PROGRESS_PAUSE),
        ("start", pending(), unready(), false, PROGRESS_PAUSE),
        ("ready", pending(), ready(), false, Duration::ZERO),
        ("crash", ready(), crashed(), false, Duration::ZERO),
        ("end", unready(), ended(), false, Duration::ZERO),
        ("readiness lost while ending", ready(), unready(), true, Duration::ZERO),
        ("last container of a deleted pod", ready(), crashed(), true, LAST_PAUSE),
        ("deletion seen", ready(), ready(), true, DELETION_PAUSE),
        ("end of a deleted pod", ready(), ended(), true, Duration::ZERO),
        ("more of an ended pod", ended(), ended(), false, PROGRESS_PAUSE),
    ];
    for (what, shown, wanted, deleting, expected) in table {
        assert_eq!(pause(&shown, &wanted, deleting, 1), expected, "{what}");
    }
}

#[test]
fn many_pods_at_once_wait_longer() {
    let pending = status("Pending", "");
    let table = [(0, 150), (3, 150), (4, 300), (12, 600), (30, 1200), (usize::MAX, 4000)];
    for (coming, millis) in table {
        let pause = pause(&api::PodStatus::default(), &pending, false, coming);
        assert_eq!(pause.as_millis(), millis, "{coming}");
    }
    assert!(is_coming(&pending) && is_coming(&api::PodStatus::default()));
    assert!(!is_coming(&status("Running", "")));
}
