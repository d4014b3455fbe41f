use std::sync::Arc;

use super::{ChangeTally, ServiceMap};
use crate::config::IpFamily;
use crate::input::{NodeEligibility, ObjectKey, ObjectKind, Parsed, Protocol, ServiceChange};
use crate::testing::{ServiceBuilder, SliceBuilder, node, service, slice};

fn web() -> ServiceBuilder {
    service("a/web").cluster_ip("10.96.0.1").port("", Protocol::Tcp, 80)
}

fn backends() -> SliceBuilder {
    slice("a/web").port("", Protocol::Tcp, 80).endpoint("10.0.0.1")
}

fn dirty(map: &mut ServiceMap) -> Vec<String> {
    map.take_dirty().services.iter().map(ToString::to_string).collect()
}

fn slice_names(map: &ServiceMap, service: &str) -> Vec<String> {
    let key = ObjectKey::new("a", service);
    map.slices_of(&key).map(|slice| slice.metadata.name.to_string()).collect()
}

#[test]
fn only_real_changes_touch_a_service() {
    let mut map = ServiceMap::default();
    map.apply(web().applied());
    map.apply(backends().applied());
    assert_eq!(dirty(&mut map), ["a/web"]);
    map.apply(web().with(|s| s.metadata.resource_version = "2".into()).applied());
    map.apply(
        backends()
            .with(|s| {
                s.metadata.annotations.insert("x".into(), "y".into());
            })
            .applied(),
    );
    assert!(!map.is_dirty());
    map.apply(backends().endpoint("10.0.0.2").applied());
    assert_eq!(dirty(&mut map), ["a/web"]);
}

#[test]
fn objects_missing_from_a_new_list_are_gone_when_it_ends() {
    let mut map = ServiceMap::default();
    map.apply(web().applied());
    map.apply(service("a/old").cluster_ip("10.96.0.2").applied());
    map.apply(backends().applied());
    map.apply(backends().named("old").applied());
    map.take_dirty();

    map.apply(ServiceChange::Restart(ObjectKind::Services));
    map.apply(ServiceChange::Restart(ObjectKind::EndpointSlices));
    map.apply(web().applied());
    map.apply(backends().applied());
    assert!(!map.is_dirty(), "nothing is known to be gone yet");
    map.apply(ServiceChange::Synced(ObjectKind::Services));
    assert_eq!(dirty(&mut map), ["a/old"]);
    map.apply(ServiceChange::Synced(ObjectKind::EndpointSlices));
    assert_eq!(dirty(&mut map), ["a/web"]);
    assert_eq!(slice_names(&map, "web"), ["web-1"]);
    assert_eq!((map.service_count(), map.slice_count()), (1, 1));
}

#[test]
fn all_kinds_have_to_be_listed() {
    let mut map = ServiceMap::default();
    for kind in [ObjectKind::Services, ObjectKind::EndpointSlices, ObjectKind::Node] {
        assert!(!map.all_synced());
        map.apply(ServiceChange::Restart(kind));
        map.apply(ServiceChange::Synced(kind));
    }
    assert!(map.all_synced());
    map.apply(ServiceChange::Restart(ObjectKind::Services));
    assert!(map.all_synced(), "old rules are kept up to date while a list runs");
}

#[test]
fn slice_that_moves_to_another_service_leaves_the_first() {
    let mut map = ServiceMap::default();
    map.apply(backends().applied());
    map.take_dirty();
    let label = |s: &mut crate::input::EndpointSlice| {
        s.metadata.labels.insert("kubernetes.io/service-name".into(), "other".into());
    };
    map.apply(backends().with(label).applied());
    assert_eq!(dirty(&mut map), ["a/other", "a/web"]);
    assert!(slice_names(&map, "web").is_empty());
    map.apply(backends().with(|s| s.metadata.labels.clear()).applied());
    assert_eq!(dirty(&mut map), ["a/other"]);
    assert_eq!(map.slice_count(), 0);
}

#[test]
fn service_handed_to_another_proxy_is_gone() {
    let mut map = ServiceMap::default();
    map.apply(web().applied());
    map.take_dirty();
    map.apply(web().label("service.kubernetes.io/service-proxy-name", "other").applied());
    assert_eq!(dirty(&mut map), ["a/web"]);
    assert_eq!(map.service_count(), 0);
}

#[test]
fn node_counts_as_changed_only_with_other_facts_and_outlives_its_object() {
    let mut map = ServiceMap::default();
    let facts = node(&["192.168.0.2"]);
    map.apply(ServiceChange::NodeApplied(Box::new(facts.clone())));
    assert!(map.take_dirty().node);
    map.apply(ServiceChange::NodeApplied(Box::new(facts.clone())));
    map.apply(ServiceChange::NodeDeleted);
    assert!(!map.is_dirty());
    assert!(map.node().same_for_rules(&facts));
}

#[test]
fn unreadable_values_are_told_once() {
    let mut map = ServiceMap::default();
    let bad = backends().with(|s| s.endpoints[0].address = Some(Parsed::Invalid("?".into())));
    let told = map.apply(bad.clone().applied()).unwrap();
    assert_eq!((told.object.to_string(), told.texts.len()), ("a/web-1".to_owned(), 1));
    assert_eq!(map.apply(bad.applied()), None);
}

#[test]
fn address_known_to_be_down_touches_the_services_of_its_pods() {
    let mut map = ServiceMap::default();
    let (pods, by_hand) = (ObjectKey::new("a", "web"), ObjectKey::new("a", "hand"));
    map.apply(web().with(|s| s.spec.has_selector = true).applied());
    map.apply(backends().applied());
    map.apply(service("a/hand").cluster_ip("10.96.0.2").applied());
    map.apply(slice("a/hand").port("", Protocol::Tcp, 80).endpoint("10.0.0.1").applied());
    map.apply(service("a/other").cluster_ip("10.96.0.3").applied());
    map.apply(slice("a/other").port("", Protocol::Tcp, 80).endpoint("10.0.0.3").applied());
    map.take_dirty();

    let address = "10.0.0.1".parse().unwrap();
    let down = ServiceChange::LocalDown(Arc::new([address].into()));
    map.apply(down.clone());
    assert_eq!(dirty(&mut map), ["a/hand", "a/web"]);
    assert!(map.is_down(&pods, address));
    assert!(!map.is_down(&by_hand, address), "its endpoints need not be pods");
    map.apply(down);
    assert!(!map.is_dirty());
    let all = |s: &mut crate::input::Service| {
        s.spec.has_selector = true;
        s.spec.publish_not_ready_addresses = true;
    };
    map.apply(web().with(all).applied());
    assert!(!map.is_down(&pods, address), "it wants pods that are not ready too");
    map.take_dirty();
    map.apply(ServiceChange::LocalDown(Arc::default()));
    assert_eq!(dirty(&mut map), ["a/hand", "a/web"]);
}

#[test]
fn node_on_its_way_out_changes_no_rule() {
    let mut map = ServiceMap::default();
    let applied = |eligibility| {
        let facts = crate::input::NodeFacts { eligibility, ..node(&["192.168.0.2"]) };
        ServiceChange::NodeApplied(Box::new(facts))
    };
    map.apply(applied(NodeEligibility::Eligible));
    assert!(map.take_dirty().node);
    for eligibility in [NodeEligibility::ToBeDeleted, NodeEligibility::Deleting] {
        map.apply(applied(eligibility));
        assert_eq!(map.node().eligibility, eligibility);
    }
    map.apply(ServiceChange::NodeDeleted);
    assert_eq!(map.node().eligibility, NodeEligibility::Missing);
    assert_eq!(map.node().address(false), Some("192.168.0.2".parse().unwrap()));
    map.apply(applied(NodeEligibility::Eligible));
    assert_eq!(map.node().eligibility, NodeEligibility::Eligible);
    assert!(!map.is_dirty());
}

#[test]
fn node_that_a_list_does_not_show_is_missing() {
    let mut map = ServiceMap::default();
    let applied = || ServiceChange::NodeApplied(Box::new(node(&["192.168.0.2"])));
    let expected = [(true, NodeEligibility::Eligible), (false, NodeEligibility::Missing)];
    for (listed, eligibility) in expected {
        map.apply(ServiceChange::Restart(ObjectKind::Node));
        if listed {
            map.apply(applied());
        }
        map.apply(ServiceChange::Synced(ObjectKind::Node));
        assert_eq!(map.node().eligibility, eligibility);
    }
    map.apply(applied());
    assert_eq!(map.node().eligibility, NodeEligibility::Eligible);
}

#[test]
fn changes_and_their_causes_are_counted() {
    let mut map = ServiceMap::default();
    let at = "2026-11-21T10:00:00.5Z";
    let written_for = |time: &str| {
        backends().with(|slice| {
            let name = "endpoints.kubernetes.io/last-change-trigger-time";
            slice.metadata.annotations.insert(name.into(), time.into());
        })
    };
    map.apply(web().applied());
    map.apply(written_for(at).applied());
    map.apply(written_for(at).applied());
    map.apply(written_for("yesterday").endpoint("10.0.0.2").applied());
    map.apply(ServiceChange::SliceDeleted(ObjectKey::new("a", "web")));
    map.apply(ServiceChange::ServiceDeleted(ObjectKey::new("a", "web")));
    let tally = map.take_tally();
    assert_eq!(tally.services, 2);
    assert_eq!(tally.triggers, [(IpFamily::V4, at.parse().unwrap())]);
    assert_eq!(map.take_tally(), ChangeTally::default());
}

#[test]
fn service_networks_touch_every_service_when_they_change() {
    let mut map = ServiceMap::default();
    let cidrs = vec!["10.96.0.0/12".parse().unwrap()];
    map.apply(ServiceChange::ServiceCidrsApplied(cidrs.clone()));
    assert!(map.take_dirty().node);
    map.apply(ServiceChange::ServiceCidrsApplied(cidrs.clone()));
    assert!(!map.is_dirty());
    assert_eq!(map.service_cidrs(), cidrs);
}
