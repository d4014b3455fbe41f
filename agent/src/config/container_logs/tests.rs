use serde_json::{Value, json};

use super::*;

fn rotation(fields: Value) -> Result<LogRotation, Vec<String>> {
    let mut reader = Reader { problems: Vec::new() };
    let rotation = resolve(&mut reader, &serde_json::from_value(fields).unwrap());
    if reader.problems.is_empty() { Ok(rotation) } else { Err(reader.problems) }
}

#[test]
fn defaults_are_those_of_the_kubelet() {
    let wanted = LogRotation {
        max_size: Some(10 << 20),
        max_files: 5,
        workers: 1,
        interval: Duration::from_secs(10),
    };
    assert_eq!(rotation(json!({})), Ok(wanted));
    assert_eq!(rotation(json!({"containerLogMaxSize": ""})), Ok(wanted));
}

#[test]
fn values_are_taken_and_negative_size_rotates_nothing() {
    let found = rotation(json!({
        "containerLogMaxSize": "4Ki",
        "containerLogMaxFiles": 2,
        "containerLogMaxWorkers": 3,
        "containerLogMonitorInterval": "3s",
    }));
    let wanted = LogRotation {
        max_size: Some(4096),
        max_files: 2,
        workers: 3,
        interval: Duration::from_secs(3),
    };
    assert_eq!(found, Ok(wanted));
    let off = rotation(json!({"containerLogMaxSize": "-1", "containerLogMaxFiles": 1})).unwrap();
    assert_eq!(off.max_size, None);
}

#[test]
fn each_bad_value_is_named() {
    for (fields, wanted) in [
        (json!({"containerLogMaxSize": "big"}), "containerLogMaxSize: \"big\" is not a quantity"),
        (json!({"containerLogMaxFiles": 1}), "containerLogMaxFiles: must be 2 or more"),
        (json!({"containerLogMaxFiles": -1}), "containerLogMaxFiles: -1 is out of range"),
        (json!({"containerLogMaxWorkers": 0}), "containerLogMaxWorkers: must be 1 or more"),
        (
            json!({"containerLogMonitorInterval": "2s"}),
            "containerLogMonitorInterval: must be 3s or longer",
        ),
    ] {
        let problems = rotation(fields).unwrap_err();
        assert!(problems[0].starts_with(wanted), "{problems:?}");
    }
}
