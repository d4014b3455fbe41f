//! Takes events in without waiting and writes them out at the pace the server is granted.

use std::collections::VecDeque;
use std::mem;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::correlate::{Correlated, Correlator, KUBELET, Reporter, SeenKey};
use crate::boundary::{ApiError, ApiEvent, EventSink};
use crate::config::Limits;

/// Events waiting to be written (client-go's queue length).
const QUEUE: usize = 1000;
/// Tries for one event while the server is unavailable, and the pause between them (client-go).
const TRIES: u32 = 12;
const PAUSE: Duration = Duration::from_secs(10);

/// What makes events happen is also what makes statuses change, and more people wait for those. An
/// event lets this much time pass and then waits until no status is about to be written...
const GIVE_WAY: Duration = Duration::from_millis(300);
/// ...but not longer than this.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
struct Waiting {
    /// With the moment each came in.
    events: VecDeque<(Instant, ApiEvent)>,
    /// Events pushed out since they were last counted in the log.
    lost: u64,
}

#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    filled: Notify,
    /// True while statuses are being written.
    ahead: OnceLock<watch::Receiver<bool>>,
}

/// Publishes events. Cheap to clone.
#[derive(Clone)]
pub struct EventsHandle {
    queue: Arc<Queue>,
}

impl EventsHandle {
    /// Hands an event over. Never waits; when the queue is full the oldest event in it is lost.
    pub fn publish(&self, event: ApiEvent) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.events.len() >= QUEUE {
            waiting.events.pop_front();
            waiting.lost += 1;
        }
        waiting.events.push_back((Instant::now(), event));
        drop(waiting);
        self.queue.filled.notify_one();
    }

    /// From now on events wait a moment while `busy` is true. Only the first call counts.
    pub fn give_way_to(&self, busy: watch::Receiver<bool>) {
        let _ = self.queue.ahead.set(busy);
    }
}

/// Writes what the handles publish; only caller of `EventSink`.
pub struct EventsTask {
    queue: Arc<Queue>,
    sink: Arc<dyn EventSink>,
    correlator: Correlator,
    pace: Pace,
    /// Kind of the failure last logged.
    failing: Option<mem::Discriminant<ApiError>>,
}

impl EventsTask {
    /// Events of the kubelet part.
    pub fn new(sink: Arc<dyn EventSink>, node_name: &str, limits: &Limits) -> (EventsHandle, Self) {
        Self::reported_by(KUBELET, sink, node_name, limits)
    }

    /// Events that name this reporter.
    pub fn reported_by(
        reporter: Reporter,
        sink: Arc<dyn EventSink>,
        node_name: &str,
        limits: &Limits,
    ) -> (EventsHandle, Self) {
        let queue = Arc::new(Queue::default());
        let task = Self {
            queue: Arc::clone(&queue),
            sink,
            correlator: Correlator::new(reporter, node_name),
            pace: Pace::new(limits.event_qps, limits.event_burst),
            failing: None,
        };
        (EventsHandle { queue }, task)
    }

    /// Writes events for ever.
    pub async fn run(mut self) {
        let mut lost = 0;
        loop {
            let (next, newly_lost) = self.take();
            if lost == 0 && newly_lost > 0 {
                tracing::warn!("events come faster than they can be written, the oldest are lost");
            }
            lost += newly_lost;
            match next {
                Some((since, event)) => {
                    self.give_way(since).await;
                    self.write(&event).await;
                }
                None => {
                    if lost > 0 {
                        tracing::warn!(lost = mem::take(&mut lost), "events were lost");
                    }
                    self.queue.filled.notified().await;
                }
            }
        }
    }

    async fn give_way(&self, since: Instant) {
        let Some(mut busy) = self.queue.ahead.get().cloned() else { return };
        tokio::time::sleep_until(since + GIVE_WAY).await;
        // Neither a timeout nor the end of the status task keeps an event back.
        let _ = tokio::time::timeout_at(since + PATIENCE, busy.wait_for(|busy| !busy)).await;
    }

    fn take(&self) -> (Option<(Instant, ApiEvent)>, u64) {
        let mut waiting = self.queue.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        (waiting.events.pop_front(), mem::take(&mut waiting.lost))
    }

    async fn write(&mut self, event: &ApiEvent) {
        let (key, object, patch) = match self.correlator.correlate(event) {
            Correlated::Create { key, event } => (key, event, None),
            Correlated::Patch { key, event, patch } => (key, event, Some(patch)),
            Correlated::Spam => return,
        };
        for left in (0..TRIES).rev() {
            self.pace.turn().await;
            match self.send(&object, patch.as_ref()).await {
                Ok(stored) => return self.succeeded(&key, &stored),
                Err(error @ ApiError::Unavailable(_)) if left > 0 => {
                    self.failed(event, &error);
                    tokio::time::sleep(PAUSE).await;
                }
                Err(error) => return self.failed(event, &error),
            }
        }
    }

    async fn send(
        &self,
        object: &api::Event,
        patch: Option<&serde_json::Value>,
    ) -> Result<api::Event, ApiError> {
        let Some(patch) = patch else { return self.sink.create_event(object).await };
        let namespace = object.metadata.namespace.as_deref().unwrap_or_default();
        let name = object.metadata.name.as_deref().unwrap_or_default();
        match self.sink.patch_event(namespace, name, patch.clone()).await {
            // Events live an hour by default; a count that goes on longer starts a new object.
            Err(ApiError::NotFound(_)) => self.sink.create_event(object).await,
            answer => answer,
        }
    }

    fn succeeded(&mut self, key: &SeenKey, stored: &api::Event) {
        self.correlator.stored(key, stored);
        if self.failing.take().is_some() {
            tracing::info!("events can be written again");
        }
    }

    fn failed(&mut self, event: &ApiEvent, error: &ApiError) {
        let kind = mem::discriminant(error);
        let object = event.object.name.as_deref().unwrap_or_default();
        if self.failing.replace(kind) == Some(kind) {
            tracing::debug!(object, reason = event.reason, %error, "cannot write event");
        } else {
            tracing::warn!(object, reason = event.reason, %error, "cannot write event");
        }
    }
}

/// Token bucket over all events; `qps` 0 means no limit (meaning of `eventRecordQPS: 0` from 1.37
/// on).
struct Pace {
    per_second: f64,
    burst: f64,
    tokens: f64,
    filled_at: Instant,
}

impl Pace {
    fn new(qps: u32, burst: u32) -> Self {
        let burst = f64::from(burst.max(1));
        Self { per_second: f64::from(qps), burst, tokens: burst, filled_at: Instant::now() }
    }

    async fn turn(&mut self) {
        if self.per_second == 0.0 {
            return;
        }
        self.fill();
        if self.tokens < 1.0 {
            let wait = (1.0 - self.tokens) / self.per_second;
            tokio::time::sleep(Duration::from_secs_f64(wait)).await;
            self.fill();
        }
        // Rounding of the sleep may leave the bucket a hair short; it is made good by the next one.
        self.tokens -= 1.0;
    }

    fn fill(&mut self) {
        let now = Instant::now();
        let gained = now.duration_since(self.filled_at).as_secs_f64() * self.per_second;
        self.tokens = (self.tokens + gained).min(self.burst);
        self.filled_at = now;
    }
}

#[cfg(test)]
mod tests;
