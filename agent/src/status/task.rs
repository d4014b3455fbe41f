//! Owns the latest status of every pod and is the only one to write it to the API.
//!
//! One write per pod is on the wire at a time; what arrives meanwhile replaces what waits, so a
//! slow server gets the newest status and not every one between. Pods do not wait for each other.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::patch::status_patch;
use crate::boundary::{ApiError, PodsApi};
use crate::model::{Pod, PodUid};

#[cfg(test)]
mod tests;

/// First wait after a failed write, doubling up to [`RETRY_CAP`]. The kubelet retries with its
/// 10 s batch (v1.36); an API server that is back should be told sooner.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_CAP: Duration = Duration::from_secs(10);

/// Requests in flight to the task. Senders are pod workers, at most a few each at a time; when it
/// is full they wait, which slows them to the speed of this loop, not of the API.
const REQUESTS: usize = 256;

enum Request {
    Publish { pod: Pod, status: Arc<api::PodStatus> },
    Finish { pod: Pod },
    Forget { uid: PodUid },
}

/// What pod workers hold. Cheap to clone.
#[derive(Clone, Debug)]
pub struct StatusHandle {
    requests: mpsc::Sender<Request>,
}

impl StatusHandle {
    /// Makes `status` the one the API is to show for `pod`. Returns when it is queued. Equal to
    /// what the API shows already, it costs nothing.
    pub async fn publish(&self, pod: &Pod, status: api::PodStatus) {
        let _ = self
            .requests
            .send(Request::Publish { pod: pod.clone(), status: Arc::new(status) })
            .await;
    }

    /// Says that nothing of the pod is left on this node. The API object is deleted as soon as its
    /// deletion was asked for and its terminal status is posted. To be said again when the
    /// deletion is asked for later.
    pub async fn finish(&self, pod: &Pod) {
        let _ = self.requests.send(Request::Finish { pod: pod.clone() }).await;
    }

    /// Drops what is kept of a pod that the API no longer has.
    pub async fn forget(&self, uid: &PodUid) {
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
    finished: bool,
    writing: bool,
    retry: Option<Retry>,
}

#[derive(Clone, Copy)]
struct Retry {
    at: Instant,
    wait: Duration,
}

/// What a write came to.
enum Outcome {
    Patched(Box<api::Pod>),
    Deleted,
    Failed(ApiError),
}

/// The loop; see [`StatusTask::run`].
pub struct StatusTask {
    api: Arc<dyn PodsApi>,
    requests: mpsc::Receiver<Request>,
    entries: HashMap<PodUid, Entry>,
    writes: JoinSet<(PodUid, Outcome)>,
}

impl StatusTask {
    pub fn new(api: Arc<dyn PodsApi>) -> (Self, StatusHandle) {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let task = Self { api, requests, entries: HashMap::new(), writes: JoinSet::new() };
        (task, StatusHandle { requests: sender })
    }

    /// Runs until every handle is dropped and what was queued has been tried once.
    pub async fn run(mut self) {
        loop {
            let retry_at = self.next_retry();
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
                () = sleep_until(retry_at), if retry_at.is_some() => self.retry_due(),
            }
        }
        while self.writes.join_next().await.is_some() {}
    }

    /// The earliest held-back write; one on the wire waits for its answer, not for a timer.
    fn next_retry(&self) -> Option<Instant> {
        let held = self.entries.values().filter(|entry| !entry.writing);
        held.filter_map(|entry| entry.retry.map(|retry| retry.at)).min()
    }

    fn accept(&mut self, request: Request) {
        match request {
            Request::Publish { pod, status } => {
                let uid = pod.uid().clone();
                let entry = self.entry(pod);
                entry.wanted = Some(status);
                self.write(&uid);
            }
            Request::Finish { pod } => {
                let uid = pod.uid().clone();
                self.entry(pod).finished = true;
                self.write(&uid);
            }
            Request::Forget { uid } => {
                self.entries.remove(&uid);
            }
        }
    }

    /// The entry of the pod, brought up to the pod's newest object.
    fn entry(&mut self, pod: Pod) -> &mut Entry {
        let version = version(pod.object());
        let entry = self.entries.entry(pod.uid().clone()).or_insert_with(|| Entry {
            shown: pod.api_status().cloned().unwrap_or_default(),
            shown_version: version,
            pod: pod.clone(),
            wanted: None,
            finished: false,
            writing: false,
            retry: None,
        });
        let newer = match (version, entry.shown_version) {
            (Some(new), Some(old)) => new > old,
            _ => !Arc::ptr_eq(entry.pod.object(), pod.object()),
        };
        if newer {
            entry.shown = pod.api_status().cloned().unwrap_or_default();
            entry.shown_version = version;
        }
        entry.pod = pod;
        entry
    }

    /// Starts the write the pod needs next, if it needs one and none is under way or held back.
    fn write(&mut self, uid: &PodUid) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if entry.writing || entry.retry.is_some_and(|retry| retry.at > Instant::now()) {
            return;
        }
        let (namespace, name) = (entry.pod.namespace().to_owned(), entry.pod.name().to_owned());
        let api = Arc::clone(&self.api);
        let key = uid.clone();
        let patch =
            entry.wanted.as_ref().and_then(|wanted| status_patch(uid, &entry.shown, wanted));
        if let Some(patch) = patch {
            entry.writing = true;
            self.writes.spawn(async move {
                let outcome = match api.patch_status(&namespace, &name, patch).await {
                    Ok(pod) => Outcome::Patched(Box::new(pod)),
                    Err(error) => Outcome::Failed(error),
                };
                (key, outcome)
            });
        } else if entry.finished && entry.pod.deletion_requested().is_some() {
            entry.writing = true;
            self.writes.spawn(async move {
                let outcome = match api.delete_finished(&namespace, &name, &key).await {
                    Ok(()) | Err(ApiError::NotFound(_) | ApiError::Conflict(_)) => Outcome::Deleted,
                    Err(error) => Outcome::Failed(error),
                };
                (key, outcome)
            });
        }
    }

    fn settle(&mut self, uid: &PodUid, outcome: Outcome) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        entry.writing = false;
        match outcome {
            Outcome::Patched(pod) => {
                if entry.retry.take().is_some() {
                    tracing::info!(pod = %entry.pod.full_name(), "pod status is written again");
                }
                entry.shown_version = version(&pod);
                entry.shown = pod.status.unwrap_or_default();
            }
            // The object is gone, or its namesake is another pod: nobody reads this status.
            Outcome::Deleted | Outcome::Failed(ApiError::NotFound(_) | ApiError::Conflict(_)) => {
                self.entries.remove(uid);
                return;
            }
            Outcome::Failed(error) => {
                let wait = match entry.retry {
                    None => {
                        tracing::warn!(pod = %entry.pod.full_name(), %error, "cannot write pod status, will retry");
                        RETRY_FIRST
                    }
                    Some(retry) => (retry.wait * 2).min(RETRY_CAP),
                };
                entry.retry = Some(Retry { at: Instant::now() + wait, wait });
                return;
            }
        }
        self.write(uid);
    }

    fn retry_due(&mut self) {
        let now = Instant::now();
        let due: Vec<PodUid> = self
            .entries
            .iter()
            .filter(|(_, entry)| !entry.writing && entry.retry.is_some_and(|retry| retry.at <= now))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in due {
            self.write(&uid);
            // With nothing left to write the hold is over.
            if let Some(entry) = self.entries.get_mut(&uid).filter(|entry| !entry.writing) {
                entry.retry = None;
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Resource versions of one resource type compare as numbers (guaranteed since v1.35).
fn version(pod: &api::Pod) -> Option<u64> {
    pod.metadata.resource_version.as_deref()?.parse().ok()
}
