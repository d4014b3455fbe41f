//! Owns the latest status of every pod and is the only one to write it to the API.
//!
//! One write per pod is on the wire at a time; what arrives meanwhile replaces what waits, so a
//! slow server gets the newest status and not every one between. Pods do not wait for each other,
//! up to a limit that keeps a burst of them from flooding the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::mirror::carry_over;
use super::patch::{status_patch, was_told};
use super::queue::WriteQueue;
use super::urgency::{PROGRESS_PAUSE, is_coming, pause};
use crate::boundary::{ApiError, PodsApi};
use crate::metrics::PodMetrics;
use crate::model::{Pod, PodUid};
use crate::podsource::DesiredPods;
use crate::timer::sleep_until;

#[cfg(test)]
mod tests;

/// First wait after a failed write, doubling up to [`RETRY_CAP`]. The kubelet retries with its
/// 10 s batch (v1.36); an API server that is back should be told sooner.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(10);

/// Writes on the wire at once. More would only wait at the server, and there the newest status of a
/// pod cannot take the place of an older one any more.
const PARALLEL: usize = 16;

/// Requests in flight to the task. Senders are pod workers, at most a few each at a time; when it
/// is full they wait, which slows them to the speed of this loop, not of the API.
const REQUESTS: usize = 256;

enum Request {
    Publish { pod: Pod, status: Arc<api::PodStatus> },
    Finish { pod: Pod },
    Forget { uid: PodUid },
}

/// The status of each pod that was published last.
type LatestStatuses = Arc<Mutex<HashMap<PodUid, Arc<api::PodStatus>>>>;

/// What pod workers hold. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StatusHandle {
    requests: mpsc::Sender<Request>,
    busy: watch::Receiver<bool>,
    latest: LatestStatuses,
}

impl StatusHandle {
    /// A handle on nobody, for a node without an API server.
    pub fn nowhere() -> Self {
        Self {
            requests: mpsc::channel(1).0,
            busy: watch::channel(false).1,
            latest: LatestStatuses::default(),
        }
    }

    /// Whether statuses are being written or are about to be.
    pub fn busy(&self) -> watch::Receiver<bool> {
        self.busy.clone()
    }

    /// Makes `status` the one the API is to show for `pod`. Returns when it is queued. Equal to
    /// what the API shows already, it costs nothing; one that says little waits a moment for the
    /// next.
    pub async fn publish(&self, pod: &Pod, status: api::PodStatus) {
        let status = Arc::new(status);
        self.latest().insert(pod.uid().clone(), Arc::clone(&status));
        let _ = self.requests.send(Request::Publish { pod: pod.clone(), status }).await;
    }

    /// The status that was published last for a pod, whether or not the API shows it yet; `None`
    /// when there was none since this daemon started.
    pub fn published(&self, uid: &PodUid) -> Option<Arc<api::PodStatus>> {
        self.latest().get(uid).cloned()
    }

    fn latest(&self) -> MutexGuard<'_, HashMap<PodUid, Arc<api::PodStatus>>> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that nothing of the pod is left on this node. The API object is deleted as soon as its
    /// deletion was asked for and its terminal status is posted. To be said again when the
    /// deletion is asked for later.
    pub async fn finish(&self, pod: &Pod) {
        self.latest().remove(pod.uid());
        let _ = self.requests.send(Request::Finish { pod: pod.clone() }).await;
    }

    /// Drops what is kept of a pod that the API no longer has.
    pub async fn forget(&self, uid: &PodUid) {
        self.latest().remove(uid);
        let _ = self.requests.send(Request::Forget { uid: uid.clone() }).await;
    }
}

/// One pod's entry.
struct Entry {
    pod: Pod,
    wanted: Option<Arc<api::PodStatus>>,
    /// What the API is known to show.
    shown: api::PodStatus,
    /// Resource version `shown` was read from, where it is a number.
    shown_version: Option<u64>,
    /// What `shown` is the server's answer to. A server that lacks a field drops it, and must not
    /// be told again and again.
    answered: Option<Arc<api::PodStatus>>,
    finished: bool,
    writing: bool,
    retry: Option<Retry>,
    /// For a static pod, the mirror pod that `shown` is the status of.
    mirror: Option<PodUid>,
    /// A mirror pod found gone; its deletion is not in the watch yet.
    lost_mirror: Option<PodUid>,
    /// Since when the API shows less than is wanted.
    behind: Option<Instant>,
}

impl Entry {
    fn new(pod: Pod) -> Self {
        Self {
            shown: pod.api_status().cloned().unwrap_or_default(),
            shown_version: version(pod.object()),
            pod,
            wanted: None,
            answered: None,
            finished: false,
            writing: false,
            retry: None,
            mirror: None,
            lost_mirror: None,
            behind: None,
        }
    }

    /// UID of the object that shows the pod's status: its own, or that of a static pod's mirror,
    /// whose newest state is then taken in. `None` while a static pod has no mirror.
    fn target(&mut self, desired: Option<&DesiredPods>) -> Option<PodUid> {
        if !self.pod.is_static() {
            return Some(self.pod.uid().clone());
        }
        let mirror = desired?.mirror_of(&self.pod)?;
        let uid = mirror.uid();
        if self.lost_mirror.as_ref() == Some(uid) {
            return None;
        }
        let version = version(mirror.object());
        if self.mirror.as_ref() != Some(uid) || version > self.shown_version {
            let shown = mirror.api_status().cloned().unwrap_or_default();
            if self.mirror.as_ref() != Some(uid) || shown != self.shown {
                self.answered = None;
                self.shown = shown;
            }
            self.shown_version = version;
            self.mirror = Some(uid.clone());
        }
        if let Some(wanted) = &mut self.wanted {
            carry_over(&self.shown, wanted);
        }
        Some(uid.clone())
    }

    /// Takes the pod's newest object in.
    fn adopt(&mut self, pod: Pod) {
        if pod.is_static() {
            // Its own object knows nothing of the API.
            self.pod = pod;
            return;
        }
        let version = version(pod.object());
        let newer = match (version, self.shown_version) {
            (Some(new), Some(old)) => new > old,
            _ => !Arc::ptr_eq(self.pod.object(), pod.object()),
        };
        if newer {
            let shown = pod.api_status().cloned().unwrap_or_default();
            if shown != self.shown {
                self.answered = None;
                self.shown = shown;
            }
            self.shown_version = version;
        }
        self.pod = pod;
    }

    /// Takes the server's answer in. What it shows otherwise than was sent is either not kept by
    /// this server, or was changed by somebody else before the write: the node lifecycle
    /// controller sets Ready to False on a node that was away. The latter is still to be written.
    fn take_answer(&mut self, patched: Patched) {
        let Patched { target, sent, patch, answer } = patched;
        self.shown_version = version(&answer);
        self.shown = answer.status.unwrap_or_default();
        let rest = status_patch(&target, &self.shown, &sent);
        self.answered = rest.is_none_or(|rest| was_told(&rest, &patch)).then_some(sent);
    }

    fn is_deleted(&self) -> bool {
        self.pod.deletion_requested().is_some()
    }

    /// The status that the API does not show yet.
    fn unwritten(&self) -> Option<&Arc<api::PodStatus>> {
        self.wanted.as_ref().filter(|wanted| self.answered.as_ref() != Some(wanted))
    }
}

#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// A status write that the server answered.
struct Patched {
    /// UID of the object that was written.
    target: PodUid,
    sent: Arc<api::PodStatus>,
    patch: Value,
    answer: api::Pod,
}

/// What a write came to.
enum Outcome {
    Patched(Box<Patched>),
    Deleted,
    /// The object that was to be deleted is not there, as far as the server knows.
    Missing,
    Failed(ApiError),
}

/// The loop; see [`StatusTask::run`].
pub struct StatusTask {
    api: Arc<dyn PodsApi>,
    requests: mpsc::Receiver<Request>,
    entries: HashMap<PodUid, Entry>,
    queue: WriteQueue,
    writes: JoinSet<(PodUid, Outcome)>,
    busy: watch::Sender<bool>,
    /// Where the mirror pods of static pods are found.
    desired: Option<watch::Receiver<Arc<DesiredPods>>>,
    metrics: PodMetrics,
}

impl StatusTask {
    /// Without [`Self::with_mirrors`] the statuses of static pods have nowhere to go.
    pub fn new(api: Arc<dyn PodsApi>) -> (Self, StatusHandle) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let busy = watch::Sender::new(false);
        let latest = LatestStatuses::default();
        let handle = StatusHandle { requests: sender, busy: busy.subscribe(), latest };
        let task = Self {
            api,
            requests,
            entries: HashMap::new(),
            queue: WriteQueue::default(),
            writes: JoinSet::new(),
            busy,
            desired: None,
            metrics: PodMetrics::default(),
        };
        (task, handle)
    }

    /// Writes the status of a static pod to its mirror pod.
    #[must_use]
    pub fn with_mirrors(mut self, desired: watch::Receiver<Arc<DesiredPods>>) -> Self {
        self.desired = Some(desired);
        self
    }

    /// Tells `metrics` how long the API is behind.
    #[must_use]
    pub fn with_metrics(mut self, metrics: PodMetrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// Runs until every handle is dropped and what was queued has been tried once.
    pub async fn run(mut self) {
        loop {
            let next = self.queue.next().filter(|_| self.writes.len() < PARALLEL);
            // All arms are cancel safe: a channel receive, joining a set, a timer.
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.accept(request),
                    None => break,
                },
                Some(joined) = self.writes.join_next(), if !self.writes.is_empty() => {
                    if let Ok((uid, outcome)) = joined {
                        self.settle(&uid, outcome);
                    }
                }
                () = sleep_until(next), if next.is_some() => {}
                open = renewed(&mut self.desired) => match open {
                    true => self.follow_mirrors(),
                    false => self.desired = None,
                },
            }
            self.write_due();
            self.tell_busy();
        }
        for uid in self.entries.keys().cloned().collect::<Vec<_>>() {
            self.write(&uid);
        }
        while self.writes.join_next().await.is_some() {}
    }

    fn tell_busy(&self) {
        let soon = Instant::now() + PROGRESS_PAUSE;
        let busy = !self.writes.is_empty() || self.queue.next().is_some_and(|due| due <= soon);
        self.busy.send_if_modified(|told| std::mem::replace(told, busy) != busy);
    }

    fn accept(&mut self, request: Request) {
        match request {
            Request::Publish { pod, status } => {
                let uid = pod.uid().clone();
                self.entry(pod).wanted = Some(status);
                self.schedule(&uid);
            }
            Request::Finish { pod } => {
                let uid = pod.uid().clone();
                self.entry(pod).finished = true;
                self.schedule(&uid);
            }
            Request::Forget { uid } => self.remove(&uid),
        }
    }

    /// The entry of the pod, brought up to the pod's newest object.
    fn entry(&mut self, pod: Pod) -> &mut Entry {
        let entry =
            self.entries.entry(pod.uid().clone()).or_insert_with(|| Entry::new(pod.clone()));
        entry.adopt(pod);
        entry
    }

    fn remove(&mut self, uid: &PodUid) {
        self.entries.remove(uid);
        self.queue.remove(uid);
    }

    /// Sets the time of the pod's next write: when its change has waited long enough, and not
    /// while another is under way or a failed one rests.
    fn schedule(&mut self, uid: &PodUid) {
        let desired = self.desired();
        let coming = self.entries.values().filter(|entry| is_coming(&entry.shown)).count();
        let Some(entry) = self.entries.get_mut(uid).filter(|entry| !entry.writing) else { return };
        if entry.target(desired.as_deref()).is_none() {
            return;
        }
        let now = Instant::now();
        let deleted = entry.is_deleted();
        let due = match entry.unwritten() {
            // Nothing of the pod is left, so nothing more is to come.
            _ if entry.finished && deleted => now,
            Some(wanted) if entry.shown != **wanted => {
                let due = now + pause(&entry.shown, wanted, deleted, coming);
                entry.behind.get_or_insert(now);
                due
            }
            _ => return,
        };
        let due = entry.retry.map_or(due, |retry| due.max(retry.at));
        self.queue.bring_forward(uid, due);
    }

    fn write_due(&mut self) {
        while self.writes.len() < PARALLEL {
            let Some(uid) = self.queue.take_due(Instant::now()) else { return };
            self.write(&uid);
        }
    }

    fn desired(&self) -> Option<Arc<DesiredPods>> {
        self.desired.as_ref().map(|desired| Arc::clone(&desired.borrow()))
    }

    /// Tells mirror pods that are new, or that others changed, what they should show.
    fn follow_mirrors(&mut self) {
        let statics = self.entries.iter().filter(|(_, entry)| entry.pod.is_static());
        let uids: Vec<PodUid> = statics.map(|(uid, _)| uid.clone()).collect();
        for uid in uids {
            self.schedule(&uid);
        }
    }

    /// Starts the write the pod needs next, if it needs one and none is under way.
    fn write(&mut self, uid: &PodUid) {
        let desired = self.desired();
        let Some(entry) = self.entries.get_mut(uid).filter(|entry| !entry.writing) else { return };
        let Some(target) = entry.target(desired.as_deref()) else { return };
        let (namespace, name) = (entry.pod.namespace().to_owned(), entry.pod.name().to_owned());
        let api = Arc::clone(&self.api);
        let key = uid.clone();
        let change = entry.unwritten().and_then(|wanted| {
            Some((Arc::clone(wanted), status_patch(&target, &entry.shown, wanted)?))
        });
        if let Some((sent, patch)) = change {
            entry.writing = true;
            self.writes.spawn(async move {
                let outcome = match api.patch_status(&namespace, &name, patch.clone()).await {
                    Ok(answer) => {
                        Outcome::Patched(Box::new(Patched { target, sent, patch, answer }))
                    }
                    Err(error) => Outcome::Failed(error),
                };
                (key, outcome)
            });
        } else if entry.finished && entry.is_deleted() {
            entry.writing = true;
            self.writes.spawn(async move {
                let outcome = match api.delete_finished(&namespace, &name, &key).await {
                    Ok(()) | Err(ApiError::Conflict(_)) => Outcome::Deleted,
                    Err(ApiError::NotFound(_)) => Outcome::Missing,
                    Err(error) => Outcome::Failed(error),
                };
                (key, outcome)
            });
        } else {
            // What had failed is not needed any more.
            entry.retry = None;
            entry.behind = None;
        }
    }

    fn settle(&mut self, uid: &PodUid, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.writing = false;
        match outcome {
            Outcome::Patched(patched) => {
                if entry.retry.take().is_some() {
                    tracing::info!(pod = %entry.pod.full_name(), "pod status is written again");
                }
                entry.take_answer(*patched);
                if entry.unwritten().is_none()
                    && let Some(since) = entry.behind.take()
                {
                    self.metrics.status_written(since.elapsed());
                }
            }
            Outcome::Failed(ApiError::NotFound(_) | ApiError::Conflict(_))
                if entry.pod.is_static() =>
            {
                // The next mirror pod is told instead.
                entry.lost_mirror = entry.mirror.take();
            }
            // The object is gone, or its namesake is another pod: nobody reads this status.
            Outcome::Deleted | Outcome::Failed(ApiError::NotFound(_) | ApiError::Conflict(_)) => {
                return self.remove(uid);
            }
            // A server that has just started says so of pods it has not read yet (admission plugin
            // NodeRestriction, v1.36), and the pod would stay for ever if that were believed.
            Outcome::Missing => {
                let wait = next_wait(entry.retry);
                if wait == RETRY_CAP {
                    return self.remove(uid);
                }
                entry.retry = Some(Retry { at: Instant::now() + wait, wait });
            }
            Outcome::Failed(error) => {
                if entry.retry.is_none() {
                    tracing::warn!(pod = %entry.pod.full_name(), %error, "cannot write pod status, will retry");
                }
                let wait = next_wait(entry.retry);
                entry.retry = Some(Retry { at: Instant::now() + wait, wait });
            }
        }
        self.schedule(uid);
    }
}

/// Waits for something new; false when there will be none. Waits for ever without a watch.
async fn renewed(desired: &mut Option<watch::Receiver<Arc<DesiredPods>>>) -> bool {
    match desired {
        Some(desired) => desired.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

/// How long the next try rests after another failure.
fn next_wait(last: Option<Retry>) -> Duration {
    last.map_or(RETRY_FIRST, |last| (last.wait * 2).min(RETRY_CAP))
}

/// Resource versions of one resource type compare as numbers (guaranteed since v1.35).
fn version(pod: &api::Pod) -> Option<u64> {
    pod.metadata.resource_version.as_deref()?.parse().ok()
}
