use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use serde_json::json;
use tokio::sync::Notify;

use super::*;
use crate::boundary::{EventSink, RuntimeError};
use crate::config::Limits;
use crate::events::EventsTask;
use crate::model::PodSource;

/// A store whose pulls wait for `release`, fail while told to, and are counted.
#[derive(Default)]
struct Store {
    present: Mutex<Vec<String>>,
    failing: Mutex<bool>,
    pulls: AtomicUsize,
    hold: bool,
    release: Notify,
}

#[async_trait]
impl ImageService for Store {
    async fn image_status(&self, image: &str) -> Result<Option<LocalImage>, ImageError> {
        let present = self.present.lock().unwrap().iter().any(|name| name == image);
        Ok(present.then(|| LocalImage { id: format!("id-{image}"), ..LocalImage::default() }))
    }

    async fn pull_image(
        &self,
        image: &str,
        _: Option<&RegistryAuth>,
    ) -> Result<String, ImageError> {
        self.pulls.fetch_add(1, Ordering::SeqCst);
        if self.hold {
            self.release.notified().await;
        }
        if *self.failing.lock().unwrap() {
            let error =
                RuntimeError::Refused { code: "NotFound".into(), message: "no such image".into() };
            return Err(error.into());
        }
        self.present.lock().unwrap().push(image.to_owned());
        Ok(image.to_owned())
    }

    async fn list_images(&self) -> Result<Vec<LocalImage>, ImageError> {
        Ok(Vec::new())
    }

    async fn remove_image(&self, _: &str) -> Result<(), ImageError> {
        Ok(())
    }

    async fn image_fs(&self) -> Result<(u64, String), ImageError> {
        Ok((0, String::new()))
    }
}

struct NoSink;

#[async_trait]
impl EventSink for NoSink {
    async fn create_event(&self, event: &api::Event) -> Result<api::Event, ApiError> {
        Ok(event.clone())
    }

    async fn patch_event(
        &self,
        _: &str,
        name: &str,
        _: serde_json::Value,
    ) -> Result<api::Event, ApiError> {
        Err(ApiError::NotFound(name.to_owned()))
    }
}

fn handle(store: &Arc<Store>) -> ImagesHandle {
    let limits = Limits { event_qps: 1, event_burst: 1, registry_qps: 1, registry_burst: 1 };
    let (events, _task) = EventsTask::new(Arc::new(NoSink), "n", &limits);
    ImagesHandle::new(store.clone(), None, events, None)
}

fn pod(uid: &str, image: &str, policy: &str) -> Pod {
    let object = json!({
        "metadata": { "uid": uid, "name": uid, "namespace": "ns" },
        "spec": { "containers": [{ "name": "c", "image": image, "imagePullPolicy": policy }] },
    });
    Pod::new(Arc::new(serde_json::from_value(object).unwrap()), PodSource::Api).unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap()
}

async fn ensure(
    images: &ImagesHandle,
    pod: &Pod,
    now: i64,
) -> Result<PresentImage, ImagePullError> {
    let container = &pod.spec().containers[0];
    images.ensure(&EnsureImage { pod, container, now: at(now) }).await
}

#[tokio::test(start_paused = true)]
async fn policy_decides_whether_the_registry_is_asked() {
    for (policy, present, pulls, reason) in [
        ("Always", true, 1, None),
        ("Always", false, 1, None),
        ("IfNotPresent", true, 0, None),
        ("IfNotPresent", false, 1, None),
        ("Never", true, 0, None),
        ("Never", false, 0, Some(reason::ERR_IMAGE_NEVER_PULL)),
    ] {
        let store = Arc::new(Store::default());
        if present {
            store.present.lock().unwrap().push("x:1".to_owned());
        }
        let result = ensure(&handle(&store), &pod("u", "x:1", policy), 0).await;
        assert_eq!(store.pulls.load(Ordering::SeqCst), pulls, "{policy} {present}");
        assert_eq!(result.err().map(|error| error.reason), reason, "{policy} {present}");
    }
}

#[tokio::test(start_paused = true)]
async fn bad_name_is_never_asked_for() {
    let store = Arc::new(Store::default());
    let error = ensure(&handle(&store), &pod("u", "Bad Name", "Always"), 0).await.unwrap_err();
    assert_eq!((error.reason, error.retry_at), (reason::INVALID_IMAGE_NAME, None));
    assert_eq!(store.pulls.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn failed_pull_backs_off_and_doubles() {
    let store = Arc::new(Store::default());
    *store.failing.lock().unwrap() = true;
    let (images, pod) = (handle(&store), pod("u", "x:1", "Always"));
    let first = ensure(&images, &pod, 0).await.unwrap_err();
    assert_eq!((first.reason, first.retry_at), (reason::ERR_IMAGE_PULL, Some(at(10))));
    let held = ensure(&images, &pod, 5).await.unwrap_err();
    assert_eq!((held.reason, held.retry_at), (reason::IMAGE_PULL_BACK_OFF, Some(at(10))));
    assert!(held.message.contains("no such image"), "{}", held.message);
    assert_eq!(store.pulls.load(Ordering::SeqCst), 1);
    let second = ensure(&images, &pod, 10).await.unwrap_err();
    assert_eq!(second.retry_at, Some(at(30)));
    *store.failing.lock().unwrap() = false;
    assert!(ensure(&images, &pod, 30).await.is_ok());
    *store.failing.lock().unwrap() = true;
    assert_eq!(ensure(&images, &pod, 31).await.unwrap_err().retry_at, Some(at(41)));
}

#[tokio::test(start_paused = true)]
async fn two_pods_share_one_pull_and_it_outlives_its_asker() {
    let store = Arc::new(Store { hold: true, ..Store::default() });
    let images = handle(&store);
    let (one, two) = (pod("u", "x:1", "IfNotPresent"), pod("v", "x:1", "IfNotPresent"));
    let both = async { tokio::join!(ensure(&images, &one, 0), ensure(&images, &two, 0)) };
    tokio::select! {
        biased;
        _ = both => panic!("the pull is held"),
        () = tokio::task::yield_now() => {}
    }
    let again = async { tokio::join!(ensure(&images, &one, 0), ensure(&images, &two, 0)) };
    let release = async {
        tokio::task::yield_now().await;
        store.release.notify_one();
    };
    let ((first, second), ()) = tokio::join!(again, release);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(store.pulls.load(Ordering::SeqCst), 1);
}
