use super::*;
use crate::events::node_reference;

const START: i64 = 1_700_000_000;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(START + seconds).unwrap()
}

fn pod(uid: &str) -> api::ObjectReference {
    api::ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some("ns".to_owned()),
        name: Some("web".to_owned()),
        uid: Some(uid.to_owned()),
        ..api::ObjectReference::default()
    }
}

fn event(message: &str, seconds: i64) -> ApiEvent {
    ApiEvent {
        object: pod("u1"),
        warning: true,
        reason: "BackOff",
        message: message.to_owned(),
        at: at(seconds),
    }
}

/// What became of an event, as `new 1: text`, `again 2: text` or `spam`.
fn told(correlator: &mut Correlator, event: &ApiEvent) -> String {
    let (word, object) = match correlator.correlate(event) {
        Correlated::Create { event, .. } => ("new", event),
        Correlated::Patch { event, patch, .. } => {
            assert_eq!(patch["count"], event.count.unwrap());
            assert_eq!(patch["message"], event.message.clone().unwrap());
            ("again", event)
        }
        Correlated::Spam => return "spam".to_owned(),
    };
    format!("{word} {}: {}", object.count.unwrap(), object.message.unwrap())
}

fn created(correlator: &mut Correlator, event: &ApiEvent) -> api::Event {
    match correlator.correlate(event) {
        Correlated::Create { event, .. } => *event,
        other => panic!("{other:?}"),
    }
}

#[test]
fn new_event_has_all_fields_a_reader_looks_for() {
    let mut event = event("back-off", 5);
    event.object.field_path = Some("spec.containers{web}".to_owned());
    let object = created(&mut Correlator::new(KUBELET, "node-1"), &event);
    let text = serde_json::to_value(&object).unwrap();
    let nanos = at(5).as_nanosecond();
    let expected = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": format!("web.{nanos:x}"), "namespace": "ns"},
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "namespace": "ns", "name": "web",
            "uid": "u1", "fieldPath": "spec.containers{web}"},
        "type": "Warning",
        "reason": "BackOff",
        "message": "back-off",
        "count": 1,
        "firstTimestamp": "2023-11-14T22:13:25Z",
        "lastTimestamp": "2023-11-14T22:13:25Z",
        "source": {"component": "kubelet", "host": "node-1"},
        "reportingComponent": "kubelet",
        "reportingInstance": "node-1",
    });
    assert_eq!(text, expected);
}

#[test]
fn node_events_live_in_the_default_namespace() {
    let event = ApiEvent { object: node_reference("node-1"), warning: false, ..event("m", 0) };
    let object = created(&mut Correlator::new(KUBELET, "node-1"), &event);
    assert_eq!(object.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(object.involved_object.namespace, None);
    assert_eq!(object.involved_object.uid.as_deref(), Some("node-1"));
    assert_eq!(object.type_.as_deref(), Some("Normal"));
}

#[test]
fn identical_events_are_counted_on_the_first_object() {
    let mut correlator = Correlator::new(KUBELET, "node-1");
    let first = created(&mut correlator, &event("m", 0));
    let Correlated::Patch { event: second, patch, .. } = correlator.correlate(&event("m", 60))
    else {
        panic!("the same event is to be patched");
    };
    assert_eq!(second.metadata.name, first.metadata.name);
    assert_eq!(second.first_timestamp, first.first_timestamp);
    let expected = json!({"count": 2, "lastTimestamp": "2023-11-14T22:14:20Z", "message": "m"});
    assert_eq!(patch, expected);
    assert_eq!(told(&mut correlator, &event("m", 120)), "again 3: m");
}

#[test]
fn count_and_name_follow_the_server() {
    let mut correlator = Correlator::new(KUBELET, "node-1");
    let Correlated::Create { key, event: mut stored } = correlator.correlate(&event("m", 0)) else {
        panic!("the first event is new");
    };
    stored.metadata.name = Some("renamed".to_owned());
    stored.count = Some(7);
    correlator.stored(&key, &stored);
    match correlator.correlate(&event("m", 1)) {
        Correlated::Patch { event, .. } => {
            assert_eq!(event.metadata.name.as_deref(), Some("renamed"));
            assert_eq!(event.count, Some(8));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn anything_that_differs_makes_another_event() {
    let base = event("m", 0);
    let table = [
        ApiEvent { message: "n".to_owned(), ..base.clone() },
        ApiEvent { reason: "Failed", ..base.clone() },
        ApiEvent { warning: false, ..base.clone() },
        ApiEvent { object: pod("u2"), ..base.clone() },
        ApiEvent {
            object: api::ObjectReference {
                field_path: Some("spec.containers{b}".to_owned()),
                ..pod("u1")
            },
            ..base.clone()
        },
    ];
    for other in table {
        let mut correlator = Correlator::new(KUBELET, "node-1");
        created(&mut correlator, &base);
        created(&mut correlator, &other);
    }
}

#[test]
fn tenth_different_message_in_ten_minutes_begins_a_combined_event() {
    let mut correlator = Correlator::new(KUBELET, "node-1");
    for number in 1..10 {
        let expected = format!("new 1: m{number}");
        assert_eq!(told(&mut correlator, &event(&format!("m{number}"), number)), expected);
    }
    let combined =
        |number: i64, text: &str| format!("{text}: (combined from similar events): m{number}");
    assert_eq!(told(&mut correlator, &event("m10", 10)), combined(10, "new 1"));
    assert_eq!(told(&mut correlator, &event("m11", 11)), combined(11, "again 2"));
    // Quiet for longer than ten minutes: told by itself again.
    assert_eq!(told(&mut correlator, &event("m12", 11 + 601)), "new 1: m12");
}

#[test]
fn similar_events_far_apart_are_not_combined() {
    let mut correlator = Correlator::new(KUBELET, "node-1");
    for number in 0..15 {
        let expected = format!("new 1: m{number}");
        assert_eq!(told(&mut correlator, &event(&format!("m{number}"), number * 601)), expected);
    }
}

#[test]
fn spam_about_one_object_is_dropped_and_let_through_one_in_five_minutes() {
    let mut correlator = Correlator::new(KUBELET, "node-1");
    for number in 1..=25 {
        assert_ne!(told(&mut correlator, &event("m", 0)), "spam", "{number}");
    }
    assert_eq!(told(&mut correlator, &event("m", 0)), "spam");
    assert_eq!(told(&mut correlator, &event("m", 299)), "spam");
    // The count goes on under the filter.
    assert_eq!(told(&mut correlator, &event("m", 300)), "again 28: m");
    assert_eq!(told(&mut correlator, &event("m", 301)), "spam");
    let other = ApiEvent { object: pod("u2"), ..event("m", 301) };
    assert_eq!(told(&mut correlator, &other), "new 1: m");
}

#[test]
fn names_are_distinct_within_an_instant_and_never_too_long() {
    let mut correlator = Correlator::new(KUBELET, "node-1");
    let names: BTreeSet<_> = (0..5)
        .map(|number| {
            let event = ApiEvent { object: pod(&number.to_string()), ..event("m", 0) };
            created(&mut correlator, &event).metadata.name.unwrap()
        })
        .collect();
    assert_eq!(names.len(), 5);
    let mut long = event("m", 0);
    long.object.name = Some(format!("{}.{}", "a".repeat(235), "b".repeat(17)));
    let name = created(&mut correlator, &long).metadata.name.unwrap();
    assert!(name.len() <= NAME_LENGTH);
    assert!(name.starts_with(&"a".repeat(235)) && !name.contains(".."), "{name}");
}

#[test]
fn memory_is_bounded_and_forgets_the_longest_unused() {
    let mut recent: Recent<usize, usize> = Recent::new();
    for key in 0..REMEMBERED {
        recent.entry(&key, || key);
    }
    recent.entry(&0, || 99);
    recent.entry(&REMEMBERED, || 1);
    assert_eq!(recent.entries.len(), REMEMBERED);
    assert_eq!(recent.get_mut(&0), Some(&mut 0));
    assert_eq!(recent.get_mut(&1), None);
}
