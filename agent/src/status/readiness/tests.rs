use serde_json::json;

use super::*;
use crate::model::PodSource;

fn pod(uid: &str, host_network: bool) -> Pod {
    let object = json!({
        "metadata": { "uid": uid, "name": uid, "namespace": "ns" },
        "spec": { "containers": [], "hostNetwork": host_network },
    });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

fn status(address: &str, ready: &str) -> api::PodStatus {
    serde_json::from_value(json!({
        "podIPs": [{ "ip": address }],
        "conditions": [{ "type": "Ready", "status": ready }],
    }))
    .unwrap()
}

fn down(readiness: &Readiness) -> Vec<String> {
    readiness.down().borrow().iter().map(ToString::to_string).collect()
}

#[tokio::test(start_paused = true)]
async fn address_is_down_while_its_pod_is_not_ready() {
    let readiness = Readiness::default();
    let a = pod("a", false);
    readiness.tell(&a, &status("10.0.0.1", "True"));
    assert!(down(&readiness).is_empty());
    let mut changes = readiness.down();
    changes.mark_unchanged();
    readiness.tell(&a, &status("10.0.0.1", "False"));
    assert_eq!(down(&readiness), ["10.0.0.1"]);
    assert!(changes.has_changed().unwrap());
    changes.mark_unchanged();
    readiness.tell(&a, &status("10.0.0.1", "False"));
    assert!(!changes.has_changed().unwrap(), "nothing changed");
    readiness.tell(&a, &status("10.0.0.1", "True"));
    assert!(down(&readiness).is_empty());
}

#[tokio::test(start_paused = true)]
async fn pods_on_the_hosts_network_and_without_address_say_nothing() {
    let readiness = Readiness::default();
    readiness.tell(&pod("a", true), &status("10.0.0.1", "False"));
    readiness.tell(&pod("b", false), &api::PodStatus::default());
    assert!(down(&readiness).is_empty());
}

#[tokio::test(start_paused = true)]
async fn address_of_a_gone_pod_is_down_until_another_has_it_or_for_a_minute() {
    let readiness = Readiness::default();
    for (uid, address) in [("a", "10.0.0.1"), ("b", "10.0.0.2")] {
        readiness.tell(&pod(uid, false), &status(address, "True"));
        readiness.forget(pod(uid, false).uid());
    }
    assert_eq!(down(&readiness), ["10.0.0.1", "10.0.0.2"]);
    readiness.tell(&pod("c", false), &status("10.0.0.1", "True"));
    assert_eq!(down(&readiness), ["10.0.0.2"]);
    tokio::time::advance(AFTERLIFE).await;
    readiness.tell(&pod("d", false), &status("10.0.0.4", "True"));
    assert!(down(&readiness).is_empty());
}
