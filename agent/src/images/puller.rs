//! Makes images present for pods: policy, access, credentials, back-off, and what users are told.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use tokio::sync::{OnceCell, watch};
use tokio::time::Instant;

use super::access::{PullRecords, open_records};
use super::credentials::{CredentialSource, DockerConfigForm, Keyring, TrackedAuth};
use super::limiter::PullLimiter;
use super::progress::{EventPace, FIRST_REPORT, REPORT_PAUSE, progress_message};
use super::providers::Providers;
use super::pull_policy::{PullDecision, PullPolicy};
use super::pull_secrets::pull_secrets;
use super::pulls::{Pull, PullLine, Pulled};
use super::records::Access;
use super::reference::ImageReference;
use super::texts::{failure_text, go_duration, published_failure, wait_text};
use crate::adapters::linux::docker_config::{DockerConfigFiles, DockerConfigText};
use crate::backoff::{Backoff, CONTAINER_RULE};
use crate::boundary::{
    ApiEvent, ContentStore, CredentialPlugins, ImageError, ImageService, LocalImage, ObjectsApi,
};
use crate::config::{ImagePulls, Limits};
use crate::events::{EventsHandle, container_field_path, pod_reference};
use crate::metrics::{ImageMetrics, PodStarts};
use crate::model::{ContainerKind, Pod, PodUid};
use crate::objects::ObjectsHandle;
use crate::podworker::WallClock;
use crate::reason::{self, event};

#[cfg(test)]
mod tests;

/// Directory of the records of pulls below the root directory (kubelet v1.36).
const RECORDS: &str = "image_manager";

/// The text to show about a pull that takes long; `None` until there is one.
pub type PullNews = watch::Sender<Option<String>>;

/// What in a pod wants an image.
#[derive(Clone, Copy, Debug)]
pub enum ImageTarget<'a> {
    Container(&'a api::Container),
    Volume(&'a api::ImageVolumeSource),
}

/// A pod's wish for an image.
#[derive(Clone, Copy)]
pub struct EnsureImage<'a> {
    pub pod: &'a Pod,
    pub target: ImageTarget<'a>,
    /// Is told how far the pull is, first after 5 s and at most every 10 s.
    pub news: Option<&'a PullNews>,
}

impl EnsureImage<'_> {
    fn image(&self) -> &str {
        let image = match self.target {
            ImageTarget::Container(container) => container.image.as_deref(),
            ImageTarget::Volume(source) => source.reference.as_deref(),
        };
        image.unwrap_or_default()
    }

    fn policy(&self) -> Option<&str> {
        match self.target {
            ImageTarget::Container(container) => container.image_pull_policy.as_deref(),
            ImageTarget::Volume(source) => source.pull_policy.as_deref(),
        }
    }
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

/// What the images slice works with.
pub struct ImagesDeps {
    pub service: Arc<dyn ImageService>,
    /// `None` when nobody tells how far a pull is.
    pub content: Option<Arc<dyn ContentStore>>,
    /// Where pull secrets come from; without an API there are none.
    pub secrets: Option<ObjectsHandle>,
    /// Where plugins get service accounts and their tokens from.
    pub objects: Option<Arc<dyn ObjectsApi>>,
    pub plugins: Arc<dyn CredentialPlugins>,
    pub events: EventsHandle,
    pub clock: WallClock,
    /// `--root-dir`.
    pub root_dir: PathBuf,
    pub docker_config: DockerConfigFiles,
    pub metrics: ImageMetrics,
    /// Told of the pulls that pods wait for.
    pub starts: PodStarts,
}

struct Inner {
    service: Arc<dyn ImageService>,
    secrets: Option<ObjectsHandle>,
    events: EventsHandle,
    clock: WallClock,
    docker_config: DockerConfigFiles,
    metrics: ImageMetrics,
    starts: PodStarts,
    providers: Providers,
    records: Arc<PullRecords>,
    settled: OnceCell<()>,
    line: Arc<PullLine>,
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
    /// Reads the records of earlier pulls. Blocks for that.
    pub fn new(deps: ImagesDeps, pulls: &ImagePulls, limits: &Limits) -> Self {
        let limiter = PullLimiter::new(limits.registry_qps, limits.registry_burst, Instant::now());
        let records = open_records(&deps.root_dir.join(RECORDS), pulls.verification.clone());
        let line = PullLine::new(
            Arc::clone(&deps.service),
            deps.content,
            Arc::clone(&records),
            Arc::clone(&deps.clock),
            (pulls.parallel, limiter),
        );
        let providers = Providers::new(pulls.providers.clone(), deps.plugins, deps.objects);
        Self {
            inner: Arc::new(Inner {
                service: deps.service,
                secrets: deps.secrets,
                events: deps.events,
                clock: deps.clock,
                docker_config: deps.docker_config,
                metrics: deps.metrics,
                starts: deps.starts,
                providers,
                records,
                settled: OnceCell::new(),
                line,
                failed: Mutex::default(),
            }),
        }
    }

    /// Makes the image present for the pod, as its pull policy says. While a failed pull backs off
    /// this answers at once. Dropping the future does not end a pull.
    pub async fn ensure(&self, wish: &EnsureImage<'_>) -> Result<PresentImage, ImagePullError> {
        let outcome = self.try_ensure(wish).await;
        if let Err(error) = &outcome {
            self.tell(wish, true, event::FAILED, format!("Error: {}", error.reason));
        }
        outcome
    }

    /// Forgets the back-offs of a pod that is gone.
    pub fn forget_pod(&self, uid: &PodUid) {
        let mut failed = self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.retain(|(owner, _), _| owner != uid);
    }

    /// Forgets who pulled images that are none of `present`; call after images were removed.
    pub async fn prune_records(&self, present: &[LocalImage]) {
        self.inner.records.settle(present, (self.inner.clock)()).await;
    }

    async fn try_ensure(&self, wish: &EnsureImage<'_>) -> Result<PresentImage, ImagePullError> {
        let text = wish.image();
        let reference = match ImageReference::parse(text) {
            Ok(reference) => reference.with_default_tag(),
            Err(error) => {
                let message = format!(
                    "Failed to apply default image tag \"{text}\": couldn't parse image name \"{text}\": {error}"
                );
                self.tell(wish, true, event::INSPECT_FAILED, message.clone());
                let reason = reason::INVALID_IMAGE_NAME;
                return Err(ImagePullError { reason, message, retry_at: None });
            }
        };
        let policy = PullPolicy::of(wish.policy(), &reference);
        if policy == PullPolicy::Always {
            return self.pull(wish, &reference, None).await;
        }
        let present = self.inspect(wish, &reference).await?;
        match (policy.decide(present.is_some()), present) {
            (PullDecision::UsePresent, Some(present)) => {
                self.use_present(wish, &reference, policy, present).await
            }
            (PullDecision::Refuse, _) => {
                let message =
                    format!("Container image \"{text}\" is not present with pull policy of Never");
                Err(self.refused(wish, message))
            }
            _ => self.pull(wish, &reference, None).await,
        }
    }

    /// The image is there; it is the pod's if the pod may have it.
    async fn use_present(
        &self,
        wish: &EnsureImage<'_>,
        reference: &ImageReference,
        policy: PullPolicy,
        present: LocalImage,
    ) -> Result<PresentImage, ImagePullError> {
        let (text, name) = (wish.image(), reference.to_string());
        self.settle_records().await;
        let mut offered = None;
        let allowed = match self.inner.records.access(&name, &present.id).await {
            Access::Free => true,
            Access::Denied => false,
            Access::With(known) => {
                let credentials = offered.insert(self.credentials(wish, reference).await);
                let accepted = known.accepted(credentials);
                if let Some(accepted) = accepted {
                    let now = (self.inner.clock)();
                    self.inner.records.note(&name, &present.id, Some(accepted), now).await;
                }
                accepted.is_some()
            }
        };
        if allowed {
            self.forget(wish);
            let message = format!(
                "Container image \"{text}\" already present on machine and can be accessed by the pod"
            );
            self.tell(wish, false, event::PULLED, message);
            return Ok(PresentImage { image_ref: present.id.clone(), image: present });
        }
        if policy == PullPolicy::Never {
            let message = format!(
                "Container image \"{text}\" is present with pull policy of Never but does not have the proper credentials to be accessed"
            );
            return Err(self.refused(wish, message));
        }
        self.pull(wish, reference, offered).await
    }

    fn refused(&self, wish: &EnsureImage<'_>, message: String) -> ImagePullError {
        self.tell(wish, true, reason::ERR_IMAGE_NEVER_PULL, message.clone());
        // The image may be imported meanwhile; look again with the crash loop's first wait.
        let retry_at = Some(later((self.inner.clock)(), CONTAINER_RULE.first));
        ImagePullError { reason: reason::ERR_IMAGE_NEVER_PULL, message, retry_at }
    }

    async fn inspect(
        &self,
        wish: &EnsureImage<'_>,
        reference: &ImageReference,
    ) -> Result<Option<LocalImage>, ImagePullError> {
        let image = reference.to_string();
        self.inner.service.image_status(&image).await.map_err(|error| {
            let message = format!("Failed to inspect image \"{image}\": {error}");
            self.tell(wish, true, event::INSPECT_FAILED, message.clone());
            let retry_at = Some(later((self.inner.clock)(), Duration::from_secs(1)));
            ImagePullError { reason: reason::IMAGE_INSPECT_ERROR, message, retry_at }
        })
    }

    /// Pulls with the credentials `offered`, or with those that are to be found now.
    async fn pull(
        &self,
        wish: &EnsureImage<'_>,
        reference: &ImageReference,
        offered: Option<Vec<TrackedAuth>>,
    ) -> Result<PresentImage, ImagePullError> {
        let text = wish.image();
        if let Some(held) = self.held_back(wish) {
            let message = format!("Back-off pulling image \"{text}\"");
            self.tell(wish, false, event::BACK_OFF, message);
            return Err(held);
        }
        let asked = Instant::now();
        self.tell(wish, false, event::PULLING, format!("Pulling image \"{text}\""));
        let credentials = match offered {
            Some(offered) => offered,
            None => self.credentials(wish, reference).await,
        };
        let tried = self.try_each(wish, reference, &credentials, asked).await;
        self.inner.starts.pulled(wish.pod.uid(), asked);
        let (pulled, credential) = match tried {
            Ok(pulled) => pulled,
            Err(errors) => return Err(self.failed(wish, &errors)),
        };
        let Some(present) = self.inspect(wish, reference).await? else {
            let gone = "the image vanished after its pull".to_owned();
            return Err(self.failed(wish, &[ImageError::RegistryUnavailable(gone)]));
        };
        // Whoever shared the pull has shown a credential of his own.
        let now = (self.inner.clock)();
        self.inner.records.note(&reference.to_string(), &present.id, credential, now).await;
        self.forget(wish);
        self.inner.metrics.pulled(present.size_bytes, pulled.took);
        let message = format!(
            "Successfully pulled image \"{text}\" in {} ({} including waiting). Image size: {} bytes.",
            go_duration(pulled.took),
            go_duration(asked.elapsed()),
            present.size_bytes
        );
        self.tell(wish, false, event::PULLED, message);
        Ok(PresentImage { image_ref: present.id.clone(), image: present })
    }

    /// Tries every credential in turn, or none at all when there is none; all failures when no
    /// pull succeeds.
    async fn try_each<'c>(
        &self,
        wish: &EnsureImage<'_>,
        reference: &ImageReference,
        credentials: &'c [TrackedAuth],
        asked: Instant,
    ) -> Result<(Pulled, Option<&'c TrackedAuth>), Vec<ImageError>> {
        let mut pace = EventPace::default();
        let mut errors = Vec::new();
        let anonymous = credentials.is_empty().then_some(None);
        for credential in credentials.iter().map(Some).chain(anonymous) {
            let pull = self.inner.line.pull(reference, credential);
            match self.follow(wish, pull, asked, &mut pace).await {
                Ok(pulled) => return Ok((pulled, credential)),
                Err(error) => errors.push(error),
            }
        }
        Err(errors)
    }

    /// Waits for a pull and tells how far it is.
    async fn follow(
        &self,
        wish: &EnsureImage<'_>,
        pull: Pull,
        asked: Instant,
        pace: &mut EventPace,
    ) -> Result<Pulled, ImageError> {
        let mut outcome = pull.outcome;
        let mut due = asked + FIRST_REPORT;
        loop {
            // Both arms are cancel safe: a shared future and a timer.
            tokio::select! {
                biased;
                outcome = &mut outcome => return outcome,
                () = tokio::time::sleep_until(due) => {}
            }
            due = Instant::now() + REPORT_PAUSE;
            let progress = *pull.progress.borrow();
            let message = progress_message(wish.image(), progress);
            if pace.take(asked.elapsed(), progress) {
                self.tell(wish, false, event::PULLING, message.clone());
            }
            if let Some(news) = wish.news {
                let message = Some(message);
                news.send_if_modified(|known| {
                    let is_news = *known != message;
                    *known = message;
                    is_news
                });
            }
        }
    }

    /// Compares the records with the runtime's images, once and only when there are records.
    async fn settle_records(&self) {
        let settle = async || {
            if self.inner.records.is_unsettled().await {
                let images = self.inner.service.list_images().await?;
                self.prune_records(&images).await;
            }
            Ok::<(), ImageError>(())
        };
        if let Err(error) = self.inner.settled.get_or_try_init(settle).await {
            tracing::debug!(%error, "records of pulls are not compared with the images yet");
        }
    }

    fn held_back(&self, wish: &EnsureImage<'_>) -> Option<ImagePullError> {
        let now = (self.inner.clock)();
        let key = (wish.pod.uid().clone(), wish.image().to_owned());
        let failed = self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let failure = failed.get(&key)?;
        let retry_at = later(failure.at, failure.backoff.wait());
        let cause = (failure.reason, failure.message.as_str());
        (now < retry_at).then(|| ImagePullError {
            reason: reason::IMAGE_PULL_BACK_OFF,
            message: wait_text(wish.image(), cause, retry_at),
            retry_at: Some(retry_at),
        })
    }

    fn failed(&self, wish: &EnsureImage<'_>, errors: &[ImageError]) -> ImagePullError {
        let image = wish.image();
        let message = format!("Failed to pull image \"{image}\": {}", failure_text(errors));
        self.tell(wish, true, event::FAILED, message);
        let (reason, message) = published_failure(image, errors);
        let now = (self.inner.clock)();
        let key = (wish.pod.uid().clone(), image.to_owned());
        let mut failed = self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let backoff = match failed.get(&key) {
            Some(failure) => failure.backoff.grown(&CONTAINER_RULE, now),
            None => Backoff::begin(&CONTAINER_RULE, now),
        };
        failed.insert(key, Failure { backoff, at: now, reason, message: message.clone() });
        ImagePullError { reason, message, retry_at: Some(later(now, backoff.wait())) }
    }

    fn forget(&self, wish: &EnsureImage<'_>) {
        let mut failed = self.inner.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.remove(&(wish.pod.uid().clone(), wish.image().to_owned()));
    }

    /// Credentials that fit the image, each once: of the pod's pull secrets, of the node, of the
    /// plugins.
    async fn credentials(
        &self,
        wish: &EnsureImage<'_>,
        reference: &ImageReference,
    ) -> Vec<TrackedAuth> {
        let secrets = async {
            let Some(objects) = &self.inner.secrets else { return Vec::new() };
            let (keyring, missing) = pull_secrets(objects, wish.pod).await;
            if !missing.is_empty() {
                let message = format!(
                    "Unable to retrieve some image pull secrets ({}); attempting to pull the image may not succeed.",
                    missing.join(", ")
                );
                self.tell(wish, true, event::FAILED_TO_RETRIEVE_PULL_SECRET, message);
            }
            keyring.for_image(reference)
        };
        let (mut found, node, plugins) = tokio::join!(
            secrets,
            self.node_credentials(),
            self.inner.providers.credentials(wish.pod, reference)
        );
        found.extend(node.for_image(reference));
        found.extend(plugins);
        let mut each: Vec<TrackedAuth> = Vec::with_capacity(found.len());
        for credential in found {
            if !each.iter().any(|known| known.hash() == credential.hash()) {
                each.push(credential);
            }
        }
        each
    }

    /// The node's docker configuration as it is now.
    async fn node_credentials(&self) -> Keyring {
        let mut keyring = Keyring::default();
        let (path, bytes, form) = match self.inner.docker_config.read().await {
            None => return keyring,
            Some(DockerConfigText::Json(path, bytes)) => (path, bytes, DockerConfigForm::Json),
            Some(DockerConfigText::Legacy(path, bytes)) => (path, bytes, DockerConfigForm::Legacy),
        };
        if let Err(error) = keyring.add_config(&bytes, form, &CredentialSource::Node) {
            tracing::warn!(path = %path.display(), %error, "cannot use the node's registry credentials");
        }
        keyring
    }

    fn tell(&self, wish: &EnsureImage<'_>, warning: bool, reason: &'static str, message: String) {
        let path = match wish.target {
            ImageTarget::Container(container) => {
                let name = &container.name;
                let kind =
                    wish.pod.container(name).map_or(ContainerKind::Regular, |(kind, _)| kind);
                Some(container_field_path(kind, name))
            }
            ImageTarget::Volume(_) => None,
        };
        let object = pod_reference(wish.pod, path);
        let at = (self.inner.clock)();
        self.inner.events.publish(ApiEvent { object, warning, reason, message, at });
    }
}

fn later(at: Timestamp, wait: Duration) -> Timestamp {
    at.saturating_add(wait).unwrap_or(Timestamp::MAX)
}
