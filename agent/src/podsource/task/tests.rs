use super::*;
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
