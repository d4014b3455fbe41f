use super::*;
use crate::model::PodSource;
use crate::testing::fake_api::{FakeApi, pod_object};

#[tokio::test(start_paused = true)]
async fn first_complete_list_is_published_as_synced() {
    let api = FakeApi::new("node-1");
    api.put_pod(pod_object("ns", "web", "u1", "node-1"));
    let (task, mut desired) = PodSourceTask::new(&api, "node-1");
    assert!(!desired.borrow().all_synced);
    let running = tokio::spawn(task.run());
    let synced = desired.wait_for(|desired| desired.all_synced).await.unwrap().clone();
    assert_eq!(synced.pods.len(), 1);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn pod_deleted_behind_a_broken_watch_is_dropped_with_the_next_list() {
    let api = FakeApi::new("node-1");
    api.put_pod(pod_object("ns", "web", "u1", "node-1"));
    api.put_pod(pod_object("ns", "db", "u2", "node-1"));
    let (task, mut desired) = PodSourceTask::new(&api, "node-1");
    let running = tokio::spawn(task.run());
    desired.wait_for(|desired| desired.pods.len() == 2).await.unwrap();
    api.break_watches();
    api.remove_pod(&"u1".into());
    api.put_pod(pod_object("ns", "cache", "u3", "node-1"));
    api.mend_watches();
    let now = desired
        .wait_for(|desired| desired.pods.contains_key(&"u3".into()) && desired.pods.len() == 2)
        .await
        .unwrap()
        .clone();
    assert!(!now.pods.contains_key(&"u1".into()));
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn end_of_the_watch_is_an_error() {
    let api = FakeApi::new("node-1");
    let (task, _desired) = PodSourceTask::new(&api, "node-1");
    api.end_watches();
    assert!(task.run().await.is_err());
}

fn static_pods(names: &[&str]) -> StaticPods {
    let pod = |name: &&str| {
        let object = pod_object("ns", name, &format!("hash-{name}"), "node-1");
        Pod::new(Arc::new(object), PodSource::File).unwrap()
    };
    Some(names.iter().map(pod).collect())
}

#[tokio::test(start_paused = true)]
async fn static_pods_do_not_wait_for_the_api_server() {
    let api = FakeApi::new("node-1");
    api.break_watches();
    let (manifests, file) = watch::channel(None);
    let sources = Sources { api: Some(api.watch_pods()), file: Some(file), ..Sources::default() };
    let (task, mut desired) = PodSourceTask::with_sources(sources, "node-1");
    let running = tokio::spawn(task.run());
    manifests.send_replace(static_pods(&["a"]));
    let before = desired.wait_for(|desired| desired.pods.len() == 1).await.unwrap().clone();
    assert!(!before.all_synced && !before.api_synced);
    api.mend_watches();
    desired.wait_for(|desired| desired.all_synced && desired.api_synced).await.unwrap();
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn standalone_node_has_what_its_manifests_say() {
    let (manifests, file) = watch::channel(None);
    let sources = Sources { file: Some(file), ..Sources::default() };
    let (task, mut desired) = PodSourceTask::with_sources(sources, "node-1");
    assert!(!desired.borrow().all_synced);
    let running = tokio::spawn(task.run());
    manifests.send_replace(static_pods(&["a", "b"]));
    let both = desired.wait_for(|desired| desired.all_synced).await.unwrap().clone();
    assert_eq!(both.pods.len(), 2);
    manifests.send_replace(static_pods(&["b"]));
    desired.wait_for(|desired| desired.pods.len() == 1).await.unwrap();
    drop(manifests);
    let ended = running.await.unwrap();
    assert_eq!(ended, Err(SourceEnded("the reader of static pod manifests")));
}
