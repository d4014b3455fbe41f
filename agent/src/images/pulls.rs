//! Pulls under way: one for an image and credential, a limit over all, a record of each.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::access::PullRecords;
use super::credentials::TrackedAuth;
use super::limiter::PullLimiter;
use super::progress::PullProgress;
use super::reference::ImageReference;
use super::track::Tracker;
use crate::boundary::{ContentStore, ImageError, ImageService, RegistryAuth};
use crate::podworker::WallClock;

/// A pull that succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pulled {
    /// The runtime's name of the content.
    pub image_ref: String,
    /// Without the wait for other pulls.
    pub took: Duration,
}

/// A pull that anybody may wait for.
#[derive(Clone)]
pub(super) struct Pull {
    pub outcome: Shared<BoxFuture<'static, Result<Pulled, ImageError>>>,
    pub progress: watch::Receiver<PullProgress>,
}

type Key = (String, Option<RegistryAuth>);

/// What pulls need.
pub(super) struct PullLine {
    service: Arc<dyn ImageService>,
    content: Option<Arc<dyn ContentStore>>,
    records: Arc<PullRecords>,
    clock: WallClock,
    /// `None` is no limit. Those who wait are served in the order they came.
    slots: Option<Arc<Semaphore>>,
    limiter: Mutex<Option<PullLimiter>>,
    running: Arc<AtomicUsize>,
    under_way: Mutex<HashMap<Key, Pull>>,
}

impl PullLine {
    pub fn new(
        service: Arc<dyn ImageService>,
        content: Option<Arc<dyn ContentStore>>,
        records: Arc<PullRecords>,
        clock: WallClock,
        limits: (Option<u32>, Option<PullLimiter>),
    ) -> Arc<Self> {
        let (parallel, limiter) = limits;
        Arc::new(Self {
            service,
            content,
            records,
            clock,
            slots: parallel.map(|limit| Arc::new(Semaphore::new(limit.max(1) as usize))),
            limiter: Mutex::new(limiter),
            running: Arc::default(),
            under_way: Mutex::default(),
        })
    }

    /// The pull of this image with this credential, begun or joined. It goes on when nobody waits
    /// for it any more.
    pub fn pull(
        self: &Arc<Self>,
        image: &ImageReference,
        credential: Option<&TrackedAuth>,
    ) -> Pull {
        let key = (image.to_string(), credential.map(|credential| credential.auth.clone()));
        let mut under_way = self.lock();
        if let Some(pull) = under_way.get(&key) {
            return pull.clone();
        }
        let (teller, progress) = watch::channel(PullProgress::Queued);
        let (line, image, credential) = (Arc::clone(self), image.clone(), credential.cloned());
        let ended = key.clone();
        let task = tokio::spawn(async move {
            let result = line.run(&image, credential.as_ref(), teller).await;
            line.lock().remove(&ended);
            result
        });
        let broken = || ImageError::RegistryUnavailable("the pull was broken off".to_owned());
        let outcome = async move { task.await.unwrap_or_else(|_| Err(broken())) }.boxed().shared();
        let pull = Pull { outcome, progress };
        under_way.insert(key, pull.clone());
        pull
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Key, Pull>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn run(
        &self,
        image: &ImageReference,
        credential: Option<&TrackedAuth>,
        progress: watch::Sender<PullProgress>,
    ) -> Result<Pulled, ImageError> {
        let _slot = match &self.slots {
            Some(slots) => Arc::clone(slots).acquire_owned().await.ok(),
            None => None,
        };
        if !self.may_reach_registry() {
            return Err(ImageError::QpsExceeded);
        }
        let name = image.to_string();
        self.records.begun(&name).await;
        self.running.fetch_add(1, Ordering::Relaxed);
        progress.send_replace(PullProgress::Running);
        let started = Instant::now();
        let result = self.call(image, credential, progress).await;
        self.running.fetch_sub(1, Ordering::Relaxed);
        let pulled = result.as_ref().ok().map(|image_ref| (image_ref.as_str(), credential));
        self.records.ended(&name, pulled, (self.clock)()).await;
        result.map(|image_ref| Pulled { image_ref, took: started.elapsed() })
    }

    fn may_reach_registry(&self) -> bool {
        let mut limiter = self.limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.as_mut().is_none_or(|limiter| limiter.try_take(Instant::now()))
    }

    async fn call(
        &self,
        image: &ImageReference,
        credential: Option<&TrackedAuth>,
        progress: watch::Sender<PullProgress>,
    ) -> Result<String, ImageError> {
        let name = image.to_string();
        let pull = self.service.pull_image(&name, credential.map(|credential| &credential.auth));
        let Some(content) = &self.content else { return pull.await };
        let running = Arc::clone(&self.running);
        let tracker = Tracker::new(Arc::clone(content), image.clone(), running, progress);
        // The pull is polled to its end; only the tracker is dropped.
        tokio::select! {
            biased;
            result = pull => result,
            never = tracker.follow() => match never {},
        }
    }
}
