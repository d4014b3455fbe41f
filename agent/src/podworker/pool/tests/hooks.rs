//! Containers with hooks.

use std::time::Duration;

use super::{Ground, uid};
use crate::testing::build::{PodBuilder, pod};

/// `name` with hooks of its container `app`.
fn hooked(name: &str, hooks: serde_json::Value) -> PodBuilder {
    let hooks = serde_json::from_value(hooks).unwrap();
    pod(name).container("app").changed("app", |spec| spec.lifecycle = Some(hooks))
}

fn command(what: &str) -> serde_json::Value {
    serde_json::json!({"exec": {"command": [what]}})
}

#[tokio::test(start_paused = true)]
async fn container_has_not_started_before_its_post_start_hook_has_ended() {
    let mut ground = Ground::new();
    ground.runtime.set_exec_time("app", Duration::from_secs(5));
    let hooks = serde_json::json!({"postStart": command("warm-up")});
    ground.put(hooked("ns/web", hooks).container("next"));
    ground.pass(4.0).await;
    assert_eq!(ground.runtime.running(), ["app"], "the next container waits for the hook");
    assert_eq!(ground.phase("web"), "Pending");
    assert_eq!(ground.waiting_reason("web"), "ContainerCreating");
    ground.pass(2.0).await;
    assert_eq!(ground.runtime.count("exec_sync app warm-up"), 1);
    assert_eq!(ground.runtime.running(), ["app", "next"]);
    assert_eq!(ground.phase("web"), "Running");
    assert_eq!(ground.events().iter().filter(|event| *event == "Started").count(), 2);
}

#[tokio::test(start_paused = true)]
async fn failed_post_start_hook_ends_the_container_and_backs_off() {
    let mut ground = Ground::new();
    ground.runtime.set_exec("app", 3, "no luck");
    let hooks = serde_json::json!({"postStart": command("warm-up"), "preStop": command("bye")});
    ground.put(hooked("ns/web", hooks));
    ground.pass(5.0).await;
    // The first restart is immediate, the second waits for 10 s.
    assert_eq!(ground.runtime.container("app").unwrap().attempt, 1);
    assert_eq!(ground.waiting_reason("web"), "CrashLoopBackOff");
    assert_eq!(ground.runtime.count("exec_sync app warm-up"), 2);
    assert_eq!(ground.runtime.count("exec_sync app bye"), 2);
    let events = ground.events();
    for reason in ["FailedPostStartHook", "FailedPreStopHook", "Killing"] {
        assert!(events.iter().any(|event| event == reason), "{reason} in {events:?}");
    }
    ground.runtime.set_exec("app", 0, "");
    ground.pass(10.0).await;
    assert!(ground.container_status("web").ready);
}

#[tokio::test(start_paused = true)]
async fn failed_post_start_hook_is_the_reason_why_a_container_waits() {
    let mut ground = Ground::new();
    ground.runtime.set_exec("app", 3, "no luck");
    ground.put(hooked("ns/web", serde_json::json!({"postStart": command("warm-up")})));
    ground.runtime.ignore_sigterm("app");
    ground.pass(2.0).await;
    ground.supplies.hold("container");
    ground.pass(30.0).await;
    assert_eq!(ground.waiting_reason("web"), "PostStartHookError");
    let state = ground.container_status("web").state.unwrap_or_default();
    let message = state.waiting.and_then(|waiting| waiting.message).unwrap_or_default();
    assert!(message.contains("([warm-up]) for Container \"app\" in Pod \"web_ns(uid-web)\""));
    assert!(message.ends_with("message: \"no luck\""), "{message}");
}

#[tokio::test(start_paused = true)]
async fn deletion_ends_a_post_start_hook_that_hangs() {
    let mut ground = Ground::new();
    ground.runtime.set_exec_time("app", Duration::from_secs(3600));
    ground.put(hooked("ns/web", serde_json::json!({"postStart": command("hang")})));
    ground.pass(5.0).await;
    ground.delete("web", 30);
    ground.pass(2.0).await;
    assert!(!ground.exists("web"));
    assert!(ground.is_clear());
}

#[tokio::test(start_paused = true)]
async fn restart_of_the_agent_leaves_a_post_start_hook_behind() {
    let mut ground = Ground::new();
    ground.runtime.set_exec_time("app", Duration::from_secs(3600));
    ground.put(hooked("ns/web", serde_json::json!({"postStart": command("hang")})));
    ground.pass(5.0).await;
    assert_eq!(ground.phase("web"), "Pending");
    ground.kill_agent().await;
    ground.start_agent();
    ground.pass(5.0).await;
    assert!(ground.container_status("web").ready);
    assert_eq!(ground.runtime.count("exec_sync"), 1);
}

#[tokio::test(start_paused = true)]
async fn pre_stop_hook_takes_its_time_from_the_grace() {
    for (takes, expected) in [(5, 25), (29, 2), (3600, 2)] {
        let mut ground = Ground::new();
        ground.runtime.set_exec_time("app", Duration::from_secs(takes));
        ground.put(hooked("ns/web", serde_json::json!({"preStop": command("bye")})));
        ground.pass(1.0).await;
        let id = ground.runtime.container("app").unwrap().id;
        ground.delete("web", 30);
        ground.pass(31.0).await;
        assert_eq!(ground.runtime.count(&format!("stop_container {id} {expected}")), 1);
        assert!(!ground.exists("web"), "{takes}");
        assert!(ground.is_clear());
        let events = ground.events();
        let count = |reason: &str| events.iter().filter(|event| *event == reason).count();
        assert_eq!(count("Killing"), 1);
        assert_eq!(count("FailedPreStopHook"), usize::from(takes > 30));
    }
}

#[tokio::test(start_paused = true)]
async fn later_deletion_with_less_grace_cuts_a_hook() {
    for hook in [command("hang"), serde_json::json!({"sleep": {"seconds": 3600}})] {
        let mut ground = Ground::new();
        ground.runtime.set_exec_time("app", Duration::from_secs(3600));
        ground.put(hooked("ns/web", serde_json::json!({"preStop": hook})));
        ground.pass(1.0).await;
        ground.delete("web", 600);
        ground.pass(5.0).await;
        assert_eq!(ground.runtime.running(), ["app"]);
        ground.delete("web", 3);
        ground.pass(2.5).await;
        assert_eq!(ground.runtime.running(), ["app"]);
        ground.pass(2.0).await;
        assert!(!ground.exists("web"));
    }
}

#[tokio::test(start_paused = true)]
async fn hook_of_a_container_that_ends_meanwhile_holds_nothing_up() {
    let mut ground = Ground::new();
    let hook = serde_json::json!({"preStop": {"sleep": {"seconds": 500}}});
    ground.put(hooked("ns/web", hook));
    ground.pass(1.0).await;
    ground.delete("web", 600);
    ground.pass(5.0).await;
    ground.runtime.exit("app", 0);
    ground.pass(2.0).await;
    assert!(!ground.exists("web"));
    assert_eq!(ground.runtime.count("stop_container"), 0);
    assert!(!ground.events().contains(&"FailedPreStopHook".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn container_that_has_ended_gets_no_hook() {
    let mut ground = Ground::new();
    let hooks = serde_json::json!({"preStop": command("bye")});
    ground.put(hooked("ns/web", hooks).restart("Never"));
    ground.pass(1.0).await;
    ground.runtime.exit("app", 0);
    ground.delete("web", 30);
    ground.pass(2.0).await;
    assert!(!ground.exists("web"));
    assert_eq!(ground.runtime.count("exec_sync"), 0);
}

#[tokio::test(start_paused = true)]
async fn orphan_is_ended_with_its_hook() {
    let mut ground = Ground::new();
    ground.put(hooked("ns/web", serde_json::json!({"preStop": command("bye")})));
    ground.pass(1.0).await;
    ground.kill_agent().await;
    ground.api.remove_pod(&uid("web"));
    ground.start_agent();
    ground.pass(5.0).await;
    assert_eq!(ground.runtime.count("exec_sync app bye"), 1);
    assert!(ground.is_clear());
}
