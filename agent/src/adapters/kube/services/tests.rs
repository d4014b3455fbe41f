use serde_json::json;

use super::*;

fn node(zone: &str, ready: &str) -> api::Node {
    serde_json::from_value(json!({
        "metadata": {"name": "node-1", "labels": {ZONE_LABEL: zone}},
        "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64", "odd"]},
        "status": {"conditions": [{"type": "Ready", "status": ready}],
            "addresses": [
                {"type": "Hostname", "address": "node-1"},
                {"type": "ExternalIP", "address": "203.0.113.7"},
                {"type": "InternalIP", "address": "192.0.2.7"},
                {"type": "InternalIP", "address": "not an address"}]},
    }))
    .unwrap()
}

#[test]
fn node_is_reduced_to_what_the_proxy_looks_at() {
    let facts = node_facts(&node("zone-a", "True"));
    assert_eq!(&*facts.name, "node-1");
    assert_eq!(facts.zone.as_deref(), Some("zone-a"));
    let expected = [
        (NodeAddressKind::External, "203.0.113.7".parse().unwrap()),
        (NodeAddressKind::Internal, "192.0.2.7".parse().unwrap()),
    ];
    assert_eq!(facts.addresses, expected);
    let cidrs: Vec<_> = facts.pod_cidrs.iter().map(ToString::to_string).collect();
    assert_eq!(cidrs, ["10.1.0.0/24", "fd00::/64"]);
    assert_eq!(node_facts(&node("", "True")).zone, None);
    assert_eq!(node_facts(&api::Node::default()), NodeFacts::default());
}

#[test]
fn node_that_is_about_to_go_is_told() {
    let cases = [
        (json!({}), NodeEligibility::Eligible),
        (
            json!({"spec": {"taints": [{"key": "other", "effect": "NoSchedule"}]}}),
            NodeEligibility::Eligible,
        ),
        (
            json!({"spec": {"taints": [{"key": AUTOSCALER_TAINT, "effect": "NoSchedule"}]}}),
            NodeEligibility::ToBeDeleted,
        ),
        (
            json!({"metadata": {"deletionTimestamp": "2026-11-21T00:00:00Z"}}),
            NodeEligibility::Deleting,
        ),
    ];
    for (object, expected) in cases {
        let node: api::Node = serde_json::from_value(object.clone()).unwrap();
        assert_eq!(node_facts(&node).eligibility, expected, "{object}");
    }
}

#[test]
fn heartbeat_of_the_node_is_not_told_to_the_proxy() {
    let mut convert = node_changes();
    assert!(convert(WatchStep::Applied(node("zone-a", "True"))).is_some());
    assert_eq!(convert(WatchStep::Applied(node("zone-a", "False"))), None);
    assert!(convert(WatchStep::Applied(node("zone-b", "False"))).is_some());
}

#[test]
fn node_is_told_again_in_every_list() {
    let mut convert = node_changes();
    for _ in 0..2 {
        let restart = ServiceChange::Restart(ObjectKind::Node);
        assert_eq!(convert(WatchStep::Restarted), Some(restart));
        assert!(convert(WatchStep::Applied(node("zone-a", "True"))).is_some());
        let synced = ServiceChange::Synced(ObjectKind::Node);
        assert_eq!(convert(WatchStep::Synced), Some(synced));
    }
    assert_eq!(convert(WatchStep::Deleted(node("", ""))), Some(ServiceChange::NodeDeleted));
}

#[test]
fn deletions_carry_the_key() {
    let metadata = json!({"metadata": {"namespace": "ns", "name": "web"}});
    let service: input::Service = serde_json::from_value(metadata.clone()).unwrap();
    let slice: input::EndpointSlice = serde_json::from_value(metadata).unwrap();
    let key = input::ObjectKey::new("ns", "web");
    assert_eq!(
        service_change(WatchStep::Deleted(service)),
        Some(ServiceChange::ServiceDeleted(key.clone()))
    );
    assert_eq!(slice_change(WatchStep::Deleted(slice)), Some(ServiceChange::SliceDeleted(key)));
}

#[test]
fn service_networks_are_told_whole_once_they_are_all_known() {
    let mut convert = service_cidr_changes();
    let object = |name: &str, cidrs: &[&str]| -> ServiceCIDR {
        let object = json!({"metadata": {"name": name}, "spec": {"cidrs": cidrs}});
        serde_json::from_value(object).unwrap()
    };
    let told = |cidrs: &[&str]| {
        let cidrs = cidrs.iter().map(|cidr| cidr.parse().unwrap()).collect();
        Some(ServiceChange::ServiceCidrsApplied(cidrs))
    };
    assert_eq!(convert(WatchStep::Restarted), None);
    assert_eq!(convert(WatchStep::Applied(object("b", &["10.96.0.0/16", "fd00::/108"]))), None);
    assert_eq!(convert(WatchStep::Synced), told(&["10.96.0.0/16", "fd00::/108"]));
    let more = object("a", &["10.97.0.0/16", "odd"]);
    let all = told(&["10.96.0.0/16", "10.97.0.0/16", "fd00::/108"]);
    assert_eq!(convert(WatchStep::Applied(more)), all);
    assert_eq!(convert(WatchStep::Deleted(object("b", &[]))), told(&["10.97.0.0/16"]));
    assert_eq!(convert(WatchStep::Restarted), None);
    assert_eq!(convert(WatchStep::Synced), told(&[]));
}
