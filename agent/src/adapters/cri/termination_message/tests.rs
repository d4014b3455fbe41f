use super::*;
use crate::podexec::labels::{
    CONTAINER_NAME, POD_UID, TERMINATION_MESSAGE_PATH, TERMINATION_MESSAGE_POLICY,
};
use cri_proto::runtime::v1::Mount;
use std::collections::HashMap;
use std::fs;

fn status(policy: &str, exit_code: i32) -> ContainerStatus {
    let annotation = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    ContainerStatus {
        state: ContainerState::ContainerExited as i32,
        exit_code,
        log_path: "/logs/0.log".to_owned(),
        labels: HashMap::from([annotation(POD_UID, "u"), annotation(CONTAINER_NAME, "c")]),
        annotations: HashMap::from([
            annotation(TERMINATION_MESSAGE_PATH, "/dev/termination-log"),
            annotation(TERMINATION_MESSAGE_POLICY, policy),
        ]),
        mounts: vec![
            Mount { container_path: "/x".into(), host_path: "/no".into(), ..Default::default() },
            Mount {
                container_path: "/dev/termination-log".into(),
                host_path: "/root/pods/u/containers/c/0a".into(),
                ..Default::default()
            },
        ],
        ..Default::default()
    }
}

fn message_file(pods: impl Into<PathBuf>, name: &str) -> MessageFile {
    MessageFile { pods: pods.into(), path: Path::new("u/containers/c").join(name) }
}

#[test]
fn only_the_file_that_was_made_for_the_container_is_read() {
    for (host_path, found) in [
        ("/a/pods/u/containers/c/0a", true),
        ("/a/pods/u/containers/other/0a", false),
        ("/a/pods/v/containers/c/0a", false),
        ("/a/pods/u/containers/c/../0a", false),
        ("/a/pods/u/volumes/kubernetes.io~empty-dir/v/0a", false),
        ("/etc/shadow", false),
        ("", false),
    ] {
        let mut status = status("File", 1);
        status.mounts[1].host_path = host_path.to_owned();
        assert_eq!(sources(&status).is_some(), found, "{host_path}");
    }
}

#[test]
fn log_is_a_source_only_for_failures_that_ask_for_it() {
    let file = Some(message_file("/root/pods", "0a"));
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
    let place = dir.path().join("u/containers/c");
    fs::create_dir_all(&place).unwrap();
    let of = |name: &str| read(&Sources { file: Some(message_file(dir.path(), name)), log: None });
    assert_eq!(of("0a"), "");
    fs::write(place.join("0a"), "bye").unwrap();
    assert_eq!(of("0a"), "bye");
    fs::write(place.join("0a"), format!("{}{}", "a".repeat(10), "b".repeat(4096))).unwrap();
    assert_eq!(of("0a"), "b".repeat(4096));
    let unreadable = |name: &str| of(name).starts_with("Error on reading termination log");
    std::os::unix::fs::symlink(place.join("0a"), place.join("link")).unwrap();
    assert!(unreadable("link"));
    fs::create_dir(place.join("directory")).unwrap();
    assert!(unreadable("directory"));
    nix::unistd::mkfifo(&place.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert!(unreadable("pipe"));
    // Neither is a link on the way there followed.
    fs::rename(&place, dir.path().join("elsewhere")).unwrap();
    std::os::unix::fs::symlink(dir.path().join("elsewhere"), &place).unwrap();
    assert!(unreadable("0a"));
}

#[test]
fn empty_file_falls_back_to_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let place = dir.path().join("u/containers/c");
    fs::create_dir_all(&place).unwrap();
    let (file, log) = (place.join("0a"), dir.path().join("0.log"));
    fs::write(&file, "").unwrap();
    let both = Sources { file: Some(message_file(dir.path(), "0a")), log: Some(log.clone()) };
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
