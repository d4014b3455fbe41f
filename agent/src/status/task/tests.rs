use std::sync::Mutex;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::*;
use crate::boundary::PodWatchEvent;
use crate::model::PodSource;

/// Answers patches as told and remembers them.
#[derive(Default)]
struct Api {
    patches: Mutex<Vec<Value>>,
    deleted: Mutex<Vec<String>>,
    failures: Mutex<Vec<ApiError>>,
    called: Notify,
}

#[async_trait]
impl PodsApi for Api {
    fn watch_pods(&self) -> mpsc::Receiver<PodWatchEvent> {
        mpsc::channel(1).1
    }

    async fn patch_status(&self, _: &str, name: &str, patch: Value) -> Result<api::Pod, ApiError> {
        self.called.notify_one();
        if let Some(error) = self.failures.lock().unwrap().pop() {
            return Err(error);
        }
        let status = patch["status"].clone();
        self.patches.lock().unwrap().push(status.clone());
        Ok(serde_json::from_value(json!({
            "metadata": { "name": name, "uid": "u" }, "spec": { "containers": [] }, "status": status,
        }))
        .unwrap())
    }

    async fn delete_finished(&self, _: &str, name: &str, _: &PodUid) -> Result<(), ApiError> {
        self.deleted.lock().unwrap().push(name.to_owned());
        self.called.notify_one();
        Ok(())
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
