//! Brings images in: one pull at a time for an image, a limit over all, back-off by pod and image.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::credentials::Keyring;
use super::pull_policy::{PullDecision, PullPolicy};
use super::reference::ImageReference;
use crate::backoff::{Backoff, CONTAINER_RULE};
use crate::boundary::{
    ApiError, ApiEvent, ImageError, ImageService, LocalImage, ObjectsApi, RegistryAuth,
};
use crate::events::{EventsHandle, container_field_path, pod_reference};
use crate::model::{ContainerKind, Pod, PodUid};
use crate::reason::{self, event};

#[cfg(test)]
mod tests;

/// A container's wish for its image.
pub struct EnsureImage<'a> {
    pub pod: &'a Pod,
    pub container: &'a api::Container,
    pub now: Timestamp,
}

/// The image is in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentImage {
    /// What to create the container with.
    pub image_ref: String,
    /// What the runtime knows of it; the user inside decides `runAsNonRoot`.
    pub image: LocalImage,
}

/// The image is not there. `reason` and `message` are what to publish about the container.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub struct ImagePullError {
    pub reason: &'static str,
    pub message: String,
    /// When another try makes sense; `None` means not before the spec changes.
    pub retry_at: Option<Timestamp>,
}

type Pull = Shared<BoxFuture<'static, Result<String, ImageError>>>;

struct Inner {
    service: Arc<dyn ImageService>,
    objects: Option<Arc<dyn ObjectsApi>>,
    events: EventsHandle,
    /// `None` is no limit.
    slots: Option<Arc<Semaphore>>,
    /// Pulls under way by image and credentials' user.
    pulls: Mutex<HashMap<String, Pull>>,
    /// Why the last pull failed and how long to wait, by pod and image.
    failed: Mutex<HashMap<(PodUid, String), Failure>>,
}

#[derive(Clone)]
struct Failure {
    backoff: Backoff,
    at: Timestamp,
    reason: &'static str,
    message: String,
}

/// What pod workers hold. Cheap to clone.
#[derive(Clone)]
pub struct ImagesHandle {
    inner: Arc<Inner>,
}

impl ImagesHandle {
    /// `objects` is where pull secrets come from; without an API there are none. `parallel` is the
    /// most pulls at once, `None` is no limit.
    pub fn new(
        service: Arc<dyn ImageService>,
        objects: Option<Arc<dyn ObjectsApi>>,
        events: EventsHandle,
        parallel: Option<u32>,
    ) -> Self {
        let slots = parallel.map(|limit| Arc::new(Semaphore::new(limit.max(1) as usize)));
        Self {
            inner: Arc::new(Inner {
                service,
                objects,
                events,
                slots,
                pulls: Mutex::default(),
                failed: Mutex::default(),
            }),
        }
    }

    /// Makes the container's image present, as its pull policy says. While a failed pull backs off
    /// this answers at once. Dropping the future does not end a pull.
    pub async fn ensure(&self, wish: &EnsureImage<'_>) -> Result<PresentImage, ImagePullError> {
        let text = wish.container.image.as_deref().unwrap_or_default();
        let reference = match ImageReference::parse(text) {
            Ok(reference) => reference.with_default_tag(),
            Err(error) => {
                let message = format!(
                    "Failed to apply default image tag \"{text}\": couldn't parse image name \"{text}\": {error}"
                );
                self.tell(wish, true, event::INSPECT_FAILED, message.clone());
                return Err(ImagePullError {
                    reason: reason::INVALID_IMAGE_NAME,
                    message,
                    retry_at: None,
                });
            }
        };
        let image = reference.to_string();
        let policy = PullPolicy::of(wish.container.image_pull_policy.as_deref(), &reference);
        let present = self.inspect(wish, &image).await?;
        match (policy.decide(present.is_some()), present) {
            (PullDecision::UsePresent, Some(present)) => {
                self.forget(wish.pod.uid(), &image);
                self.tell(
                    wish,
                    false,
                    event::PULLED,
                    format!(
                        "Container image \"{text}\" already present on machine and can be accessed by the pod"
                    ),
                );
                Ok(PresentImage { image_ref: present.id.clone(), image: present })
            }
            (PullDecision::Refuse, _) => {
                let message =
                    format!("Container image \"{text}\" is not present with pull policy of Never");
                self.tell(wish, true, reason::ERR_IMAGE_NEVER_PULL, message.clone());
                Err(ImagePullError {
                    reason: reason::ERR_IMAGE_NEVER_PULL,
                    message,
                    // The image may be imported meanwhile; look again with the crash loop's first
                    // wait.
                    retry_at: Some(later(wish.now, CONTAINER_RULE.first)),
                })
            }
            _ => self.pull(wish, &reference, &image).await,
        }
    }

    /// Forgets the back-offs of a pod that is gone.
    pub fn forget_pod(&self, uid: &PodUid) {
        let mut failed = self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|(owner, _), _| owner != uid);
    }

    async fn inspect(
        &self,
        wish: &EnsureImage<'_>,
        image: &str,
    ) -> Result<Option<LocalImage>, ImagePullError> {
        self.inner.service.image_status(image).await.map_err(|error| {
            let message = format!("Failed to inspect image \"{image}\": {error}");
            self.tell(wish, true, event::INSPECT_FAILED, message.clone());
            ImagePullError {
                reason: reason::IMAGE_INSPECT_ERROR,
                message,
                retry_at: Some(later(wish.now, Duration::from_secs(1))),
            }
        })
    }

    async fn pull(
        &self,
        wish: &EnsureImage<'_>,
        reference: &ImageReference,
        image: &str,
    ) -> Result<PresentImage, ImagePullError> {
        let key = (wish.pod.uid().clone(), image.to_owned());
        if let Some(held) = self.held_back(&key, wish.now) {
            self.tell(wish, false, event::BACK_OFF, format!("Back-off pulling image \"{image}\""));
            return Err(held);
        }
        let asked = Instant::now();
        self.tell(wish, false, event::PULLING, format!("Pulling image \"{image}\""));
        let credentials = self.credentials(wish, reference).await;
        let started = Instant::now();
        let mut outcome = Err(ImageError::RegistryUnavailable("no pull was tried".to_owned()));
        // Every fitting credential is tried in turn; without one the pull is anonymous.
        let tries = credentials.into_iter().map(Some).chain([None]);
        for (index, auth) in tries.enumerate() {
            let anonymous_after_others = auth.is_none() && index > 0;
            if outcome.is_ok() || anonymous_after_others {
                break;
            }
            outcome = self.shared_pull(image, auth).await;
        }
        let present = match outcome {
            Ok(_) => self.inspect(wish, image).await?,
            Err(error) => return Err(self.failed(wish, key, image, &error)),
        };
        let Some(present) = present else {
            let gone =
                ImageError::RegistryUnavailable("the image vanished after its pull".to_owned());
            return Err(self.failed(wish, key, image, &gone));
        };
        self.forget(wish.pod.uid(), image);
        self.tell(
            wish,
            false,
            event::PULLED,
            format!(
                "Successfully pulled image \"{image}\" in {} ({} including waiting). Image size: {} bytes.",
                rounded(started.elapsed()),
                rounded(asked.elapsed()),
                present.size_bytes
            ),
        );
        Ok(PresentImage { image_ref: present.id.clone(), image: present })
    }

    /// The pull of this image with these credentials, begun or joined.
    async fn shared_pull(
        &self,
        image: &str,
        auth: Option<RegistryAuth>,
    ) -> Result<String, ImageError> {
        let user = auth.as_ref().map(|auth| (auth.server_address.as_str(), auth.username.as_str()));
        let key = format!("{image} {user:?}");
        let pull = {
            let mut pulls = self.inner.pulls.lock().unwrap_or_else(PoisonError::into_inner);
            match pulls.get(&key) {
                Some(pull) => pull.clone(),
                None => {
                    let pull = self.begin(key.clone(), image.to_owned(), auth);
                    pulls.insert(key, pull.clone());
                    pull
                }
            }
        };
        pull.await
    }

    /// Starts a pull as a task of its own, so that it goes on when its asker leaves.
    fn begin(&self, key: String, image: String, auth: Option<RegistryAuth>) -> Pull {
        let inner = Arc::clone(&self.inner);
        let task = tokio::spawn(async move {
            let _slot = match &inner.slots {
                Some(slots) => Arc::clone(slots).acquire_owned().await.ok(),
                None => None,
            };
            let result = inner.service.pull_image(&image, auth.as_ref()).await;
            inner.pulls.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
            result
        });
        async move {
            task.await.unwrap_or_else(|_| {
                Err(ImageError::RegistryUnavailable("the pull was broken off".to_owned()))
            })
        }
        .boxed()
        .shared()
    }

    fn held_back(&self, key: &(PodUid, String), now: Timestamp) -> Option<ImagePullError> {
        let failed = self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = failed.get(key)?;
        let retry_at = later(failure.at, failure.backoff.wait());
        (now < retry_at).then(|| ImagePullError {
            reason: reason::IMAGE_PULL_BACK_OFF,
            message: format!(
                "Back-off pulling image \"{}\": {}: {}",
                key.1, failure.reason, failure.message
            ),
            retry_at: Some(retry_at),
        })
    }

    fn failed(
        &self,
        wish: &EnsureImage<'_>,
        key: (PodUid, String),
        image: &str,
        error: &ImageError,
    ) -> ImagePullError {
        let reason = match error {
            ImageError::Runtime(_) => reason::ERR_IMAGE_PULL,
            ImageError::RegistryUnavailable(_) => reason::REGISTRY_UNAVAILABLE,
            ImageError::SignatureInvalid(_) => reason::SIGNATURE_VALIDATION_FAILED,
        };
        let message = error.to_string();
        self.tell(
            wish,
            true,
            event::FAILED,
            format!("Failed to pull image \"{image}\": {message}"),
        );
        let mut failed = self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let backoff = match failed.get(&key) {
            Some(failure) => failure.backoff.grown(&CONTAINER_RULE, wish.now),
            None => Backoff::begin(&CONTAINER_RULE, wish.now),
        };
        failed.insert(key, Failure { backoff, at: wish.now, reason, message: message.clone() });
        ImagePullError { reason, message, retry_at: Some(later(wish.now, backoff.wait())) }
    }

    fn forget(&self, uid: &PodUid, image: &str) {
        let mut failed = self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.remove(&(uid.clone(), image.to_owned()));
    }

    /// Credentials from the pod's pull secrets. A secret that cannot be had is told and skipped.
    async fn credentials(
        &self,
        wish: &EnsureImage<'_>,
        reference: &ImageReference,
    ) -> Vec<RegistryAuth> {
        let names = wish.pod.spec().image_pull_secrets.iter().flatten();
        let names: Vec<&str> = names.map(|secret| secret.name.as_str()).collect();
        let Some(objects) = self.inner.objects.as_ref().filter(|_| !names.is_empty()) else {
            return Vec::new();
        };
        let mut keyring = Keyring::default();
        let mut missing = Vec::new();
        for name in names {
            let added = match objects.get_secret(wish.pod.namespace(), name).await {
                Ok(secret) => keyring.add_secret(&secret).map_err(|error| error.to_string()),
                Err(ApiError::NotFound(_)) => Err("not found".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            if let Err(cause) = added {
                tracing::debug!(pod = %wish.pod.full_name(), secret = name, cause, "pull secret left out");
                missing.push(name);
            }
        }
        if !missing.is_empty() {
            self.tell(
                wish,
                true,
                event::FAILED_TO_RETRIEVE_PULL_SECRET,
                format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    missing.join(", ")
                ),
            );
        }
        keyring.for_image(reference)
    }

    fn tell(&self, wish: &EnsureImage<'_>, warning: bool, reason: &'static str, message: String) {
        let name = &wish.container.name;
        let kind = wish.pod.container(name).map_or(ContainerKind::Ephemeral, |(kind, _)| kind);
        self.inner.events.publish(ApiEvent {
            object: pod_reference(wish.pod, Some(container_field_path(kind, name))),
            warning,
            reason,
            message,
            at: wish.now,
        });
    }
}

fn later(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(wait).unwrap_or(Timestamp::MAX)
}

/// A duration as Go prints one rounded to milliseconds.
fn rounded(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis < 1000 { format!("{millis}ms") } else { format!("{:.3}s", duration.as_secs_f64()) }
}
