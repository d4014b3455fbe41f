//! Pure. Strategic merge patch as the API server applies it to the lists a node patches.

use serde_json::Value;

/// List fields that are merged entry by entry, and the field that tells the entries apart (patch
/// merge keys of API v1). All other lists are replaced as a whole.
const MERGE_KEYS: [(&str, &str); 5] = [
    ("conditions", "type"),
    ("addresses", "type"),
    ("podIPs", "ip"),
    ("hostIPs", "ip"),
    ("ownerReferences", "uid"),
];

/// Applies `patch` to `target`: `null` removes, maps merge, keyed lists merge by key and honour
/// `$patch: delete` and `$patch: replace`.
pub fn strategic_merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() || patch.get("$patch").is_some_and(|how| how == "replace") {
        *target = Value::Object(serde_json::Map::new());
    }
    let Value::Object(target) = target else { return };
    for (field, change) in patch {
        if field.starts_with('$') {
            continue;
        }
        let merge_key = MERGE_KEYS.iter().find(|(name, _)| name == field).map(|(_, key)| *key);
        match (change, merge_key) {
            (Value::Null, _) => {
                target.remove(field);
            }
            (Value::Array(changes), Some(merge_key)) => {
                let list = target.entry(field).or_insert_with(|| Value::Array(Vec::new()));
                merge_list(list, changes, merge_key);
            }
            _ => strategic_merge(target.entry(field).or_insert(Value::Null), change),
        }
    }
}

fn merge_list(list: &mut Value, changes: &[Value], merge_key: &str) {
    let Value::Array(entries) = list else {
        *list = Value::Array(changes.to_vec());
        return;
    };
    let is_replace = |change: &&Value| change.get("$patch").is_some_and(|how| how == "replace");
    if changes.iter().any(|change| is_replace(&change)) {
        // The rest of the list stands as it is, also with several entries of one key.
        *entries = changes.iter().filter(|change| !is_replace(change)).cloned().collect();
        return;
    }
    for change in changes {
        let Some(key) = change.get(merge_key) else { continue };
        let place = entries.iter().position(|entry| entry.get(merge_key) == Some(key));
        let deletes = change.get("$patch").is_some_and(|how| how == "delete");
        match (place, deletes) {
            (Some(place), true) => {
                entries.remove(place);
            }
            (None, true) => {}
            (Some(place), false) => strategic_merge(&mut entries[place], change),
            (None, false) => entries.push(change.clone()),
        }
    }
}
