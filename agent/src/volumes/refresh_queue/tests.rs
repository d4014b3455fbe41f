use super::*;
use crate::podexec::fixtures::pod;
use serde_json::json;

fn a_pod(uid: &str) -> Pod {
    pod(json!({"metadata": {"uid": uid}}))
}

#[test]
fn pod_waits_once_with_all_that_was_asked() {
    let mut queue = RefreshQueue::default();
    queue.sources("a".into());
    queue.newest(a_pod("a"));
    queue.sources("a".into());
    let (uid, look) = queue.next().unwrap();
    assert_eq!(uid, "a".into());
    assert!(look.sources && look.newest.is_some());
    assert_eq!(queue.next(), None);
}

#[test]
fn pod_that_is_worked_on_waits_for_its_next_turn() {
    let mut queue = RefreshQueue::default();
    queue.sources("a".into());
    queue.next().unwrap();
    queue.sources("a".into());
    queue.sources("b".into());
    assert_eq!(queue.next().unwrap().0, "b".into());
    assert_eq!(queue.next(), None);
    queue.done(&"a".into());
    assert_eq!(queue.next().unwrap().0, "a".into());
}
