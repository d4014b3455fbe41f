use super::*;
use crate::podexec::labels::{TERMINATION_MESSAGE_PATH, TERMINATION_MESSAGE_POLICY};
use cri_proto::runtime::v1::Mount;
use std::collections::HashMap;
use std::fs;

fn status(policy: &str, exit_code: i32) -> ContainerStatus {
    let annotation = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    ContainerStatus {
        state: ContainerState::ContainerExited as i32,
        exit_code,
        log_path: "/logs/0.log".to_owned(),
        annotations: HashMap::from([
            annotation(TERMINATION_MESSAGE_PATH, "/dev/termination-log"),
            annotation(TERMINATION_MESSAGE_POLICY, policy),
        ]),
        mounts: vec![
            Mount { container_path: "/x".into(), host_path: "/no".into(), ..Default::default() },
            Mount {
                container_path: "/dev/termination-log".into(),
                host_path: "/pods/u/containers/c/0a".into(),
                ..Default::default()
            },
        ],
        ..Default::default()
    }
}

#[test]
fn log_is_a_source_only_for_failures_that_ask_for_it() {
    let file = Some(PathBuf::from("/pods/u/containers/c/0a"));
    let log = Some(PathBuf::from("/logs/0.log"));
    let cannot_run = ContainerStatus {
        reason: "ContainerCannotRun".to_owned(),
        ..status(FALLBACK_TO_LOGS, 128)
    };
    for (status, expected) in [
        (status("File", 1), Sources { file: file.clone(), log: None }),
        (status(FALLBACK_TO_LOGS, 0), Sources { file: file.clone(), log: None }),
        (status(FALLBACK_TO_LOGS, 1), Sources { file: file.clone(), log }),
        (cannot_run, Sources { file, log: None }),
    ] {
        assert_eq!(sources(&status), Some(expected));
    }
    let running = ContainerStatus {
        state: ContainerState::ContainerRunning as i32,
        ..status(FALLBACK_TO_LOGS, 1)
    };
    assert_eq!(sources(&running), None);
    assert_eq!(
        sources(&ContainerStatus { annotations: HashMap::new(), ..status("File", 1) }),
        None
    );
}

#[test]
fn end_of_the_file_is_the_message() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("0a");
    let of = |file: &Path| read(&Sources { file: Some(file.to_owned()), log: None });
    assert_eq!(of(&file), "");
    fs::write(&file, "bye").unwrap();
    assert_eq!(of(&file), "bye");
    fs::write(&file, format!("{}{}", "a".repeat(10), "b".repeat(4096))).unwrap();
    assert_eq!(of(&file), "b".repeat(4096));
    assert!(of(dir.path()).starts_with("Error on reading termination log"));
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&file, &link).unwrap();
    assert!(of(&link).starts_with("Error on reading termination log"));
}

#[test]
fn empty_file_falls_back_to_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (file, log) = (dir.path().join("0a"), dir.path().join("0.log"));
    fs::write(&file, "").unwrap();
    let both = Sources { file: Some(file.clone()), log: Some(log.clone()) };
    assert!(read(&both).starts_with("Error on reading termination message from logs"));
    let text = "2026-01-01T00:00:00.1Z stdout F one\n2026-01-01T00:00:00.2Z stderr P tw\n\
                2026-01-01T00:00:00.2Z stderr F o\nbroken\n";
    fs::write(&log, text).unwrap();
    assert_eq!(read(&both), "one\ntwo\n");
    fs::write(&file, "own words").unwrap();
    assert_eq!(read(&both), "own words");
}

#[test]
fn log_is_cut_to_its_last_lines_and_bytes() {
    let line = |text: &str| format!("2026-01-01T00:00:00.1Z stdout F {text}\n");
    let many: String = (0..100).map(|number| line(&number.to_string())).collect();
    let expected: String = (20..100).map(|number| format!("{number}\n")).collect();
    assert_eq!(end_of_log(many.as_bytes(), true), expected);
    let long = line(&"x".repeat(3000));
    assert_eq!(end_of_log(long.as_bytes(), true), format!("{}\n", "x".repeat(2047)));
    let cut = format!("st of a line\n{}", line("whole"));
    assert_eq!(end_of_log(cut.as_bytes(), false), "whole\n");
}

#[test]
fn messages_of_runtime_and_container_are_joined() {
    assert_eq!(joined("", ""), "");
    assert_eq!(joined("oom", ""), "oom");
    assert_eq!(joined("", "bye"), "bye");
    assert_eq!(joined("oom", "bye"), "oom: bye");
}
