use super::*;
use crate::podexec::fixtures::pod;
use crate::testing::fake_api::FakeApi;
use serde_json::{Value, json};
use tokio::sync::broadcast::error::TryRecvError;

fn config_map(name: &str, value: &str) -> api::ConfigMap {
    let object = json!({"metadata": {"namespace": "ns", "name": name}, "data": {"k": value}});
    serde_json::from_value(object).unwrap()
}

fn secret(value: &[u8]) -> api::Secret {
    let mut object: api::Secret =
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "s"}})).unwrap();
    let value = k8s_openapi::ByteString(value.to_vec());
    object.data = Some([("k".to_owned(), value)].into());
    object
}

fn user(uid: &str, volumes: Value) -> crate::model::Pod {
    pod(json!({"metadata": {"uid": uid}, "spec": {
        "containers": [{"name": "main", "volumeMounts": [{"name": "v", "mountPath": "/v"}]}],
        "volumes": [volumes],
    }}))
}

fn map_user(uid: &str) -> crate::model::Pod {
    user(uid, json!({"name": "v", "configMap": {"name": "cm"}}))
}

fn secret_user(uid: &str) -> crate::model::Pod {
    user(uid, json!({"name": "v", "secret": {"secretName": "s"}}))
}

fn runtime_class(handler: &str) -> RuntimeClass {
    serde_json::from_value(json!({"metadata": {"name": "other"}, "handler": handler})).unwrap()
}

fn start(api: &FakeApi) -> (ObjectsHandle, broadcast::Receiver<PodUid>) {
    let (handle, task, changes) = new(Arc::new(api.clone()));
    tokio::spawn(task.run());
    (handle, changes)
}

fn value(map: &api::ConfigMap) -> &str {
    &map.data.as_ref().unwrap()["k"]
}

fn count(api: &FakeApi, call: &str) -> usize {
    api.calls().iter().filter(|line| *line == call).count()
}

#[tokio::test(start_paused = true)]
async fn pods_share_one_watch_and_see_its_changes() {
    let api = FakeApi::new("n1");
    api.put_config_map(config_map("cm", "1"));
    let (objects, mut changes) = start(&api);
    objects.register(&map_user("u1")).await;
    objects.register(&map_user("u2")).await;
    assert_eq!(value(&objects.config_map("ns", "cm").await.unwrap()), "1");
    assert_eq!(value(&objects.config_map("ns", "cm").await.unwrap()), "1");
    assert_eq!(count(&api, "watch_config_map ns/cm"), 1);

    api.put_config_map(config_map("cm", "2"));
    let mut changed = [changes.recv().await.unwrap(), changes.recv().await.unwrap()];
    changed.sort();
    assert_eq!(changed, ["u1".into(), "u2".into()]);
    assert_eq!(value(&objects.config_map("ns", "cm").await.unwrap()), "2");
    assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(start_paused = true)]
async fn object_outlives_its_last_pod_by_a_minute() {
    let api = FakeApi::new("n1");
    api.put_config_map(config_map("cm", "1"));
    let (objects, _changes) = start(&api);
    let watches = || count(&api, "watch_config_map ns/cm");
    objects.register(&map_user("u1")).await;
    objects.config_map("ns", "cm").await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    objects.unregister(&"u1".into()).await;
    objects.register(&map_user("u2")).await;
    objects.config_map("ns", "cm").await.unwrap();
    assert_eq!(watches(), 1);
    objects.unregister(&"u2".into()).await;
    tokio::time::sleep(Duration::from_secs(100)).await;
    objects.config_map("ns", "cm").await.unwrap();
    assert_eq!(watches(), 2);
}

#[tokio::test(start_paused = true)]
async fn missing_object_is_known_to_be_missing() {
    let api = FakeApi::new("n1");
    let (objects, _changes) = start(&api);
    let error = objects.config_map("ns", "cm").await.unwrap_err();
    assert_eq!(error.to_string(), "configmap \"cm\" not found");
    let error = objects.secret("ns", "s").await.unwrap_err();
    assert_eq!(error.to_string(), "secret \"s\" not found");
    api.put_config_map(config_map("cm", "1"));
    api.put_secret(secret(b"1"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(value(&objects.config_map("ns", "cm").await.unwrap()), "1");
    assert_eq!(objects.secret("ns", "s").await.unwrap().get("k"), Some(&b"1"[..]));
}

#[tokio::test(start_paused = true)]
async fn immutable_objects_are_not_watched_after_their_first_state() {
    let api = FakeApi::new("n1");
    api.put_config_map(api::ConfigMap { immutable: Some(true), ..config_map("cm", "1") });
    api.put_secret(api::Secret { immutable: Some(true), ..secret(b"1") });
    let (objects, mut changes) = start(&api);
    objects.register(&map_user("u1")).await;
    objects.register(&secret_user("u2")).await;
    for _ in 0..2 {
        objects.config_map("ns", "cm").await.unwrap();
        objects.secret("ns", "s").await.unwrap();
    }
    assert_eq!(count(&api, "watch_config_map ns/cm"), 1);
    assert_eq!(count(&api, "watch_secret ns/s"), 1);
    api.put_config_map(config_map("cm", "2"));
    api.put_secret(secret(b"2"));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(start_paused = true)]
async fn silent_api_server_ends_the_wait() {
    let api = FakeApi::new("n1");
    api.break_watches();
    let (objects, _changes) = start(&api);
    let error = objects.config_map("ns", "cm").await.unwrap_err();
    assert_eq!(error.to_string(), "timed out waiting for configmap ns/cm");
}

#[tokio::test(start_paused = true)]
async fn object_that_appears_or_changes_is_told_to_volumes_and_workers() {
    let api = FakeApi::new("n1");
    let (objects, mut changes) = start(&api);
    let mut workers = objects.changes().subscribe();
    objects.register(&secret_user("u1")).await;
    objects.register(&map_user("u2")).await;
    assert!(objects.secret("ns", "s").await.unwrap_err().is_not_found());
    for value in [b"1", b"2"] {
        api.put_secret(secret(value));
        assert_eq!(changes.recv().await.unwrap(), "u1".into());
        assert_eq!(workers.recv().await.unwrap(), "u1".into());
        assert_eq!(objects.secret("ns", "s").await.unwrap().get("k"), Some(&value[..]));
    }
    assert_eq!(count(&api, "watch_secret ns/s"), 1);
}

#[tokio::test(start_paused = true)]
async fn first_state_that_came_too_late_for_somebody_is_told() {
    let api = FakeApi::new("n1");
    api.put_secret(secret(b"1"));
    api.break_watches();
    let (objects, mut changes) = start(&api);
    objects.register(&secret_user("u1")).await;
    objects.secret("ns", "s").await.unwrap_err();
    api.mend_watches();
    assert_eq!(changes.recv().await.unwrap(), "u1".into());
}

#[tokio::test(start_paused = true)]
async fn known_secret_serves_while_the_api_server_is_away() {
    let api = FakeApi::new("n1");
    api.put_secret(secret(b"1"));
    let (objects, _changes) = start(&api);
    objects.register(&secret_user("u1")).await;
    objects.secret("ns", "s").await.unwrap();
    api.break_watches();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(objects.secret("ns", "s").await.unwrap().get("k"), Some(&b"1"[..]));
}

#[tokio::test(start_paused = true)]
async fn runtime_class_that_appears_is_told_to_its_pods() {
    let api = FakeApi::new("n1");
    let (objects, mut changes) = start(&api);
    objects.register(&pod(json!({"spec": {"runtimeClassName": "other"}}))).await;
    objects.register(&map_user("u2")).await;
    let missing = objects.runtime_class("other").await.unwrap_err();
    assert!(missing.is_not_found());
    assert_eq!(missing.to_string(), "runtimeclass.node.k8s.io \"other\" not found");

    api.put_runtime_class(runtime_class("handler"));
    assert_eq!(changes.recv().await, Ok("uid-1".into()));
    assert_eq!(objects.runtime_class("other").await.unwrap().handler, "handler");
    assert_eq!(count(&api, "watch_runtime_class other"), 1);
    assert_eq!(changes.try_recv(), Err(TryRecvError::Empty));
}

#[tokio::test(start_paused = true)]
async fn full_node_watches_each_object_once() {
    let api = FakeApi::new("n1");
    let (objects, _changes) = start(&api);
    let maps = || (0..10).map(|number| format!("cm-{number}"));
    let secrets = || (0..10).map(|number| format!("s-{number}"));
    for name in maps() {
        api.put_config_map(config_map(&name, "1"));
    }
    for name in secrets() {
        let mut object = secret(b"1");
        object.metadata.name = Some(name);
        api.put_secret(object);
    }
    let volumes: Vec<Value> = maps()
        .map(|name| json!({"name": name, "configMap": {"name": name}}))
        .chain(secrets().map(|name| json!({"name": name, "secret": {"secretName": name}})))
        .collect();
    let mounts: Vec<Value> =
        volumes.iter().map(|v| json!({"name": v["name"], "mountPath": "/v"})).collect();
    for number in 0..110 {
        let user = pod(json!({"metadata": {"uid": format!("u{number}")}, "spec": {
            "containers": [{"name": "main", "volumeMounts": mounts}], "volumes": volumes}}));
        // Once when its volumes are made, again when it changes.
        for _ in 0..2 {
            objects.register(&user).await;
            let found = objects.fetch("ns", &super::super::pod_references(&user)).await.unwrap();
            assert_eq!((found.config_maps.len(), found.secrets.len()), (10, 10));
        }
    }
    let mut watches = api.calls();
    assert_eq!(watches.len(), 20, "{watches:?}");
    watches.sort();
    watches.dedup();
    assert_eq!(watches.len(), 20);
}
