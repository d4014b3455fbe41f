use serde_json::json;

use super::*;

fn status(value: Value) -> api::PodStatus {
    serde_json::from_value(value).unwrap()
}

fn patch(current: Value, wanted: Value) -> Option<Value> {
    status_patch(&PodUid::from("u"), &status(current), &status(wanted)).map(|p| p["status"].clone())
}

#[test]
fn equal_statuses_need_no_patch() {
    let same = json!({ "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }] });
    assert_eq!(patch(same.clone(), same), None);
}

#[test]
fn patch_carries_the_uid_and_only_what_changed() {
    let current = status(json!({ "phase": "Pending", "hostIP": "10.0.0.1" }));
    let wanted = status(json!({ "phase": "Running", "hostIP": "10.0.0.1" }));
    let patch = status_patch(&PodUid::from("u"), &current, &wanted).unwrap();
    assert_eq!(patch, json!({ "metadata": { "uid": "u" }, "status": { "phase": "Running" } }));
}

#[test]
fn foreign_condition_is_neither_sent_nor_removed() {
    let foreign = json!({ "type": "example.com/gate", "status": "True" });
    let current = json!({ "conditions": [foreign, { "type": "Ready", "status": "False" }] });
    let wanted = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    assert_eq!(
        patch(current, wanted),
        Some(json!({ "conditions": [{ "type": "Ready", "status": "True" }] }))
    );
}

#[test]
fn reason_that_no_longer_holds_is_removed_from_its_condition() {
    let current = json!({ "conditions": [{ "type": "Ready", "status": "False", "reason": "x" }] });
    let wanted = json!({ "conditions": [{ "type": "Ready", "status": "True" }] });
    assert_eq!(
        patch(current, wanted),
        Some(json!({ "conditions": [{ "type": "Ready", "status": "True", "reason": null }] }))
    );
}

#[test]
fn changed_address_list_replaces_the_merged_one() {
    assert_eq!(
        patch(
            json!({ "podIPs": [{ "ip": "10.0.0.1" }] }),
            json!({ "podIPs": [{ "ip": "10.0.0.2" }] })
        ),
        Some(json!({ "podIPs": [{ "$patch": "replace" }, { "ip": "10.0.0.2" }] }))
    );
    assert_eq!(
        patch(json!({}), json!({ "podIPs": [{ "ip": "10.0.0.2" }] })),
        Some(json!({ "podIPs": [{ "ip": "10.0.0.2" }] }))
    );
}

#[test]
fn field_that_vanished_is_removed() {
    assert_eq!(patch(json!({ "message": "m" }), json!({})), Some(json!({ "message": null })));
}

#[test]
fn what_a_server_does_not_keep_was_told() {
    let sent = json!({ "status": { "phase": "Running", "hostIP": "10.0.0.1",
        "conditions": [{ "type": "A" }, { "type": "B" }], "gone": null } });
    let told = |rest: Value| was_told(&json!({ "status": rest }), &sent);
    assert!(told(json!({ "hostIP": "10.0.0.1" })));
    assert!(told(json!({ "conditions": [{ "type": "B" }], "gone": null })));
    assert!(!told(json!({ "conditions": [{ "type": "C" }] })));
    assert!(!told(json!({ "hostIP": "10.0.0.2" })));
    assert!(!told(json!({ "phase": "Running", "podIP": "10.0.0.3" })));
}
