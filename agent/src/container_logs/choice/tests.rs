use serde_json::{Value, json};

use super::*;

/// Chooses in a pod `p` with the status of one container `c`.
fn choose(list: &str, status: Value, previous: bool) -> Result<String, String> {
    let mut status = status;
    status["name"] = "c".into();
    for field in ["image", "imageID"] {
        status[field] = "".into();
    }
    for field in ["restartCount", "ready"] {
        status[field] = if field == "ready" { json!(false) } else { json!(0) };
    }
    let status = serde_json::from_value(json!({ list: [status] })).unwrap();
    choose_instance("p", &status, "c", previous).map(|id| id.to_string())
}

fn ended(id: &str) -> Value {
    json!({"terminated": {"exitCode": 0, "containerID": id}})
}

fn current(status: Value) -> Result<String, String> {
    choose("containerStatuses", status, false)
}

#[test]
fn running_instance_comes_first_and_the_ended_one_next() {
    let running = json!({"state": {"running": {}}, "containerID": "containerd://b",
        "lastState": ended("containerd://a")});
    assert_eq!(current(running.clone()), Ok("b".to_owned()));
    assert_eq!(choose("containerStatuses", running, true), Ok("a".to_owned()));
    let over = json!({"state": ended("containerd://b"), "lastState": ended("containerd://a")});
    assert_eq!(current(over), Ok("b".to_owned()));
    let waiting = json!({"state": {"waiting": {"reason": "CrashLoopBackOff"}},
        "lastState": ended("containerd://a")});
    assert_eq!(current(waiting), Ok("a".to_owned()));
    let never_made = json!({"state": ended(""), "lastState": ended("containerd://a")});
    assert_eq!(current(never_made), Ok("a".to_owned()));
}

#[test]
fn containers_of_all_kinds_are_found() {
    let lists = ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"];
    for list in lists {
        let status = json!({"state": {"running": {}}, "containerID": "containerd://a"});
        assert_eq!(choose(list, status, false), Ok("a".to_owned()), "{list}");
    }
}

#[test]
fn errors_are_those_of_the_kubelet() {
    let waiting = |reason: &str| current(json!({"state": {"waiting": {"reason": reason}}}));
    let error = |text: &str| Err(format!(r#"container "c" in pod "p" is {text}"#));
    assert_eq!(waiting("ContainerCreating"), error("waiting to start: ContainerCreating"));
    assert_eq!(waiting("PodInitializing"), error("waiting to start: PodInitializing"));
    assert_eq!(waiting("ErrImagePull"), error("waiting to start: image can't be pulled"));
    assert_eq!(
        waiting("ImagePullBackOff"),
        error("waiting to start: trying and failing to pull image")
    );
    assert_eq!(current(json!({})), error("waiting to start - no logs yet"));
    assert_eq!(current(json!({"state": ended("")})), error("terminated"));
    assert_eq!(
        choose_instance("p", &api::PodStatus::default(), "c", false),
        Err(r#"container "c" in pod "p" is not available"#.to_owned())
    );
    assert_eq!(
        choose("containerStatuses", json!({"state": {"running": {}}}), true),
        Err(r#"previous terminated container "c" in pod "p" not found"#.to_owned())
    );
}
