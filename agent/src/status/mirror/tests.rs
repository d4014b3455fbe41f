use serde_json::{Value, json};

use super::*;

fn status(value: Value) -> api::PodStatus {
    serde_json::from_value(value).unwrap()
}

fn conditions(ready: &str, at: &str) -> Value {
    json!([{"type": "Ready", "status": ready, "lastTransitionTime": at}])
}

const OLD: &str = "2026-01-01T00:00:00Z";
const NEW: &str = "2026-01-01T01:00:00Z";

#[test]
fn start_and_unchanged_conditions_keep_their_times() {
    for (before, expected) in [("True", OLD), ("False", NEW)] {
        let shown = status(json!({"startTime": OLD, "conditions": conditions(before, OLD)}));
        let mut wanted =
            Arc::new(status(json!({"startTime": NEW, "conditions": conditions("True", NEW)})));
        carry_over(&shown, &mut wanted);
        let expected =
            status(json!({"startTime": OLD, "conditions": conditions("True", expected)}));
        assert_eq!(*wanted, expected, "{before}");
    }
}

#[test]
fn new_mirror_pod_has_nothing_to_carry_over() {
    let mut wanted =
        Arc::new(status(json!({"startTime": NEW, "conditions": conditions("True", NEW)})));
    let before = Arc::clone(&wanted);
    carry_over(&status(json!({"phase": "Pending"})), &mut wanted);
    assert!(Arc::ptr_eq(&wanted, &before));
}
