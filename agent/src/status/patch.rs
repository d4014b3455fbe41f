//! Pure. The smallest strategic merge patch from the API's status to ours.

use k8s_openapi::api::core::v1 as api;
use serde_json::{Map, Value, json};

use crate::model::PodUid;

#[cfg(test)]
mod tests;

/// Lists that the API server merges by address, so that a changed one must be replaced outright.
const REPLACED_LISTS: [&str; 2] = ["podIPs", "hostIPs"];

/// The patch that turns `current` into `wanted`, or `None` when they are equal as the API sees
/// them. It carries the UID as precondition. Conditions only in `current` are left alone, since
/// they belong to others; every other field only in `current` is removed.
pub fn status_patch(
    uid: &PodUid,
    current: &api::PodStatus,
    wanted: &api::PodStatus,
) -> Option<Value> {
    let current = to_object(current);
    let wanted = to_object(wanted);
    let mut changes = Map::new();
    for (field, value) in &wanted {
        let old = current.get(field);
        if old == Some(value) {
            continue;
        }
        let change = match field.as_str() {
            "conditions" => match changed_conditions(old, value) {
                Some(changed) => changed,
                None => continue,
            },
            list if REPLACED_LISTS.contains(&list) && old.is_some() => replaced(value),
            _ => value.clone(),
        };
        changes.insert(field.clone(), change);
    }
    for field in current.keys() {
        if !wanted.contains_key(field) && field != "conditions" {
            changes.insert(field.clone(), Value::Null);
        }
    }
    if changes.is_empty() {
        return None;
    }
    Some(json!({ "metadata": { "uid": uid.as_str() }, "status": changes }))
}

/// The status as the JSON object the API server would send.
fn to_object(status: &api::PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn changed_conditions(old: Option<&Value>, new: &Value) -> Option<Value> {
    let old = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let by_type = |kind: &Value| old.iter().find(|condition| condition.get("type") == Some(kind));
    let mut changed = Vec::new();
    for condition in new.as_array().map(Vec::as_slice).unwrap_or_default() {
        let before = condition.get("type").and_then(by_type);
        if before == Some(condition) {
            continue;
        }
        let mut change = condition.clone();
        if let (Some(change), Some(Value::Object(before))) = (change.as_object_mut(), before) {
            for gone in before.keys() {
                change.entry(gone.clone()).or_insert(Value::Null);
            }
        }
        changed.push(change);
    }
    (!changed.is_empty()).then_some(Value::Array(changed))
}

fn replaced(list: &Value) -> Value {
    let mut out = vec![json!({ "$patch": "replace" })];
    out.extend(list.as_array().into_iter().flatten().cloned());
    Value::Array(out)
}
