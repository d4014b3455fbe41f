use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;

const NODE: &str = "node-1";

fn object(uid: &str, version: u32) -> Arc<api::Pod> {
    object_on(uid, version, NODE)
}

fn object_on(uid: &str, version: u32, node: &str) -> Arc<api::Pod> {
    Arc::new(
        serde_json::from_value(json!({
            "metadata": {"name": format!("pod-{uid}"), "namespace": "ns", "uid": uid,
                "resourceVersion": version.to_string()},
            "spec": {"nodeName": node, "containers": []},
        }))
        .unwrap(),
    )
}

fn applied(uid: &str, version: u32) -> PodWatchEvent {
    PodWatchEvent::Applied(object(uid, version))
}

fn deleted(uid: &str) -> PodWatchEvent {
    PodWatchEvent::Deleted(PodUid::from(uid))
}

fn after(events: impl IntoIterator<Item = PodWatchEvent>) -> SourceSnapshot {
    let mut source = SourceSnapshot::default();
    for event in events {
        source.apply(event, NODE);
    }
    source
}

/// UIDs with the resource version held, and `all_synced`.
fn summary(desired: &DesiredPods) -> (BTreeMap<String, String>, bool) {
    let pods = desired.pods.iter().map(|(uid, pod)| {
        let version = pod.object().metadata.resource_version.clone().unwrap_or_default();
        (uid.to_string(), version)
    });
    (pods.collect(), desired.all_synced)
}

fn check(
    events: impl IntoIterator<Item = PodWatchEvent>,
    expected: &[(&str, &str)],
    all_synced: bool,
) {
    let expected = expected.iter().map(|(uid, v)| ((*uid).to_owned(), (*v).to_owned())).collect();
    assert_eq!(summary(&merge([&after(events)])), (expected, all_synced));
}

use PodWatchEvent::{Restarted, Synced};

#[test]
fn no_pod_is_known_before_the_first_list_is_complete() {
    check([], &[], false);
    check([Restarted], &[], false);
    check([Restarted, applied("a", 1)], &[], false);
}

#[test]
fn complete_list_counts_as_synced_for_ever() {
    check([Restarted, Synced], &[], true);
    check([Restarted, applied("a", 1), Synced], &[("a", "1")], true);
    check([Restarted, Synced, Restarted], &[], true);
}

#[test]
fn synced_without_a_list_says_nothing() {
    check([Synced], &[], false);
}

#[test]
fn nothing_is_dropped_while_a_list_is_under_way() {
    let first = [Restarted, applied("a", 1), applied("b", 2), Synced];
    let cut = [Restarted, applied("b", 3)];
    check(first.into_iter().chain(cut), &[("a", "1"), ("b", "3")], true);
}

#[test]
fn complete_list_drops_what_it_does_not_repeat() {
    let first = [Restarted, applied("a", 1), applied("b", 2), Synced];
    let second = [Restarted, applied("b", 2), Synced];
    check(first.into_iter().chain(second), &[("b", "2")], true);
}

#[test]
fn list_cut_short_does_not_count_towards_the_next_one() {
    let first = [Restarted, applied("a", 1), applied("b", 2), Synced];
    let cut = [Restarted, applied("a", 1)];
    let full = [Restarted, applied("b", 2), Synced];
    check(first.into_iter().chain(cut).chain(full), &[("b", "2")], true);
}

#[test]
fn deletion_takes_effect_at_once_even_during_a_list() {
    let first = [Restarted, applied("a", 1), applied("b", 2), Synced];
    let second = [Restarted, applied("a", 3), deleted("a")];
    check(first.into_iter().chain(second), &[("b", "2")], true);
}

#[test]
fn pods_of_other_nodes_are_ignored() {
    let foreign = PodWatchEvent::Applied(object_on("x", 1, "node-2"));
    check([Restarted, foreign, Synced], &[], true);
}

#[test]
fn objects_without_a_uid_are_ignored() {
    let nameless = PodWatchEvent::Applied(Arc::default());
    check([Restarted, nameless, Synced], &[], true);
}

#[test]
fn namesakes_are_kept_apart_by_uid() {
    let mut old = (*object("a", 1)).clone();
    old.metadata.name = Some("same".to_owned());
    let mut new = (*object("b", 2)).clone();
    new.metadata.name = Some("same".to_owned());
    let events = [
        Restarted,
        PodWatchEvent::Applied(Arc::new(old)),
        PodWatchEvent::Applied(Arc::new(new)),
        Synced,
    ];
    check(events, &[("a", "1"), ("b", "2")], true);
}

#[test]
fn mirror_pods_are_not_to_be_run() {
    let mut mirror = (*object("m", 1)).clone();
    mirror.metadata.annotations =
        Some([(CONFIG_MIRROR.to_owned(), "hash".to_owned())].into_iter().collect());
    let desired = merge([&after([Restarted, PodWatchEvent::Applied(Arc::new(mirror)), Synced])]);
    assert!(desired.pods.is_empty());
    assert_eq!(desired.mirror_pods.len(), 1);
}

#[test]
fn file_has_precedence_over_the_api_for_the_same_uid() {
    let from_api = after([Restarted, applied("a", 1), Synced]);
    let mut from_file = SourceSnapshot { synced: true, ..SourceSnapshot::default() };
    let pod = Pod::new(object("a", 9), PodSource::File).unwrap();
    from_file.pods.insert(pod.uid().clone(), pod);
    for sources in [[&from_api, &from_file], [&from_file, &from_api]] {
        let desired = merge(sources);
        assert_eq!(desired.pods[&PodUid::from("a")].source(), PodSource::File);
    }
}

#[test]
fn all_sources_have_to_sync() {
    let synced = after([Restarted, Synced]);
    assert!(!merge([&synced, &SourceSnapshot::default()]).all_synced);
    assert!(merge([&synced, &synced]).all_synced);
}

#[test]
fn repeated_state_is_no_change() {
    let mut source = after([Restarted, applied("a", 1), Synced]);
    assert!(!source.apply(applied("a", 1), NODE));
    assert!(!source.apply(Restarted, NODE));
    assert!(!source.apply(applied("a", 1), NODE));
    assert!(!source.apply(Synced, NODE));
    assert!(source.apply(applied("a", 2), NODE));
    assert!(source.apply(deleted("a"), NODE));
    assert!(!source.apply(deleted("a"), NODE));
}

/// One change at the server: pod number, and whether the change is its deletion.
type Change = (usize, bool);

/// The server as the reference model: it holds pods by UID, keeps the history of changes in order,
/// and a deleted UID never comes back.
#[derive(Default)]
struct Server {
    history: Vec<(String, Option<u32>)>,
}

impl Server {
    /// Changes of different pods may come in any order; those of one pod keep theirs.
    fn from_changes(changes: &[Change]) -> Self {
        let mut server = Self::default();
        for (pod, delete) in changes {
            let uid = format!("uid-{pod}");
            let gone = server.history.iter().any(|(u, state)| *u == uid && state.is_none());
            if gone {
                continue;
            }
            let version = u32::try_from(server.history.len()).unwrap() + 1;
            server.history.push((uid, (!delete).then_some(version)));
        }
        server
    }

    /// Pods that exist after the first `length` changes.
    fn state_after(&self, length: usize) -> BTreeMap<String, u32> {
        let mut state = BTreeMap::new();
        for (uid, version) in &self.history[..length] {
            match version {
                Some(version) => state.insert(uid.clone(), *version),
                None => state.remove(uid),
            };
        }
        state
    }

    fn event(&self, index: usize) -> PodWatchEvent {
        let (uid, version) = &self.history[index];
        match version {
            Some(version) => applied(uid, *version),
            None => deleted(uid),
        }
    }
}

/// How the connection behaved after some change.
#[derive(Clone, Debug)]
enum Trouble {
    /// The same event arrives twice.
    Twice,
    /// Resumed from an older version: the last events come again, in order.
    Replayed(usize),
    /// Cut; the new list is cut too after so many pods, unless that is all of them.
    Relisted { first_try: usize },
    /// Changes up to here were missed; a list of the state at that point replaces them.
    Missed(usize),
}

fn trouble() -> impl Strategy<Value = Trouble> {
    prop_oneof![
        Just(Trouble::Twice),
        (1..20_usize).prop_map(Trouble::Replayed),
        (0..100_usize).prop_map(|first_try| Trouble::Relisted { first_try }),
        (1..20_usize).prop_map(Trouble::Missed),
    ]
}

/// Feeds the server's history through a connection with `troubles` (by position in the history)
/// and returns the merged result.
fn through_connection(server: &Server, troubles: &BTreeMap<usize, Trouble>) -> DesiredPods {
    let mut events = vec![Restarted, Synced];
    let list = |length: usize, limit: usize| {
        let state = server.state_after(length).into_iter().take(limit);
        let pods = state.map(|(uid, version)| applied(&uid, version));
        [Restarted].into_iter().chain(pods).collect::<Vec<_>>()
    };
    let mut next = 0;
    while next < server.history.len() {
        let trouble = troubles.get(&next);
        if let Some(Trouble::Missed(count)) = trouble {
            next = (next + count).min(server.history.len());
            events.extend(list(next, usize::MAX));
            events.push(Synced);
            continue;
        }
        events.push(server.event(next));
        next += 1;
        match trouble {
            Some(Trouble::Twice) => events.push(server.event(next - 1)),
            Some(Trouble::Replayed(count)) => {
                events.extend((next.saturating_sub(*count)..next).map(|i| server.event(i)));
            }
            Some(Trouble::Relisted { first_try }) => {
                events.extend(list(next, *first_try));
                events.extend(list(next, usize::MAX));
                events.push(Synced);
            }
            Some(Trouble::Missed(_)) | None => {}
        }
    }
    merge([&after(events)])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn hundred_pods_end_the_same_whatever_the_connection_does(
        changes in Just((0..300_usize).map(|i| i % 100).collect::<Vec<_>>())
            .prop_shuffle()
            .prop_flat_map(|pods| {
                let deletions = prop::collection::vec(prop::bool::weighted(0.2), pods.len());
                deletions.prop_map(move |deletions| {
                    pods.iter().copied().zip(deletions).collect::<Vec<Change>>()
                })
            }),
        troubles in prop::collection::btree_map(0..300_usize, trouble(), 0..40),
    ) {
        let server = Server::from_changes(&changes);
        let desired = through_connection(&server, &troubles);
        let expected = server.state_after(server.history.len());
        let expected = expected.into_iter().map(|(uid, v)| (uid, v.to_string())).collect();
        prop_assert_eq!(summary(&desired), (expected, true));
        prop_assert_eq!(desired, through_connection(&server, &BTreeMap::new()));
    }

    #[test]
    fn order_between_pods_does_not_matter(
        order in Just((0..100_usize).flat_map(|pod| [pod; 3]).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut turn = [0_u32; 100];
        let mut events = vec![Restarted, Synced];
        for pod in order {
            turn[pod] += 1;
            let uid = format!("uid-{pod}");
            let last_and_odd = turn[pod] == 3 && pod % 2 == 1;
            events.push(if last_and_odd { deleted(&uid) } else { applied(&uid, turn[pod]) });
        }
        let expected = (0..100).step_by(2).map(|pod| (format!("uid-{pod}"), "3".to_owned()));
        prop_assert_eq!(summary(&merge([&after(events)])), (expected.collect(), true));
    }

    #[test]
    fn no_pod_of_the_last_complete_state_vanishes_during_a_list(
        listed in prop::collection::vec(0..100_usize, 0..100),
    ) {
        let full = (0..100).map(|pod| applied(&format!("uid-{pod}"), 1));
        let mut source = after([Restarted].into_iter().chain(full).chain([Synced]));
        source.apply(Restarted, NODE);
        for pod in listed {
            source.apply(applied(&format!("uid-{pod}"), 2), NODE);
            prop_assert_eq!(merge([&source]).pods.len(), 100);
        }
    }
}
