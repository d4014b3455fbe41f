use super::ServiceMap;
use crate::input::{ObjectKey, ObjectKind, Parsed, Protocol, ServiceChange};
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
    assert_eq!(*map.node(), facts);
}

#[test]
fn unreadable_values_are_told_once() {
    let mut map = ServiceMap::default();
    let bad = backends().with(|s| s.endpoints[0].address = Some(Parsed::Invalid("?".into())));
    let told = map.apply(bad.clone().applied()).unwrap();
    assert_eq!((told.object.to_string(), told.texts.len()), ("a/web-1".to_owned(), 1));
    assert_eq!(map.apply(bad.applied()), None);
}
