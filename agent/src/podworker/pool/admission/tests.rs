//! Pods that wait for room, make it, or have it.

use serde_json::json;

use super::*;
use crate::boundary::ApiError;
use crate::model::RuntimeFeatures;
use crate::model::quantity::Quantity;
use crate::podworker::EndCause;
use crate::podworker::pool::tests::{Ground, uid};
use crate::testing::build::{PodBuilder, pod};

/// A Node with this many CPUs and these labels.
fn node(cpus: &str, labels: serde_json::Value) -> api::Node {
    let object = json!({
        "metadata": { "name": "node", "labels": labels },
        "status": { "allocatable": { "cpu": cpus, "memory": "8Gi", "pods": "110" } },
    });
    serde_json::from_value(object).unwrap()
}

impl Ground {
    fn set_node(&self, node: api::Node) {
        self.change_node(|view| view.node = Some(Arc::new(node)));
    }

    fn reason(&self, name: &str) -> String {
        self.status(name).reason.unwrap_or_default()
    }

    fn runs(&self) -> Vec<String> {
        let mut running = self.runtime.running();
        running.sort();
        running
    }
}

fn asking(name: &str, cpu: &str) -> PodBuilder {
    pod(&format!("ns/{name}")).container(name).requests(&[("cpu", cpu)]).grace(5)
}

fn critical(name: &str, cpu: &str) -> PodBuilder {
    asking(name, cpu).priority(2_000_000_000)
}

#[tokio::test(start_paused = true)]
async fn critical_pod_starts_when_its_victims_have_ended() {
    let mut ground = Ground::new();
    ground.set_node(node("2", json!({})));
    ground.put(asking("small", "500m"));
    ground.put(asking("large", "1500m"));
    ground.pass(1.0).await;
    ground.runtime.ignore_sigterm("large");
    ground.put(critical("critical", "1"));
    ground.pass(3.0).await;
    assert_eq!(ground.runs(), ["large", "small"]);
    assert_eq!(ground.events().iter().filter(|event| *event == "Preempting").count(), 1);
    assert_eq!(ground.phase("critical"), "");
    // Its room is kept while it waits.
    ground.put(asking("late", "1"));
    ground.pass(1.0).await;
    assert_eq!(ground.reason("late"), "OutOfcpu");
    ground.pass(3.0).await;
    assert_eq!(ground.runs(), ["critical", "small"]);
    assert_eq!(ground.phase("large"), "Failed");
    let cause = ground.states.borrow()[&uid("large")].lifecycle.end_cause().cloned();
    assert_eq!(cause, Some(EndCause::Preempted { message: PREEMPTED.to_owned() }));
    // What is left after both is free for others.
    ground.put(asking("next", "500m"));
    ground.pass(1.0).await;
    assert_eq!(ground.runs(), ["critical", "next", "small"]);
}

#[tokio::test(start_paused = true)]
async fn pod_that_fits_once_victims_have_ended_waits_with_the_critical_one() {
    let mut ground = Ground::new();
    ground.set_node(node("2", json!({})));
    ground.put(asking("large", "2"));
    ground.pass(1.0).await;
    ground.runtime.ignore_sigterm("large");
    ground.put(critical("critical", "1"));
    ground.pass(1.0).await;
    ground.put(asking("newcomer", "1"));
    ground.put(asking("idle", "0"));
    ground.pass(1.0).await;
    assert_eq!(ground.runs(), ["idle", "large"]);
    assert_eq!(ground.phase("newcomer"), "");
    ground.pass(5.0).await;
    assert_eq!(ground.runs(), ["critical", "idle", "newcomer"]);
}

#[tokio::test(start_paused = true)]
async fn critical_pod_waits_for_a_pod_that_is_ending_anyway() {
    let mut ground = Ground::new();
    ground.set_node(node("2", json!({})));
    ground.put(asking("ending", "1"));
    ground.put(asking("staying", "1"));
    ground.pass(1.0).await;
    ground.runtime.ignore_sigterm("ending");
    ground.delete("ending", 10);
    ground.pass(1.0).await;
    ground.put(critical("critical", "1"));
    ground.pass(1.0).await;
    assert_eq!(ground.runs(), ["ending", "staying"]);
    ground.pass(10.0).await;
    assert_eq!(ground.runs(), ["critical", "staying"]);
    assert!(!ground.events().contains(&"Preempting".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn waiting_critical_pod_that_is_deleted_gives_its_room_back() {
    let mut ground = Ground::new();
    ground.set_node(node("2", json!({})));
    ground.put(asking("large", "2"));
    ground.pass(1.0).await;
    ground.runtime.ignore_sigterm("large");
    ground.put(critical("critical", "2"));
    ground.pass(1.0).await;
    ground.delete("critical", 0);
    ground.pass(1.0).await;
    assert!(!ground.exists("critical"));
    ground.pass(5.0).await;
    ground.put(asking("other", "2"));
    ground.pass(1.0).await;
    assert_eq!(ground.runs(), ["other"]);
}

#[tokio::test(start_paused = true)]
async fn pod_is_refused_for_labels_only_after_the_server_was_asked() {
    for (fresh, expected) in
        [(json!({ "disk": "ssd" }), ""), (json!({ "disk": "hdd" }), "NodeAffinity")]
    {
        let mut ground = Ground::new();
        ground.set_node(node("2", json!({})));
        ground.api.put_node(node("2", fresh));
        ground.put(asking("web", "1").node_selector("disk", "ssd"));
        ground.pass(1.0).await;
        assert_eq!(ground.reason("web"), expected);
        assert_eq!(
            ground.api.calls().iter().filter(|call| call.starts_with("get_node")).count(),
            1
        );
    }
}

#[tokio::test(start_paused = true)]
async fn pod_is_refused_for_labels_when_the_server_does_not_answer() {
    let mut ground = Ground::new();
    ground.set_node(node("2", json!({})));
    ground.api.fail_next("get_node", ApiError::Unavailable("no".to_owned()));
    ground.put(asking("web", "1").node_selector("disk", "ssd"));
    ground.pass(1.0).await;
    assert_eq!(ground.reason("web"), "NodeAffinity");
}

#[tokio::test(start_paused = true)]
async fn running_pod_is_not_judged_again_when_the_node_has_become_too_small() {
    let mut ground = Ground::new();
    ground.set_node(node("2", json!({ "disk": "ssd" })));
    ground.put(asking("a", "1").node_selector("disk", "ssd").created_at(10));
    ground.put(asking("b", "1").created_at(20));
    ground.pass(1.0).await;
    ground.kill_agent().await;
    ground.set_node(node("1500m", json!({})));
    // Older than what runs, but it came later.
    ground.put(asking("late", "500m").created_at(0));
    ground.start_agent();
    ground.pass(1.0).await;
    assert_eq!(ground.runs(), ["a", "b"]);
    assert_eq!(ground.reason("late"), "OutOfcpu");
}

#[tokio::test(start_paused = true)]
async fn pod_that_was_begun_with_is_not_judged_again_though_nothing_of_it_is_left() {
    let mut ground = Ground::new();
    ground.set_node(node("2", json!({})));
    ground.put(asking("a", "1"));
    ground.pass(1.0).await;
    ground.kill_agent().await;
    ground.runtime.wipe();
    ground.set_node(node("500m", json!({})));
    ground.start_agent();
    ground.pass(1.0).await;
    assert_eq!(ground.runs(), ["a"]);
    assert_eq!(ground.phase("a"), "Running");
}

#[tokio::test(start_paused = true)]
async fn own_resources_count_as_this_process_sees_them() {
    let mut ground = Ground::new();
    ground.set_node(node("2", json!({})));
    ground.change_node(|view| {
        view.allocatable = [("cpu".to_owned(), Quantity::parse("500m").unwrap())].into();
    });
    ground.put(asking("web", "1"));
    ground.pass(1.0).await;
    let message = ground.status("web").message.unwrap_or_default();
    assert!(message.ends_with("cpu, requested: 1000, used: 0, capacity: 500"), "{message}");
}

#[tokio::test(start_paused = true)]
async fn pod_with_strict_groups_is_judged_once_the_runtime_has_told_what_it_can() {
    for (can, phase) in [(Some(true), "Running"), (Some(false), "Failed"), (None, "Failed")] {
        let mut ground = Ground::new();
        ground.set_node(node("2", json!({})));
        ground.put(asking("web", "1").groups_policy("Strict"));
        ground.put(asking("plain", "1").groups_policy("Merge"));
        ground.pass(1.0).await;
        assert_eq!((ground.phase("web"), ground.phase("plain")), ("".into(), "Running".into()));
        let features = RuntimeFeatures { supplemental_groups_policy: can, ..Default::default() };
        ground.change_node(|view| view.features = Some(features));
        ground.pass(1.0).await;
        assert_eq!(ground.phase("web"), phase, "{can:?}");
    }
}
