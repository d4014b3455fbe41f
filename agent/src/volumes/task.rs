//! Keeps the files of volumes fresh.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use super::handle::{VolumesDeps, VolumesHandle};
use super::refresh_queue::{Look, RefreshQueue};
use crate::model::{Pod, PodUid};
use crate::podsource::DesiredPods;

/// How often every pod's files are compared with their sources. Changes are on disk at once, for
/// the watches tell them; this is for what no watch tells, such as files somebody has removed
/// (kubelet v1.36: every 60 to 90 s).
const REFRESH: Duration = Duration::from_secs(60);
/// Pods looked at side by side, so that one slow answer does not hold up the rest.
const PARALLEL: usize = 8;
/// Shortest wait for a token that is due; keeps a clock that runs backwards from making this spin.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);

/// Refreshes volumes; runs for ever.
pub struct VolumesTask {
    volumes: VolumesHandle,
    changed: broadcast::Receiver<PodUid>,
    queue: RefreshQueue,
    /// Pods as they were last queued.
    seen: HashMap<PodUid, Pod>,
}

/// The handle and the task to run. `changed` are the pods one of whose objects has changed.
pub fn new(
    deps: VolumesDeps,
    changed: broadcast::Receiver<PodUid>,
) -> (VolumesHandle, VolumesTask) {
    let volumes = VolumesHandle::new(deps);
    let task = VolumesTask {
        volumes: volumes.clone(),
        changed,
        queue: RefreshQueue::default(),
        seen: HashMap::new(),
    };
    (volumes, task)
}

impl VolumesTask {
    /// `desired` are the pods whose changes are to show in their files.
    pub async fn run(mut self, mut desired: watch::Receiver<Arc<DesiredPods>>) {
        desired.mark_changed();
        let mut next_round = Instant::now() + REFRESH;
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < PARALLEL
                && let Some((uid, look)) = self.queue.next()
            {
                running.push(work(self.volumes.clone(), uid, look));
            }
            let wake = next_round.min(self.next_renewal());
            // Every arm waits on a queue, a watch or a timer and loses nothing when another one
            // wins; the work goes on beside them.
            tokio::select! {
                changed = self.changed.recv() => match changed {
                    Ok(uid) => self.queue.sources(uid),
                    Err(RecvError::Lagged(_)) => self.queue_all(),
                    Err(RecvError::Closed) => return,
                },
                Ok(()) = desired.changed() => {
                    let pods = Arc::clone(&desired.borrow_and_update());
                    self.queue_changed(&pods);
                }
                Some(uid) = running.next() => self.queue.done(&uid),
                () = tokio::time::sleep_until(wake) => {
                    if next_round <= Instant::now() {
                        next_round = Instant::now() + REFRESH;
                        self.queue_all();
                    } else {
                        self.queue_renewals();
                    }
                }
            }
        }
    }

    fn queue_all(&mut self) {
        self.volumes.pods().into_iter().for_each(|uid| self.queue.sources(uid));
    }

    fn queue_changed(&mut self, desired: &DesiredPods) {
        self.seen.retain(|uid, _| desired.pods.contains_key(uid));
        for (uid, pod) in &desired.pods {
            let seen = self.seen.get(uid);
            if !seen.is_some_and(|seen| Arc::ptr_eq(seen.object(), pod.object())) {
                self.seen.insert(uid.clone(), pod.clone());
                // What an ended one left is about to be removed.
                if !pod.has_ended() {
                    self.queue.newest(pod.clone());
                }
            }
        }
    }

    fn next_renewal(&self) -> Instant {
        let now = self.volumes.now();
        let due = self.volumes.renewals().into_iter().map(|(_, due)| due).min();
        let wait = due.map_or(REFRESH, |due| {
            let wait = Duration::try_from(due.duration_since(now)).unwrap_or_default();
            wait.clamp(SHORTEST_WAIT, REFRESH)
        });
        Instant::now() + wait
    }

    fn queue_renewals(&mut self) {
        let now = self.volumes.now();
        for (uid, due) in self.volumes.renewals() {
            if due <= now {
                self.queue.sources(uid);
            }
        }
    }
}

async fn work(volumes: VolumesHandle, uid: PodUid, look: Look) -> PodUid {
    if let Some(pod) = look.newest {
        volumes.update(&pod).await;
    }
    if look.sources {
        volumes.refresh(&uid).await;
    }
    uid
}

#[cfg(test)]
mod tests;
