use k8s_openapi::api::core::v1 as api;
use serde_json::json;

use super::*;
use crate::model::{Pod, PodSource, PodUid};
use crate::podsource::{PodSourceTask, Sources, StaticPods};
use crate::testing::fake_api::FakeApi;

/// A mirror task on a fake API with one static pod.
struct Fixture {
    api: FakeApi,
    statics: watch::Sender<StaticPods>,
    desired: watch::Receiver<Arc<DesiredPods>>,
    /// Inputs of the task that end it when dropped.
    _inputs: (watch::Sender<Arc<WorkerStates>>, watch::Sender<NodeView>),
}

fn static_pod(hash: &str) -> Pod {
    let object: api::Pod = serde_json::from_value(json!({
        "metadata": {"namespace": "ns", "name": "web-node", "uid": hash,
            "annotations": {"kubernetes.io/config.hash": hash}},
        "spec": {"nodeName": "node", "containers": []},
    }))
    .unwrap();
    Pod::new(Arc::new(object), PodSource::File).unwrap()
}

fn says(hashes: &[&str]) -> StaticPods {
    Some(hashes.iter().map(|hash| static_pod(hash)).collect())
}

impl Fixture {
    fn start() -> Self {
        let api = FakeApi::new("node");
        let (statics, file) = watch::channel(says(&["one"]));
        let sources =
            Sources { api: Some(api.watch_pods()), file: Some(file), ..Sources::default() };
        let (source, desired) = PodSourceTask::with_sources(sources, "node");
        tokio::spawn(source.run());
        let (workers, worker_states) = watch::channel(Arc::default());
        let mut view = NodeView::unknown("node");
        let node = json!({"metadata": {"name": "node", "uid": "node-uid"}});
        view.set_node(Arc::new(serde_json::from_value(node).unwrap()));
        let (node, node_view) = watch::channel(view);
        let task =
            MirrorTask::new(Arc::new(api.clone()), desired.clone(), worker_states, node_view);
        tokio::spawn(task.run());
        Self { api, statics, desired, _inputs: (workers, node) }
    }

    /// The mirror pod as soon as it reflects `hash`.
    async fn mirror_of(&mut self, hash: &str) -> Pod {
        let shown = self.desired.wait_for(|desired| {
            let mut mirrors = desired.mirror_pods.values();
            mirrors.any(|mirror| mirror.annotation("kubernetes.io/config.mirror") == Some(hash))
        });
        let shown = shown.await.unwrap().clone();
        shown.mirror_pods.values().next().unwrap().clone()
    }
}

#[tokio::test(start_paused = true)]
async fn mirror_pod_comes_changes_and_goes_with_its_static_pod() {
    let mut fixture = Fixture::start();
    let first = fixture.mirror_of("one").await;
    assert_eq!(first.full_name().to_string(), "ns/web-node");
    fixture.statics.send_replace(says(&["two"]));
    let second = fixture.mirror_of("two").await;
    assert_ne!(first.uid(), second.uid());
    fixture.statics.send_replace(says(&[]));
    fixture.desired.wait_for(|desired| desired.mirror_pods.is_empty()).await.unwrap();
    assert_eq!(
        fixture.api.calls(),
        [
            "create_pod ns/web-node",
            "delete_finished ns/web-node",
            "create_pod ns/web-node",
            "delete_finished ns/web-node",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn deleted_mirror_pod_comes_back() {
    let mut fixture = Fixture::start();
    let first = fixture.mirror_of("one").await;
    fixture.api.request_deletion(first.uid(), jiff::Timestamp::UNIX_EPOCH, 30);
    let gone = |desired: &Arc<DesiredPods>| {
        let mut mirrors = desired.mirror_pods.values();
        mirrors.any(|mirror| mirror.uid() != first.uid())
    };
    fixture.desired.wait_for(gone).await.unwrap();
    let second = fixture.mirror_of("one").await;
    assert!(second.deletion_requested().is_none());
    fixture.api.remove_pod(second.uid());
    fixture.desired.wait_for(|desired| desired.mirror_pods.is_empty()).await.unwrap();
    fixture.mirror_of("one").await;
}

#[tokio::test(start_paused = true)]
async fn refused_mirror_pod_is_tried_again_ever_more_slowly() {
    let begun = Instant::now();
    let mut fixture = Fixture::start();
    for _ in 0..3 {
        fixture.api.fail_next("create_pod", ApiError::Forbidden("no".to_owned()));
    }
    fixture.mirror_of("one").await;
    assert_eq!(fixture.api.calls().len(), 4);
    let waited = begun.elapsed();
    assert!(waited >= Duration::from_secs(7) && waited < Duration::from_secs(8), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn orphan_of_an_earlier_life_is_deleted() {
    let mut fixture = Fixture::start();
    let orphan: api::Pod = serde_json::from_value(json!({
        "metadata": {"namespace": "ns", "name": "old-node", "uid": "orphan",
            "annotations": {"kubernetes.io/config.mirror": "gone"}},
        "spec": {"nodeName": "node", "containers": []},
    }))
    .unwrap();
    fixture.api.put_pod(orphan);
    fixture.mirror_of("one").await;
    let calls = fixture.api.wait_for_calls(2).await;
    assert!(calls.contains(&"delete_finished ns/old-node".to_owned()), "{calls:?}");
    let shown = fixture.desired.wait_for(|desired| desired.mirror_pods.len() == 1);
    shown.await.unwrap();
    assert!(fixture.api.pod(&PodUid::from("orphan")).is_none());
}
