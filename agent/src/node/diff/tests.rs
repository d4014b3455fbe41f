use proptest::prelude::*;
use serde_json::from_value;

use super::*;
use crate::testing::merge_patch::strategic_merge;

fn status(value: Value) -> NodeStatus {
    from_value(value).unwrap()
}

/// before | after | heartbeat | patch
#[test]
fn patch_holds_what_changed_and_no_more() {
    let condition = |type_: &str, status: &str, beat: &str| json!({"type": type_, "status": status, "lastHeartbeatTime": beat});
    let (t0, t1) = ("2026-01-01T00:00:00Z", "2026-01-01T00:00:10Z");
    let table = [
        (
            "equal",
            json!({"capacity": {"cpu": "4"}}),
            json!({"capacity": {"cpu": "4"}}),
            false,
            None,
        ),
        (
            "one map entry",
            json!({"capacity": {"cpu": "4", "memory": "1Gi"}}),
            json!({"capacity": {"cpu": "2", "memory": "1Gi"}}),
            false,
            Some(json!({"capacity": {"cpu": "2"}})),
        ),
        (
            "entry gone",
            json!({"capacity": {"cpu": "4", "x/y": "1"}}),
            json!({"capacity": {"cpu": "4"}}),
            false,
            Some(json!({"capacity": {"x/y": null}})),
        ),
        (
            "list is replaced",
            json!({"images": [{"names": ["a"], "sizeBytes": 1}]}),
            json!({"images": [{"names": ["b"], "sizeBytes": 1}]}),
            false,
            Some(json!({"images": [{"names": ["b"], "sizeBytes": 1}]})),
        ),
        ("field gone", json!({"images": []}), json!({}), false, Some(json!({"images": null}))),
        (
            "features that a server may not know wait for another change",
            json!({"capacity": {"cpu": "4"}}),
            json!({"capacity": {"cpu": "4"}, "declaredFeatures": ["A"]}),
            false,
            None,
        ),
        (
            "and come with it",
            json!({"capacity": {"cpu": "4"}}),
            json!({"capacity": {"cpu": "2"}, "declaredFeatures": ["A"]}),
            false,
            Some(json!({"capacity": {"cpu": "2"}, "declaredFeatures": ["A"]})),
        ),
        (
            "or with the heartbeat",
            json!({"capacity": {"cpu": "4"}}),
            json!({"capacity": {"cpu": "4"}, "declaredFeatures": ["A"]}),
            true,
            Some(json!({"declaredFeatures": ["A"]})),
        ),
        (
            "features that a server knows are a change",
            json!({"declaredFeatures": ["A"]}),
            json!({"declaredFeatures": ["B"]}),
            false,
            Some(json!({"declaredFeatures": ["B"]})),
        ),
        (
            "heartbeat alone is no change",
            json!({"conditions": [condition("Ready", "True", t0)]}),
            json!({"conditions": [condition("Ready", "True", t1)]}),
            false,
            None,
        ),
        (
            "heartbeat is due",
            json!({"conditions": [condition("Ready", "True", t0)]}),
            json!({"conditions": [condition("Ready", "True", t1)]}),
            true,
            Some(json!({"conditions": [condition("Ready", "True", t1)]})),
        ),
        (
            "changed condition brings its heartbeat",
            json!({"conditions": [condition("A", "True", t0), condition("Ready", "True", t0)]}),
            json!({"conditions": [condition("A", "True", t1), condition("Ready", "False", t1)]}),
            false,
            Some(json!({"conditions": [condition("Ready", "False", t1)]})),
        ),
        (
            "addresses are replaced",
            json!({"addresses": [{"type": "InternalIP", "address": "1.1.1.1"}]}),
            json!({"addresses": [{"type": "InternalIP", "address": "2.2.2.2"}]}),
            false,
            Some(
                json!({"addresses": [{"type": "InternalIP", "address": "2.2.2.2"}, {"$patch": "replace"}]}),
            ),
        ),
    ];
    for (case, before, after, heartbeat, patch) in table {
        let found = status_patch(&status(before), &status(after), heartbeat);
        assert_eq!(found, patch.map(|patch| json!({"status": patch})), "{case}");
    }
}

#[test]
fn labels_of_others_are_left() {
    let old = |name: &str| (name == "kept").then_some("1");
    assert_eq!(labels_patch(old, [("kept", "1")]), None);
    assert_eq!(
        labels_patch(old, [("kept", "2"), ("new", "3")]),
        Some(json!({"kept": "2", "new": "3"}))
    );
}

fn any_status() -> impl Strategy<Value = NodeStatus> {
    let amounts = prop::collection::btree_map("[abc]", "[1-9]", 0..3);
    let conditions = prop::collection::btree_map("[AB]", ("True|False", 0..3u8), 0..3);
    let addresses = prop::collection::vec("[1-3]", 0..3);
    (amounts, conditions, addresses).prop_map(|(amounts, conditions, addresses)| {
        let conditions: Vec<Value> = conditions
            .into_iter()
            .map(|(type_, (state, beat))| json!({"type": type_, "status": state, "lastHeartbeatTime": format!("2026-01-01T00:00:0{beat}Z")}))
            .collect();
        let addresses: Vec<Value> = addresses.into_iter().map(|ip| json!({"type": "InternalIP", "address": ip})).collect();
        status(json!({"capacity": amounts, "conditions": conditions, "addresses": addresses}))
    })
}

proptest! {
    #[test]
    fn status_does_not_differ_from_itself(status in any_status()) {
        prop_assert_eq!(status_patch(&status, &status, true), None);
    }

    #[test]
    fn applied_patch_gives_the_new_status(old in any_status(), mut new in any_status()) {
        // Conditions are never taken away.
        let mut conditions = old.conditions.clone().unwrap_or_default();
        for condition in new.conditions.take().unwrap_or_default() {
            match conditions.iter_mut().find(|kept| kept.type_ == condition.type_) {
                Some(kept) => *kept = condition,
                None => conditions.push(condition),
            }
        }
        new.conditions = Some(conditions);
        let mut object = json!({"status": old});
        if let Some(patch) = status_patch(&old, &new, true) {
            strategic_merge(&mut object, &patch);
        }
        prop_assert_eq!(&object["status"], &serde_json::to_value(&new).unwrap());
    }
}
