//! One list-and-watch that never ends by itself.
//!
//! The first state comes as a streaming list where the server has it, else in pages; after that the
//! stream is resumed from the last version seen. Lists are consistent reads, never served from a
//! cache that may be older than what this node already acted on: a pod that seems gone would be
//! killed. (client-go lets the cache answer; this differs on purpose.)

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use kube::api::{ListParams, Request, WatchEvent, WatchParams};
use kube::core::Status;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::client::{ConnectError, Connections, PLAIN_DEADLINE, WatchSlot, call};
use super::error::{
    LAG_PAUSES, api_error, innermost_text, is_authorizer_lag, status_error, undecodable,
};
use super::outage::{FORBIDDEN, Outage, Trouble, UNAVAILABLE};
use crate::boundary::ApiError;

/// Shortest time a watch is asked to last; the longest is twice that (client-go v1.36), so that
/// nodes that started together do not reconnect together.
const WATCH_SECONDS: u32 = 300;
/// How much longer than asked a watch may stay silent before it counts as lost.
const WATCH_OVERTIME: Duration = Duration::from_secs(15);
/// Objects in a page of a list (client-go default).
pub(super) const PAGE: u32 = 500;
/// First and longest pause after an error (client-go reflector).
const PAUSE_FIRST: Duration = Duration::from_millis(800);
const PAUSE_LONGEST: Duration = Duration::from_secs(30);
/// A stream that ended earlier than this, with nothing on it, counts as failed, lest a broken
/// server be asked without pause.
const SHORTEST_WATCH: Duration = Duration::from_secs(1);
/// Annotation on the bookmark that closes the first state of a streaming list.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// An object as the watch needs it.
pub(super) trait Watched: Clone + DeserializeOwned + Send + 'static {
    /// `metadata.resourceVersion`; empty when absent.
    fn resource_version(&self) -> &str;
}

macro_rules! watched {
    ($($kind:ty),+) => {$(
        impl Watched for $kind {
            fn resource_version(&self) -> &str {
                self.metadata.resource_version.as_deref().unwrap_or_default()
            }
        }
    )+};
}
watched!(
    k8s_openapi::api::core::v1::Pod,
    k8s_openapi::api::core::v1::Node,
    k8s_openapi::api::core::v1::ConfigMap,
    k8s_openapi::api::core::v1::Secret,
    k8s_openapi::api::networking::v1::ServiceCIDR,
    k8s_openapi::api::node::v1::RuntimeClass
);

/// What the watch says. Everything not repeated between `Restarted` and `Synced` is gone.
#[derive(Debug)]
pub(super) enum WatchStep<K> {
    Restarted,
    Applied(K),
    Deleted(K),
    Synced,
}

/// Which collection is watched, and how trouble with it is told.
#[derive(Clone, Debug)]
pub(super) struct WatchScope {
    /// URL path of the collection.
    pub(super) path: String,
    /// What the watch is of, for the log.
    pub(super) subject: String,
    pub(super) fields: Option<String>,
    pub(super) labels: Option<String>,
    pub(super) trouble: Trouble,
}

#[derive(Debug, thiserror::Error)]
enum WatchError {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("cannot open a connection")]
    Connect(#[from] ConnectError),
    /// The connection or the stream broke; the watch itself can go on.
    #[error("{0}")]
    Broken(String),
    #[error("{0}")]
    Undecodable(String),
    #[error("the version to go on from is too old")]
    Expired,
    #[error("the server closed the stream at once")]
    TooShort,
    #[error("the stream was silent for longer than agreed")]
    Silent,
    #[error("the server sent an object without a version")]
    NoVersion,
    /// Not an error: the reader went away.
    #[error("reader is gone")]
    ReaderGone,
}

/// One page of a list.
#[derive(Deserialize)]
#[serde(bound = "K: DeserializeOwned")]
pub(super) struct Page<K> {
    pub(super) metadata: PageMeta,
    #[serde(default = "none_at_all", deserialize_with = "null_is_empty")]
    pub(super) items: Vec<K>,
}

fn none_at_all<K>() -> Vec<K> {
    Vec::new()
}

fn null_is_empty<'de, D, K>(deserializer: D) -> Result<Vec<K>, D::Error>
where
    D: serde::Deserializer<'de>,
    K: Deserialize<'de>,
{
    Option::<Vec<K>>::deserialize(deserializer).map(Option::unwrap_or_default)
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PageMeta {
    resource_version: String,
    #[serde(rename = "continue")]
    pub(super) next: Option<String>,
}

/// Watches until the receiver of `sender` is dropped. `convert` makes the reader's message from a
/// step; `None` sends nothing.
pub(super) async fn watch<K, T, C>(
    connections: Arc<Connections>,
    scope: WatchScope,
    sender: mpsc::Sender<T>,
    convert: C,
) where
    K: Watched,
    T: Send + 'static,
    C: FnMut(WatchStep<K>) -> Option<T> + Send,
{
    let closed = sender.clone();
    let mut watcher = Watcher {
        connections,
        outage: Outage::new(scope.trouble),
        scope,
        sender,
        convert,
        version: None,
        streaming: true,
        progress: false,
    };
    // Dropping a half-read stream loses nothing here: nobody is left to tell.
    tokio::select! {
        () = closed.closed() => {}
        () = watcher.run() => {}
    }
}

struct Watcher<T, C> {
    connections: Arc<Connections>,
    scope: WatchScope,
    sender: mpsc::Sender<T>,
    convert: C,
    /// Version to go on from; `None` means start with a list.
    version: Option<String>,
    /// Whether to try the list as a stream.
    streaming: bool,
    /// Whether the session now running got as far as a complete state.
    progress: bool,
    outage: Outage,
}

impl<T, C> Watcher<T, C> {
    async fn run<K>(&mut self)
    where
        K: Watched,
        T: Send + 'static,
        C: FnMut(WatchStep<K>) -> Option<T> + Send,
    {
        let mut pause = PAUSE_FIRST;
        let mut broken_before = false;
        let mut lag_pauses = LAG_PAUSES.iter();
        loop {
            self.progress = false;
            let resumed = self.version.is_some();
            let error = match self.session().await {
                Ok(()) => continue,
                Err(WatchError::ReaderGone) => return,
                Err(error) => error,
            };
            if self.gives_up_streaming(&error) {
                let subject = &*self.scope.subject;
                tracing::debug!(subject, "server has no streaming lists");
                self.streaming = false;
                continue;
            }
            if !error.can_resume() {
                self.version = None;
            }
            if self.progress {
                lag_pauses = LAG_PAUSES.iter();
                pause = PAUSE_FIRST;
                broken_before = false;
            }
            // A server that knows the version to be too old is there: what went before, perhaps its
            // outage, is over, and the list that comes next is no repetition.
            if resumed && matches!(error, WatchError::Expired) {
                pause = PAUSE_FIRST;
                broken_before = false;
            }
            // A connection that breaks once, and a version that grew too old, are everyday events:
            // the first try again needs no pause and no word in the log.
            let everyday = matches!(error, WatchError::Expired | WatchError::Broken(_));
            if everyday && !broken_before {
                broken_before = true;
                let subject = &*self.scope.subject;
                tracing::debug!(subject, cause = %error_text(&error), "watch begins again");
                continue;
            }
            if is_authorizer_lag(&error_text(&error))
                && let Some(lag) = lag_pauses.next()
            {
                tokio::time::sleep(*lag).await;
                continue;
            }
            broken_before = true;
            self.outage.report(&self.scope.subject, error.kind(), &error_text(&error));
            tokio::time::sleep(jittered(pause)).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        }
    }

    /// A server without streaming lists calls the request invalid.
    fn gives_up_streaming(&self, error: &WatchError) -> bool {
        self.streaming
            && self.version.is_none()
            && matches!(error, WatchError::Api(ApiError::Invalid(_)))
    }

    /// One connection's worth: list if there is no version to go on from, then watch to the end
    /// the server sets. `Ok` means go on at once.
    async fn session<K>(&mut self) -> Result<(), WatchError>
    where
        K: Watched,
        T: Send + 'static,
        C: FnMut(WatchStep<K>) -> Option<T> + Send,
    {
        let slot = self.connections.watch_slot()?;
        if self.version.is_none() && !self.streaming {
            self.list(&slot).await?;
        }
        self.stream(&slot).await
    }

    async fn list<K>(&mut self, slot: &WatchSlot) -> Result<(), WatchError>
    where
        K: Watched,
        T: Send + 'static,
        C: FnMut(WatchStep<K>) -> Option<T> + Send,
    {
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
        params.field_selector.clone_from(&self.scope.fields);
        params.label_selector.clone_from(&self.scope.labels);
        let mut begun = false;
        loop {
            let request = Request::new(&*self.scope.path).list(&params).map_err(|error| {
                api_error(&self.scope.subject, &kube::Error::BuildRequest(error))
            })?;
            let page: Page<K> =
                call(&slot.client, PLAIN_DEADLINE, &self.scope.subject, Ok(request)).await?;
            if !begun {
                begun = true;
                self.deliver(WatchStep::Restarted).await?;
            }
            for object in page.items {
                self.deliver(WatchStep::Applied(object)).await?;
            }
            params.continue_token = page.metadata.next.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                if page.metadata.resource_version.is_empty() {
                    return Err(WatchError::NoVersion);
                }
                self.deliver(WatchStep::Synced).await?;
                self.advance(page.metadata.resource_version);
                return Ok(());
            }
        }
    }

    async fn stream<K>(&mut self, slot: &WatchSlot) -> Result<(), WatchError>
    where
        K: Watched,
        T: Send + 'static,
        C: FnMut(WatchStep<K>) -> Option<T> + Send,
    {
        let seconds = WATCH_SECONDS + (random_fraction() * f64::from(WATCH_SECONDS)) as u32;
        let initial = self.version.is_none();
        let params = WatchParams {
            label_selector: self.scope.labels.clone(),
            field_selector: self.scope.fields.clone(),
            timeout: Some(seconds),
            bookmarks: true,
            send_initial_events: initial,
        };
        let version = self.version.clone().unwrap_or_default();
        let request = Request::new(&*self.scope.path)
            .watch(&params, &version)
            .map_err(|error| self.api_error(&kube::Error::BuildRequest(error)))?;
        let opened_at = Instant::now();
        let opened = timeout(PLAIN_DEADLINE, slot.client.request_events::<K>(request)).await;
        let stream =
            opened.map_err(|_| WatchError::Silent)?.map_err(|error| self.stream_error(&error))?;
        let mut stream = std::pin::pin!(stream);
        if initial {
            self.deliver(WatchStep::Restarted).await?;
        }
        let silence = Duration::from_secs(u64::from(seconds)) + WATCH_OVERTIME;
        let mut events = 0_u64;
        loop {
            // An event that is not taken because the connection retires is sent again to whoever
            // goes on from the version before it.
            let next = tokio::select! {
                next = timeout(silence, stream.next()) => next.map_err(|_| WatchError::Silent)?,
                () = slot.retired(), if self.version.is_some() => return Ok(()),
            };
            let Some(event) = next else { break };
            let event = event.map_err(|error| self.stream_error(&error))?;
            self.event(event).await?;
            events += 1;
        }
        if self.version.is_none() {
            return Err(WatchError::Broken("the first state was cut short".to_owned()));
        }
        if events == 0 && opened_at.elapsed() < SHORTEST_WATCH {
            return Err(WatchError::TooShort);
        }
        Ok(())
    }

    /// Passes one event on. The version moves only once the first state is complete: a list cut
    /// short has to begin anew.
    async fn event<K>(&mut self, event: WatchEvent<K>) -> Result<(), WatchError>
    where
        K: Watched,
        T: Send + 'static,
        C: FnMut(WatchStep<K>) -> Option<T> + Send,
    {
        let (step, version) = match event {
            WatchEvent::Added(object) | WatchEvent::Modified(object) => {
                let version = object.resource_version().to_owned();
                (WatchStep::Applied(object), version)
            }
            WatchEvent::Deleted(object) => {
                let version = object.resource_version().to_owned();
                (WatchStep::Deleted(object), version)
            }
            WatchEvent::Bookmark(bookmark) => {
                if self.version.is_none() {
                    if !bookmark.metadata.annotations.contains_key(INITIAL_EVENTS_END) {
                        return Ok(());
                    }
                    self.deliver(WatchStep::Synced).await?;
                }
                self.advance(bookmark.metadata.resource_version);
                return Ok(());
            }
            WatchEvent::Error(status) => return Err(self.status(&status)),
        };
        if version.is_empty() {
            return Err(WatchError::NoVersion);
        }
        self.deliver(step).await?;
        if self.version.is_some() {
            self.advance(version);
        }
        Ok(())
    }

    fn advance(&mut self, version: String) {
        self.version = Some(version);
        self.progress = true;
        self.outage.end(&self.scope.subject);
    }

    async fn deliver<K>(&mut self, step: WatchStep<K>) -> Result<(), WatchError>
    where
        C: FnMut(WatchStep<K>) -> Option<T>,
    {
        match (self.convert)(step) {
            Some(message) => self.sender.send(message).await.map_err(|_| WatchError::ReaderGone),
            None => Ok(()),
        }
    }

    fn stream_error(&self, error: &kube::Error) -> WatchError {
        match error {
            // The client takes a line it cannot decode for a Status, and finds it empty.
            kube::Error::Api(status) if status.code == 0 => {
                WatchError::Undecodable("an event cannot be decoded".to_owned())
            }
            kube::Error::Api(status) => self.status(status),
            kube::Error::SerdeError(error) => {
                WatchError::Undecodable(undecodable(&self.scope.subject, error))
            }
            kube::Error::ReadEvents(_) => WatchError::Broken(innermost_text(error)),
            other => self.api_error(other).into(),
        }
    }

    fn status(&self, status: &Status) -> WatchError {
        if status.code == 410 {
            return WatchError::Expired;
        }
        status_error(&self.scope.subject, status).into()
    }

    fn api_error(&self, error: &kube::Error) -> ApiError {
        api_error(&self.scope.subject, error)
    }
}

impl WatchError {
    /// What decides whether the log has said it already.
    fn kind(&self) -> &'static str {
        match self {
            Self::Api(ApiError::Forbidden(_)) => FORBIDDEN,
            Self::Api(ApiError::Unavailable(_))
            | Self::Broken(_)
            | Self::Silent
            | Self::TooShort => UNAVAILABLE,
            _ => "other",
        }
    }

    /// Whether the stream can go on from the version last seen. After anything else only a list
    /// tells what is true.
    fn can_resume(&self) -> bool {
        self.kind() == UNAVAILABLE || matches!(self, Self::Connect(_))
    }
}

fn error_text(error: &WatchError) -> String {
    innermost_text(error)
}

/// A number in `0.0..1.0`, good enough to keep nodes apart.
fn random_fraction() -> f64 {
    let random = RandomState::new().build_hasher().finish();
    f64::from((random >> 32) as u32) / f64::from(u32::MAX)
}

/// The pause shortened by up to half, but never below the first one.
fn jittered(pause: Duration) -> Duration {
    pause.mul_f64(1.0 - random_fraction() / 2.0).max(PAUSE_FIRST)
}

#[cfg(test)]
mod tests;
