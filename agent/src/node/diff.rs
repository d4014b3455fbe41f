//! Pure. The smallest strategic merge patch from one Node status to another.
//!
//! Maps and objects are patched field by field and `null` removes. Conditions are merged by their
//! type. The server would merge addresses by type too and so could not hold two of one type, so a
//! changed list of addresses replaces the old one, as upstream does it. All other lists are
//! replaced as a whole.

use k8s_openapi::api::core::v1::NodeStatus;
use serde_json::{Map, Value, json};

/// The patch of the `status` field; `None` when nothing changed. Condition heartbeats count as a
/// change only with `heartbeat`, but travel along with any condition that changed otherwise. So do
/// the first declared features with any other change: an API server that does not know them drops
/// them, and would be told again and again.
pub fn status_patch(old: &NodeStatus, new: &NodeStatus, heartbeat: bool) -> Option<Value> {
    let (old, new) = (to_map(old), to_map(new));
    let mut patch = Map::new();
    for field in old.keys().chain(new.keys().filter(|field| !old.contains_key(*field))) {
        let (before, after) = (old.get(field), new.get(field));
        let change = match field.as_str() {
            "conditions" => conditions_patch(before, after, heartbeat),
            "addresses" => addresses_patch(before, after),
            _ => value_patch(before, after),
        };
        if let Some(change) = change {
            patch.insert(field.clone(), change);
        }
    }
    let declares_alone = patch.len() == 1
        && patch.contains_key("declaredFeatures")
        && !old.contains_key("declaredFeatures");
    let unheard = patch.is_empty() || (declares_alone && !heartbeat);
    (!unheard).then(|| json!({"status": patch}))
}

/// The patch that brings string maps such as labels from `old` to `new` where they differ; fields
/// that only `old` has are left to whoever put them there. `None` when all of `new` is there.
pub fn labels_patch<'a>(
    old: impl Fn(&str) -> Option<&'a str>,
    new: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Option<Value> {
    let changed = new.into_iter().filter(|(name, value)| old(name) != Some(value));
    let patch: Map<String, Value> =
        changed.map(|(name, value)| (name.to_owned(), Value::from(value))).collect();
    (!patch.is_empty()).then_some(Value::Object(patch))
}

fn to_map(status: &NodeStatus) -> Map<String, Value> {
    match serde_json::to_value(status) {
        Ok(Value::Object(map)) => map,
        // A status is a struct whose maps have string keys.
        _ => Map::new(),
    }
}

/// `None` when equal; `null` when gone; for two objects the changed fields; else the new value.
fn value_patch(before: Option<&Value>, after: Option<&Value>) -> Option<Value> {
    match (before, after) {
        (before, after) if before == after => None,
        (_, None) => Some(Value::Null),
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut patch = Map::new();
            for field in before.keys().chain(after.keys().filter(|f| !before.contains_key(*f))) {
                if let Some(change) = value_patch(before.get(field), after.get(field)) {
                    patch.insert(field.clone(), change);
                }
            }
            Some(Value::Object(patch))
        }
        (_, Some(after)) => Some(after.clone()),
    }
}

fn conditions_patch(
    before: Option<&Value>,
    after: Option<&Value>,
    heartbeat: bool,
) -> Option<Value> {
    let before = before.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let after = after.and_then(Value::as_array)?;
    let differs = |condition: &&Value| {
        let old = before.iter().find(|old| old["type"] == condition["type"]);
        match old {
            Some(old) if heartbeat => old != *condition,
            Some(old) => without_heartbeat(old) != without_heartbeat(condition),
            None => true,
        }
    };
    let changed: Vec<Value> = after.iter().filter(differs).cloned().collect();
    (!changed.is_empty()).then_some(Value::Array(changed))
}

fn without_heartbeat(condition: &Value) -> Value {
    let mut condition = condition.clone();
    if let Value::Object(fields) = &mut condition {
        fields.remove("lastHeartbeatTime");
    }
    condition
}

fn addresses_patch(before: Option<&Value>, after: Option<&Value>) -> Option<Value> {
    if before == after {
        return None;
    }
    let mut list = after.and_then(Value::as_array).cloned().unwrap_or_default();
    list.push(json!({"$patch": "replace"}));
    Some(Value::Array(list))
}

#[cfg(test)]
mod tests;
