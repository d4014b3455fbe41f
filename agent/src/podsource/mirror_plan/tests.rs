use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::model::PodSource;
use crate::podworker::{Lifecycle, WorkerState};

fn pod(source: PodSource, object: Value) -> Pod {
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), source).unwrap()
}

fn static_pod(hash: &str) -> Pod {
    let object = json!({
        "metadata": {"namespace": "ns", "name": "web-node", "uid": hash,
            "annotations": {"kubernetes.io/config.hash": hash}},
        "spec": {"nodeName": "node", "containers": []},
    });
    pod(PodSource::File, object)
}

fn mirror(hash: &str) -> Value {
    json!({
        "metadata": {"namespace": "ns", "name": "web-node", "uid": "mirror-uid",
            "annotations": {"kubernetes.io/config.mirror": hash}},
        "spec": {"nodeName": "node", "containers": []},
    })
}

fn desired(wanted: Option<&str>, mirror: Option<Value>) -> DesiredPods {
    let statics = wanted.map(static_pod);
    let mirror = mirror.map(|object| pod(PodSource::Api, object));
    DesiredPods {
        pods: statics.into_iter().map(|pod| (pod.uid().clone(), pod)).collect(),
        mirror_pods: mirror.into_iter().map(|pod| (pod.full_name().clone(), pod)).collect(),
        all_synced: true,
        api_synced: true,
    }
}

fn workers(hashes: &[&str]) -> WorkerStates {
    let state = |hash: &str| WorkerState {
        full_name: PodFullName::new("ns", "web-node"),
        pod: Some(static_pod(hash)),
        lifecycle: Lifecycle::Syncing,
    };
    hashes.iter().map(|hash| (PodUid::from(*hash), state(hash))).collect()
}

fn node() -> api::Node {
    serde_json::from_value(json!({"metadata": {"name": "node", "uid": "node-uid"}})).unwrap()
}

fn step(desired: &DesiredPods, running: &[&str]) -> Option<MirrorStep> {
    let steps = plan_mirrors(desired, &workers(running), Some(&node()));
    steps.into_values().next()
}

fn kind(step: Option<MirrorStep>) -> &'static str {
    match step {
        None => "none",
        Some(MirrorStep::Create(_)) => "create",
        Some(MirrorStep::Replace(..)) => "replace",
        Some(MirrorStep::Delete(_)) => "delete",
    }
}

#[test]
fn mirror_follows_its_static_pod() {
    let deleting = || {
        let mut mirror = mirror("new");
        mirror["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
        mirror
    };
    for (wanted, found, running, expected) in [
        (Some("new"), None, &[][..], "create"),
        (Some("new"), None, &["new"], "create"),
        (Some("new"), Some(mirror("new")), &["new"], "none"),
        (Some("new"), Some(mirror("old")), &["new"], "replace"),
        (Some("new"), Some(deleting()), &["new"], "replace"),
        // The predecessor still ends.
        (Some("new"), Some(mirror("old")), &["old"], "none"),
        (Some("new"), None, &["old", "new"], "none"),
        (None, Some(mirror("old")), &["old"], "none"),
        (None, Some(mirror("old")), &[], "delete"),
        (None, None, &[], "none"),
    ] {
        let case = format!("{wanted:?} {found:?} {running:?}");
        assert_eq!(kind(step(&desired(wanted, found), running)), expected, "{case}");
    }
}

#[test]
fn mirror_is_the_pod_with_hash_and_owner() {
    let Some(MirrorStep::Create(object)) = step(&desired(Some("new"), None), &[]) else {
        panic!("no step to create it");
    };
    assert_eq!(object.metadata.uid, None);
    assert_eq!(object.metadata.annotations.unwrap()[CONFIG_MIRROR], "new");
    let owner = &object.metadata.owner_references.unwrap()[0];
    let named = (owner.kind.as_str(), owner.name.as_str(), owner.uid.as_str(), owner.controller);
    assert_eq!(named, ("Node", "node", "node-uid", Some(true)));
}

#[test]
fn nothing_is_done_before_it_is_known_what_there_is() {
    let create = desired(Some("new"), None);
    let delete = desired(None, Some(mirror("old")));
    assert!(plan_mirrors(&create, &workers(&[]), None).is_empty());
    let mut leaving = node();
    leaving.metadata.deletion_timestamp =
        Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(jiff::Timestamp::UNIX_EPOCH));
    assert!(plan_mirrors(&create, &workers(&[]), Some(&leaving)).is_empty());
    assert_eq!(plan_mirrors(&delete, &workers(&[]), None).len(), 1);
    let unsynced = |desired: DesiredPods| DesiredPods { all_synced: false, ..desired };
    assert_eq!(kind(step(&unsynced(delete), &[])), "none");
    assert_eq!(kind(step(&unsynced(create.clone()), &[])), "create");
    assert_eq!(kind(step(&DesiredPods { api_synced: false, ..create }, &[])), "none");
}

#[test]
fn pod_that_only_the_runtime_knows_keeps_its_mirror_until_it_has_ended() {
    let mut running = workers(&["old"]);
    running.values_mut().for_each(|worker| worker.pod = None);
    let left = desired(None, Some(mirror("old")));
    assert!(plan_mirrors(&left, &running, Some(&node())).is_empty());
}
