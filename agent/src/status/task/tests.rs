use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::{Notify, Semaphore};

use super::*;
use crate::boundary::PodWatchEvent;
use crate::model::PodSource;

/// Answers patches as told and remembers them.
struct Api {
    patches: Mutex<Vec<Value>>,
    uids: Mutex<Vec<String>>,
    deleted: Mutex<Vec<String>>,
    failures: Mutex<Vec<ApiError>>,
    /// Deletions that find no pod.
    missing: Mutex<usize>,
    called: Notify,
    /// A field this server does not know.
    drops: Option<&'static str>,
    /// What pods show.
    statuses: Mutex<BTreeMap<String, Value>>,
    /// Patches wait for a permit of `release`.
    holds: bool,
    release: Semaphore,
    flying: Mutex<usize>,
}

impl Default for Api {
    fn default() -> Self {
        Self {
            patches: Mutex::default(),
            uids: Mutex::default(),
            deleted: Mutex::default(),
            failures: Mutex::default(),
            missing: Mutex::default(),
            called: Notify::new(),
            drops: None,
            statuses: Mutex::default(),
            holds: false,
            release: Semaphore::new(0),
            flying: Mutex::default(),
        }
    }
}

impl Api {
    /// Merges a patch as the server does: conditions by type, all else by field.
    fn merge(&self, name: &str, patch: Value) -> Value {
        let mut statuses = self.statuses.lock().unwrap();
        let status = statuses.entry(name.to_owned()).or_insert_with(|| json!({}));
        for (field, value) in patch.as_object().unwrap() {
            if value.is_null() {
                status.as_object_mut().unwrap().remove(field);
            } else if field == "conditions" {
                let mut all = status[field].as_array().cloned().unwrap_or_default();
                for condition in value.as_array().unwrap() {
                    all.retain(|known| known["type"] != condition["type"]);
                    all.push(condition.clone());
                }
                status[field] = all.into();
            } else {
                status[field] = value.clone();
            }
        }
        status.clone()
    }
}

#[async_trait]
impl PodsApi for Api {
    fn watch_pods(&self) -> mpsc::Receiver<PodWatchEvent> {
        mpsc::channel(1).1
    }

    async fn patch_status(&self, _: &str, name: &str, patch: Value) -> Result<api::Pod, ApiError> {
        self.called.notify_one();
        let uid = patch["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        self.uids.lock().unwrap().push(uid);
        if let Some(error) = self.failures.lock().unwrap().pop() {
            return Err(error);
        }
        *self.flying.lock().unwrap() += 1;
        if self.holds {
            self.release.acquire().await.unwrap().forget();
        }
        *self.flying.lock().unwrap() -= 1;
        let mut status = patch["status"].clone();
        self.patches.lock().unwrap().push(status.clone());
        if let Some(field) = self.drops {
            status.as_object_mut().unwrap().remove(field);
        }
        let status = self.merge(name, status);
        Ok(serde_json::from_value(json!({
            "metadata": { "name": name, "uid": name }, "spec": { "containers": [] }, "status": status,
        }))
        .unwrap())
    }

    async fn delete_finished(&self, _: &str, name: &str, _: &PodUid) -> Result<(), ApiError> {
        self.deleted.lock().unwrap().push(name.to_owned());
        self.called.notify_one();
        let mut missing = self.missing.lock().unwrap();
        let found = *missing == 0;
        *missing = missing.saturating_sub(1);
        if found { Ok(()) } else { Err(ApiError::NotFound(name.to_owned())) }
    }

    async fn get_pod(&self, _: &str, name: &str) -> Result<api::Pod, ApiError> {
        Err(ApiError::NotFound(name.to_owned()))
    }

    async fn create_pod(&self, _: &api::Pod) -> Result<api::Pod, ApiError> {
        Err(ApiError::Invalid("not in this test".to_owned()))
    }
}

fn pod(deleting: bool) -> Pod {
    let deletion = deleting.then_some("2026-01-01T00:00:00Z");
    let object = json!({
        "metadata": { "uid": "u", "name": "p", "namespace": "ns", "deletionTimestamp": deletion },
        "spec": { "containers": [] },
    });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

/// When everything held back for what may follow is written.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

fn named(name: &str) -> Pod {
    let object = json!({
        "metadata": { "uid": name, "name": name, "namespace": "ns" },
        "spec": { "containers": [] },
    });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

fn phase(phase: &str) -> api::PodStatus {
    api::PodStatus { phase: Some(phase.to_owned()), ..api::PodStatus::default() }
}

/// Runs the task over what `drive` does until all of it is written.
async fn run<F: AsyncFnOnce(StatusHandle, Arc<Api>)>(api: Arc<Api>, drive: F) {
    let (task, handle) = StatusTask::new(api.clone());
    let running = tokio::spawn(task.run());
    drive(handle, api).await;
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn equal_status_is_written_once() {
    run(Arc::default(), async |handle, api| {
        let pod = pod(false);
        handle.publish(&pod, phase("Running")).await;
        api.called.notified().await;
        handle.publish(&pod, phase("Running")).await;
        tokio::task::yield_now().await;
        drop(handle);
        assert_eq!(api.patches.lock().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn failed_write_is_tried_again_later() {
    let api = Arc::new(Api::default());
    api.failures.lock().unwrap().push(ApiError::Unavailable("down".to_owned()));
    run(api, async |handle, api| {
        handle.publish(&pod(false), phase("Running")).await;
        api.called.notified().await;
        assert!(api.patches.lock().unwrap().is_empty());
        api.called.notified().await;
        assert_eq!(*api.patches.lock().unwrap(), [json!({ "phase": "Running" })]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn object_is_deleted_only_after_its_terminal_status_is_posted() {
    run(Arc::default(), async |handle, api| {
        handle.publish(&pod(true), phase("Failed")).await;
        handle.finish(&pod(true)).await;
        api.called.notified().await;
        api.called.notified().await;
        assert_eq!(*api.patches.lock().unwrap(), [json!({ "phase": "Failed" })]);
        assert_eq!(*api.deleted.lock().unwrap(), ["p"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn finished_pod_nobody_deletes_stays() {
    run(Arc::default(), async |handle, api| {
        handle.publish(&pod(false), phase("Succeeded")).await;
        handle.finish(&pod(false)).await;
        api.called.notified().await;
        tokio::task::yield_now().await;
        assert!(api.deleted.lock().unwrap().is_empty());
        handle.finish(&pod(true)).await;
        api.called.notified().await;
        assert_eq!(*api.deleted.lock().unwrap(), ["p"]);
    })
    .await;
}

fn ready() -> api::PodStatus {
    serde_json::from_value(json!({
        "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
    }))
    .unwrap()
}

#[tokio::test(start_paused = true)]
async fn pod_that_is_up_quickly_takes_one_write() {
    run(Arc::default(), async |handle, api| {
        handle.publish(&pod(false), phase("Pending")).await;
        tokio::time::sleep(PROGRESS_PAUSE / 2).await;
        handle.publish(&pod(false), ready()).await;
        tokio::time::sleep(PROGRESS_PAUSE * 2).await;
        assert_eq!(api.patches.lock().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn progress_of_a_slow_pod_shows_after_a_moment() {
    run(Arc::default(), async |handle, api| {
        let begun = Instant::now();
        handle.publish(&pod(false), phase("Pending")).await;
        api.called.notified().await;
        assert_eq!(begun.elapsed().as_millis(), PROGRESS_PAUSE.as_millis());
        handle.publish(&pod(false), ready()).await;
        api.called.notified().await;
        assert_eq!(begun.elapsed().as_millis(), PROGRESS_PAUSE.as_millis());
        assert_eq!(api.patches.lock().unwrap().len(), 2);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn deleted_pod_that_ends_quickly_takes_two_writes() {
    run(Arc::default(), async |handle, api| {
        let mut ended = ready();
        ended.conditions = None;
        handle.publish(&pod(true), ready()).await;
        api.called.notified().await;
        handle.publish(&pod(true), ended).await;
        tokio::time::sleep(PROGRESS_PAUSE).await;
        handle.publish(&pod(true), phase("Succeeded")).await;
        handle.finish(&pod(true)).await;
        tokio::time::sleep(PROGRESS_PAUSE * 20).await;
        // One before the end, one of it.
        assert_eq!(api.patches.lock().unwrap().len(), 2);
        assert_eq!(api.deleted.lock().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn field_that_the_server_drops_is_not_sent_again() {
    let api = Arc::new(Api { drops: Some("hostIP"), ..Api::default() });
    run(api, async |handle, api| {
        let pod = pod(false);
        for _ in 0..3 {
            let status = api::PodStatus { host_ip: Some("10.0.0.1".to_owned()), ..ready() };
            handle.publish(&pod, status).await;
            tokio::time::sleep(PROGRESS_PAUSE * 2).await;
        }
        assert_eq!(api.patches.lock().unwrap().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn condition_that_others_changed_before_a_write_is_put_right() {
    run(Arc::default(), async |handle, api| {
        let pod = pod(false);
        handle.publish(&pod, ready()).await;
        tokio::time::sleep(LONGEST_PAUSE).await;
        // The node was away, and its watch has not told of this yet.
        api.merge("p", json!({ "conditions": [{ "type": "Ready", "status": "False" }] }));
        let restarted = api::PodStatus { message: Some("restarted".to_owned()), ..ready() };
        handle.publish(&pod, restarted).await;
        tokio::time::sleep(LONGEST_PAUSE * 2).await;
        let shown = api.statuses.lock().unwrap()["p"].clone();
        assert_eq!(shown["conditions"][0]["status"], "True", "{shown}");
        assert_eq!(shown["message"], "restarted");
        assert_eq!(api.patches.lock().unwrap().len(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn writes_of_many_pods_run_side_by_side_up_to_a_limit_and_the_newest_wins() {
    let api = Arc::new(Api { holds: true, ..Api::default() });
    run(api, async |handle, api| {
        let pods: Vec<Pod> = (0..PARALLEL + 4).map(|number| named(&format!("p{number}"))).collect();
        for pod in &pods {
            handle.publish(pod, phase("Succeeded")).await;
        }
        tokio::time::sleep(PROGRESS_PAUSE).await;
        assert_eq!(*api.flying.lock().unwrap(), PARALLEL);
        assert!(*handle.busy().borrow());
        for pod in &pods {
            let mut status = phase("Succeeded");
            status.message = Some("newest".to_owned());
            handle.publish(pod, status).await;
        }
        api.release.add_permits(10_000);
        tokio::time::sleep(LONGEST_PAUSE * 2).await;
        let patches = api.patches.lock().unwrap();
        // Those that had to wait were written once.
        assert_eq!(patches.len(), PARALLEL * 2 + 4);
        assert!(!*handle.busy().borrow());
    })
    .await;
}

fn desired(mirror_uid: Option<&str>) -> Arc<DesiredPods> {
    let mirror = mirror_uid.map(|uid| {
        let object = json!({
            "metadata": {"uid": uid, "name": "p", "namespace": "ns",
                "annotations": {"kubernetes.io/config.mirror": "hash"}},
            "spec": {"containers": []}, "status": {"phase": "Pending"},
        });
        Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
    });
    let mirror_pods = mirror.into_iter().map(|pod| (pod.full_name().clone(), pod)).collect();
    Arc::new(DesiredPods { mirror_pods, ..DesiredPods::default() })
}

#[tokio::test(start_paused = true)]
async fn status_of_a_static_pod_goes_to_its_mirror_pod() {
    let api = Arc::new(Api::default());
    let (mirrors, reader) = watch::channel(desired(None));
    let (task, handle) = StatusTask::new(api.clone());
    let running = tokio::spawn(task.with_mirrors(reader).run());
    let object = json!({
        "metadata": {"uid": "hash", "name": "p", "namespace": "ns",
            "annotations": {"kubernetes.io/config.hash": "hash"}},
        "spec": {"containers": []},
    });
    let pod = Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::File).unwrap();
    handle.publish(&pod, phase("Running")).await;
    tokio::time::sleep(PROGRESS_PAUSE * 2).await;
    assert!(api.patches.lock().unwrap().is_empty(), "there is no mirror pod yet");
    mirrors.send_replace(desired(Some("mirror-1")));
    api.called.notified().await;
    assert_eq!(*api.patches.lock().unwrap(), [json!({ "phase": "Running" })]);
    // The next mirror pod is found gone at first.
    api.failures.lock().unwrap().push(ApiError::NotFound("p".to_owned()));
    mirrors.send_replace(desired(Some("mirror-2")));
    api.called.notified().await;
    mirrors.send_replace(desired(Some("mirror-3")));
    api.called.notified().await;
    let mirrors_told = ["mirror-1", "mirror-2", "mirror-3"];
    assert_eq!(*api.uids.lock().unwrap(), mirrors_told);
    drop(handle);
    running.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pod_that_a_new_server_does_not_know_yet_is_deleted_a_little_later() {
    for (missing, tries) in [(0, 1), (2, 3), (100, 6)] {
        let api = Arc::new(Api { missing: Mutex::new(missing), ..Api::default() });
        run(api, async |handle, api| {
            handle.finish(&pod(true)).await;
            tokio::time::sleep(RETRY_CAP * 20).await;
            assert_eq!(api.deleted.lock().unwrap().len(), tries, "missing {missing} times");
            assert!(!*handle.busy().borrow());
        })
        .await;
    }
}
