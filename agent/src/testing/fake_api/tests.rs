use super::*;
use crate::boundary::{NodesApi, ObjectsApi, PodWatchEvent, PodsApi};

#[tokio::test]
async fn status_patch_merges_conditions_and_checks_the_uid() {
    let api = FakeApi::new("node-1");
    api.put_pod(pod_object("ns", "web", "u1", "node-1"));
    let patch = |uid: &str, ready: &str| {
        json!({"metadata": {"uid": uid}, "status": {"phase": "Running",
            "conditions": [{"type": "Ready", "status": ready}]}})
    };
    let other = json!({"metadata": {"uid": "u1"}, "status": {
        "conditions": [{"type": "PodScheduled", "status": "True"}]}});
    api.patch_status("ns", "web", patch("u1", "False")).await.unwrap();
    api.patch_status("ns", "web", other).await.unwrap();
    let pod = api.patch_status("ns", "web", patch("u1", "True")).await.unwrap();
    let status = pod.status.unwrap();
    let conditions: Vec<_> = status
        .conditions
        .unwrap()
        .into_iter()
        .map(|condition| (condition.type_, condition.status))
        .collect();
    let expected = [("Ready", "True"), ("PodScheduled", "True")];
    assert_eq!(conditions, expected.map(|(kind, status)| (kind.to_owned(), status.to_owned())));
    let conflict = api.patch_status("ns", "web", patch("u2", "True")).await;
    assert_eq!(conflict, Err(ApiError::Conflict("pod ns/web".to_owned())));
}

#[tokio::test]
async fn pod_watch_lists_then_follows() {
    let api = FakeApi::new("node-1");
    api.put_pod(pod_object("ns", "web", "u1", "node-1"));
    api.put_pod(pod_object("ns", "elsewhere", "u2", "node-2"));
    let mut events = api.watch_pods();
    assert!(matches!(events.recv().await, Some(PodWatchEvent::Restarted)));
    assert!(matches!(events.recv().await, Some(PodWatchEvent::Applied(_))));
    assert!(matches!(events.recv().await, Some(PodWatchEvent::Synced)));
    api.request_deletion(&"u1".into(), jiff::Timestamp::UNIX_EPOCH, 30);
    let Some(PodWatchEvent::Applied(pod)) = events.recv().await else { panic!("no change") };
    assert_eq!(pod.metadata.deletion_grace_period_seconds, Some(30));
    api.delete_finished("ns", "web", &"u1".into()).await.unwrap();
    let Some(PodWatchEvent::Deleted(uid)) = events.recv().await else { panic!("no deletion") };
    assert_eq!(uid, "u1".into());
}

#[tokio::test]
async fn queued_errors_are_answered_in_order_and_calls_are_logged() {
    let api = FakeApi::new("node-1");
    api.fail_next("get_node", ApiError::Unavailable("first".to_owned()));
    api.fail_next("get_node", ApiError::Forbidden("second".to_owned()));
    assert!(matches!(api.get_node().await, Err(ApiError::Unavailable(_))));
    assert!(matches!(api.get_node().await, Err(ApiError::Forbidden(_))));
    assert!(matches!(api.get_node().await, Err(ApiError::NotFound(_))));
    assert_eq!(api.calls(), ["get_node node-1"; 3]);
}

#[tokio::test]
async fn lease_is_replaced_only_from_its_newest_version() {
    let api = FakeApi::new("node-1");
    let first = api.create_lease(&Lease::default()).await.unwrap();
    let second = api.replace_lease(&first).await.unwrap();
    assert!(matches!(api.replace_lease(&first).await, Err(ApiError::Conflict(_))));
    assert!(api.replace_lease(&second).await.is_ok());
}

#[tokio::test]
async fn node_patches_keep_spec_and_status_apart() {
    let api = FakeApi::new("node-1");
    api.create_node(&api::Node::default()).await.unwrap();
    let both = json!({"spec": {"podCIDR": "10.0.0.0/24"}, "status": {"phase": "x"}});
    let node = api.patch_node_status(both.clone()).await.unwrap();
    assert_eq!(node.spec.and_then(|spec| spec.pod_cidr), None);
    assert_eq!(node.status.unwrap().phase.as_deref(), Some("x"));
    let node = api.patch_node(both).await.unwrap();
    assert_eq!(node.spec.unwrap().pod_cidr.as_deref(), Some("10.0.0.0/24"));
}

#[tokio::test]
async fn watched_config_map_comes_and_goes() {
    let api = FakeApi::new("node-1");
    let mut states = api.watch_config_map("ns", "cm");
    assert_eq!(states.recv().await, Some(None));
    let mut object = api::ConfigMap::default();
    object.metadata.namespace = Some("ns".to_owned());
    object.metadata.name = Some("cm".to_owned());
    api.put_config_map(object);
    assert!(states.recv().await.unwrap().is_some());
    api.remove_config_map("ns", "cm");
    assert_eq!(states.recv().await, Some(None));
}
