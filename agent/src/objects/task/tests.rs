use super::*;
use crate::podexec::fixtures::pod;
use crate::testing::fake_api::FakeApi;
use serde_json::{Value, json};
use tokio::sync::mpsc::error::TryRecvError;

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

fn start(api: &FakeApi) -> (ObjectsHandle, mpsc::Receiver<PodUid>) {
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
    // A moment for the watch, and the age at which a Secret is asked for again.
    tokio::time::sleep(SECRET_AGE).await;
    assert_eq!(value(&objects.config_map("ns", "cm").await.unwrap()), "1");
    assert_eq!(objects.secret("ns", "s").await.unwrap().get("k"), Some(&b"1"[..]));
}

#[tokio::test(start_paused = true)]
async fn immutable_object_is_not_watched_after_its_first_state() {
    let api = FakeApi::new("n1");
    api.put_config_map(api::ConfigMap { immutable: Some(true), ..config_map("cm", "1") });
    let (objects, _changes) = start(&api);
    objects.register(&map_user("u1")).await;
    objects.config_map("ns", "cm").await.unwrap();
    objects.config_map("ns", "cm").await.unwrap();
    assert_eq!(count(&api, "watch_config_map ns/cm"), 1);
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
async fn secret_is_fetched_once_a_minute_and_for_each_new_pod() {
    let api = FakeApi::new("n1");
    api.put_secret(secret(b"1"));
    let (objects, _changes) = start(&api);
    let fetches = || count(&api, "get_secret ns/s");
    let pod = |uid| user(uid, json!({"name": "v", "secret": {"secretName": "s"}}));
    objects.register(&pod("u1")).await;
    objects.secret("ns", "s").await.unwrap();
    objects.secret("ns", "s").await.unwrap();
    assert_eq!(fetches(), 1);
    tokio::time::sleep(SECRET_AGE).await;
    objects.secret("ns", "s").await.unwrap();
    assert_eq!(fetches(), 2);
    objects.register(&pod("u2")).await;
    objects.secret("ns", "s").await.unwrap();
    assert_eq!(fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn known_secret_serves_while_the_api_server_is_away() {
    let api = FakeApi::new("n1");
    let (objects, _changes) = start(&api);
    objects.register(&user("u1", json!({"name": "v", "secret": {"secretName": "s"}}))).await;
    let away = || ApiError::Unavailable("down".to_owned());
    api.fail_next("get_secret", away());
    let error = objects.secret("ns", "s").await.unwrap_err();
    assert_eq!(error.to_string(), "cannot get secret ns/s");
    api.put_secret(secret(b"1"));
    objects.secret("ns", "s").await.unwrap();
    tokio::time::sleep(SECRET_AGE).await;
    api.fail_next("get_secret", away());
    assert_eq!(objects.secret("ns", "s").await.unwrap().get("k"), Some(&b"1"[..]));
}
