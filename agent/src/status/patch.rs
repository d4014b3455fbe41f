//! Pure. The smallest strategic merge patch from the API's status to ours.

use k8s_openapi::api::core::v1 as api;
use serde_json::{Map, Value, json};

use super::conditions::is_own;
use crate::model::PodUid;

#[cfg(test)]
mod tests;

/// Lists that the API server merges by address, so that a changed one must be replaced outright.
const REPLACED_LISTS: [&str; 2] = ["podIPs", "hostIPs"];

/// Fields that the scheduler and the controllers write; they are never touched.
const FOREIGN_FIELDS: [&str; 4] =
    ["nominatedNodeName", "resize", "resourceClaimStatuses", "extendedResourceClaimStatus"];

/// The patch that turns `current` into `wanted`, or `None` when they are equal as the API sees
/// them. It carries the UID as precondition. Conditions that are not noded's and fields of others
/// are left alone; every other field only in `current` is removed.
pub fn status_patch(
    uid: &PodUid,
    current: &api::PodStatus,
    wanted: &api::PodStatus,
) -> Option<Value> {
    let current = to_object(current);
    let fields = to_object(wanted);
    let mut changes = Map::new();
    for (field, value) in &fields {
        let old = current.get(field);
        if old == Some(value) || FOREIGN_FIELDS.contains(&field.as_str()) {
            continue;
        }
        let change = match field.as_str() {
            "conditions" => match changed_conditions(old, own_conditions(wanted)) {
                Some(changed) => changed,
                None => continue,
            },
            list if REPLACED_LISTS.contains(&list) && old.is_some() => replaced(value),
            _ => value.clone(),
        };
        changes.insert(field.clone(), change);
    }
    for field in current.keys() {
        let foreign = field == "conditions" || FOREIGN_FIELDS.contains(&field.as_str());
        if !fields.contains_key(field) && !foreign {
            changes.insert(field.clone(), Value::Null);
        }
    }
    if changes.is_empty() {
        return None;
    }
    Some(json!({ "metadata": { "uid": uid.as_str() }, "status": changes }))
}

/// Whether `sent` said everything that `rest` says: a server that answers `sent` and still leaves
/// `rest` to be told does not take it.
pub fn was_told(rest: &Value, sent: &Value) -> bool {
    let (Some(rest), Some(sent)) = (rest["status"].as_object(), sent["status"].as_object()) else {
        return false;
    };
    rest.iter().all(|(field, value)| match (value, sent.get(field)) {
        (Value::Array(items), Some(Value::Array(told))) => {
            items.iter().all(|item| told.contains(item))
        }
        (value, told) => told == Some(value),
    })
}

/// The status as the JSON object the API server would send.
fn to_object(status: &api::PodStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        _ => Map::new(),
    }
}

fn own_conditions(status: &api::PodStatus) -> Vec<Value> {
    let own = status.conditions.iter().flatten().filter(|condition| is_own(condition));
    own.filter_map(|condition| serde_json::to_value(condition).ok()).collect()
}

fn changed_conditions(old: Option<&Value>, new: Vec<Value>) -> Option<Value> {
    let old = old.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let by_type = |kind: &Value| old.iter().find(|condition| condition.get("type") == Some(kind));
    let mut changed = Vec::new();
    for mut change in new {
        let before = change.get("type").and_then(by_type);
        if before == Some(&change) {
            continue;
        }
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
