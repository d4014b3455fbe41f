use super::*;
use serde_json::{Value, json};

fn items(json: Value) -> Vec<api::KeyToPath> {
    serde_json::from_value(json).unwrap()
}

fn config_map() -> api::ConfigMap {
    serde_json::from_value(json!({"data": {"a": "1"}, "binaryData": {"b": "/w=="}})).unwrap()
}

fn shown(payload: &Payload) -> Vec<String> {
    let line = |(path, file): (&String, &PayloadFile)| {
        format!("{path} {:o} {}", file.mode, file.bytes.escape_ascii())
    };
    payload.iter().map(line).collect()
}

#[test]
fn every_key_is_a_file_without_items() {
    let payload = config_map_payload(&config_map(), &[], 0o644, false).unwrap();
    assert_eq!(shown(&payload), ["a 644 1", "b 644 \\xff"]);
}

#[test]
fn items_choose_keys_paths_and_modes() {
    let items =
        items(json!([{"key": "b", "path": "d/e"}, {"key": "a", "path": "f", "mode": 0o400}]));
    let payload = config_map_payload(&config_map(), &items, 0o644, false).unwrap();
    assert_eq!(shown(&payload), ["d/e 644 \\xff", "f 400 1"]);
}

#[test]
fn missing_keys_fail_unless_optional() {
    let items = items(json!([{"key": "a", "path": "a"}, {"key": "no", "path": "n"}]));
    let map = config_map();
    let error = config_map_payload(&map, &items, 0o644, false).unwrap_err();
    assert_eq!(error.to_string(), "configmap references non-existent config key: no");
    let payload = config_map_payload(&map, &items, 0o644, true).unwrap();
    assert_eq!(shown(&payload), ["a 644 1"]);
    let secret = SecretObject::new(api::Secret::default());
    let error = secret_payload(&secret, &items, 0o644, false).unwrap_err();
    assert_eq!(error.to_string(), "references non-existent secret key: a");
}

#[test]
fn debug_output_shows_no_content() {
    let secret = json!({"data": {"password": "aHVudGVyMg=="}});
    let secret = SecretObject::new(serde_json::from_value(secret).unwrap());
    let payload = secret_payload(&secret, &[], 0o600, false).unwrap();
    assert_eq!(
        format!("{payload:?} {secret:?}"),
        "{\"password\": PayloadFile(7 bytes, 600, None)} {\"password\"}"
    );
}
