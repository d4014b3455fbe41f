//! Probes in the life of a pod.

use serde_json::{Value, json};

use super::*;
use crate::testing::fake_dialer::answer;

/// The pod `ns/web` whose container `app` has these probes.
fn probed(probes: &Value) -> PodBuilder {
    let mut probes = probes.clone();
    probes["name"] = json!("app");
    let probes: api::Container = serde_json::from_value(probes).unwrap();
    pod("ns/web").container("app").changed("app", |spec| {
        spec.startup_probe = probes.startup_probe;
        spec.readiness_probe = probes.readiness_probe;
        spec.liveness_probe = probes.liveness_probe;
    })
}

fn http() -> Value {
    json!({"httpGet": {"port": 80}, "periodSeconds": 5, "failureThreshold": 1})
}

fn is_ready(ground: &Ground) -> bool {
    let conditions = ground.status("web").conditions.unwrap_or_default();
    conditions.iter().any(|found| found.type_ == "Ready" && found.status == "True")
}

#[tokio::test(start_paused = true)]
async fn change_of_readiness_takes_one_status_write_and_no_restart() {
    let mut ground = Ground::new();
    ground.put(probed(&json!({"readinessProbe": http()})));
    ground.pass(2.0).await;
    assert!(is_ready(&ground), "{:?}", ground.status("web"));
    assert!(ground.status_writes() <= 3, "{:?}", ground.api.calls());
    for (status, ready) in [(500, false), (200, true)] {
        ground.dialer.set_http(Ok(answer(status, "")));
        let before = ground.status_writes();
        ground.pass(30.0).await;
        assert_eq!(is_ready(&ground), ready);
        assert_eq!(ground.status_writes() - before, 1);
    }
    assert_eq!(ground.runtime.count("create_container"), 1);
}

#[tokio::test(start_paused = true)]
async fn container_that_failed_its_liveness_probe_is_ended_with_the_probes_grace() {
    let mut ground = Ground::new();
    let mut liveness = http();
    liveness["terminationGracePeriodSeconds"] = json!(7);
    ground.put(probed(&json!({"livenessProbe": liveness})).grace(60));
    ground.pass(1.0).await;
    ground.dialer.set_http(Ok(answer(500, "")));
    ground.pass(5.0).await;
    assert_eq!(ground.runtime.count("stop_container container-2 7"), 1);
    ground.dialer.set_http(Ok(answer(200, "")));
    ground.pass(30.0).await;
    let status = ground.container_status("web");
    assert_eq!((status.restart_count, status.ready), (1, true));
    let events = ground.events();
    for reason in ["Unhealthy", "Killing"] {
        assert!(events.iter().any(|event| event == reason), "{reason} in {events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_liveness_restarts_what_then_ends_well_unless_nothing_may_restart() {
    for (policy, attempts) in [("Always", 2), ("OnFailure", 2), ("Never", 1)] {
        let mut ground = Ground::new();
        ground.put(probed(&json!({"livenessProbe": http()})).restart(policy));
        ground.pass(1.0).await;
        ground.dialer.set_http(Ok(answer(500, "")));
        ground.pass(4.5).await;
        ground.dialer.set_http(Ok(answer(200, "")));
        ground.pass(30.0).await;
        assert_eq!(ground.runtime.count("create_container"), attempts, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn probes_that_the_runtime_cannot_run_end_nothing() {
    let mut ground = Ground::new();
    let exec = json!({"exec": {"command": ["check"]}, "periodSeconds": 5, "failureThreshold": 1});
    ground.put(probed(&json!({"livenessProbe": exec, "readinessProbe": exec})));
    ground.pass(2.0).await;
    assert!(is_ready(&ground));
    ground.runtime.set_away(true);
    ground.pass(60.0).await;
    assert!(is_ready(&ground));
    ground.runtime.set_away(false);
    ground.pass(60.0).await;
    assert!(is_ready(&ground));
    assert_eq!(ground.runtime.count("stop_container"), 0);
    assert_eq!(ground.container_status("web").restart_count, 0);
}

#[tokio::test(start_paused = true)]
async fn readiness_survives_a_restart_of_the_agent_without_a_status_write() {
    let mut ground = Ground::new();
    let mut slow = http();
    slow["periodSeconds"] = json!(300);
    ground.put(probed(&json!({"startupProbe": http(), "readinessProbe": slow})));
    ground.pass(2.0).await;
    assert!(is_ready(&ground));
    let before = ground.status_writes();
    ground.kill_agent().await;
    ground.start_agent();
    ground.pass(600.0).await;
    assert!(is_ready(&ground));
    assert_eq!(ground.status_writes(), before);

    // Another container than the published one has to be probed.
    ground.kill_agent().await;
    ground.runtime.exit("app", 1);
    ground.dialer.set_http(Ok(answer(500, "")));
    ground.start_agent();
    ground.pass(1.0).await;
    assert!(!is_ready(&ground));
    assert_eq!(ground.container_status("web").started, Some(false));
}

#[tokio::test(start_paused = true)]
async fn readiness_is_probed_until_the_pod_has_ended_and_liveness_is_not() {
    let mut ground = Ground::new();
    let path = |path: &str| {
        let mut probe = http();
        probe["httpGet"]["path"] = json!(path);
        probe
    };
    let probes = json!({"livenessProbe": path("/live"), "readinessProbe": path("/ready")});
    ground.put(probed(&probes).grace(60));
    ground.runtime.ignore_sigterm("app");
    ground.pass(2.0).await;
    ground.delete("web", 60);
    ground.pass(1.0).await;
    let calls = |ground: &Ground, path: &str| {
        ground.dialer.calls().iter().filter(|call| call.ends_with(path)).count()
    };
    let (lives, readies) = (calls(&ground, "/live"), calls(&ground, "/ready"));
    ground.dialer.set_http(Ok(answer(500, "")));
    ground.pass(20.0).await;
    assert_eq!(calls(&ground, "/live"), lives);
    assert!(calls(&ground, "/ready") >= readies + 3);
    assert!(!is_ready(&ground));
    ground.pass(60.0).await;
    assert!(!ground.exists("web"));
    let after = ground.dialer.calls().len();
    ground.pass(60.0).await;
    assert_eq!(ground.dialer.calls().len(), after);
}
