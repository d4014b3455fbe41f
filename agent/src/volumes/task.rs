//! Keeps the files of mounted volumes fresh.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use tokio::sync::mpsc;

use super::handle::{Refreshed, VolumesDeps, VolumesHandle};
use crate::model::PodUid;

/// How often every pod's files are compared with their sources; with the watches a change is on
/// disk at once, and without them well within the 2 minutes users expect (kubelet v1.36: 60 to
/// 90 s).
const REFRESH: Duration = Duration::from_secs(60);
/// When a pod that was being worked on is looked at again.
const BUSY: Duration = Duration::from_millis(100);
/// Pods refreshed side by side, so that one slow answer does not hold up the rest.
const PARALLEL: usize = 8;

/// Refreshes volumes; runs until the object cache has ended.
pub struct VolumesTask {
    volumes: VolumesHandle,
    changed: mpsc::Receiver<PodUid>,
    /// Pods whose change is not on disk, because others were at work on them.
    later: BTreeSet<PodUid>,
}

/// The handle and the task to run. `changed` are the pods one of whose ConfigMaps has changed.
pub fn new(deps: VolumesDeps, changed: mpsc::Receiver<PodUid>) -> (VolumesHandle, VolumesTask) {
    let volumes = VolumesHandle::new(deps);
    (volumes.clone(), VolumesTask { volumes, changed, later: BTreeSet::new() })
}

impl VolumesTask {
    pub async fn run(mut self) {
        let first = tokio::time::Instant::now() + REFRESH;
        let mut timer = tokio::time::interval_at(first, REFRESH);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // All arms only wait; the work is done after one of them has won.
            tokio::select! {
                uid = self.changed.recv() => match uid {
                    Some(uid) => self.refresh(uid).await,
                    None => return,
                },
                _ = timer.tick() => self.refresh_all().await,
                () = tokio::time::sleep(BUSY), if !self.later.is_empty() => {
                    for uid in std::mem::take(&mut self.later) {
                        self.refresh(uid).await;
                    }
                }
            }
        }
    }

    async fn refresh(&mut self, uid: PodUid) {
        if self.volumes.refresh(&uid).await == Refreshed::Busy {
            self.later.insert(uid);
        }
    }

    async fn refresh_all(&self) {
        let pods = self.volumes.mounted_pods();
        stream::iter(pods)
            .for_each_concurrent(PARALLEL, async |uid| {
                // One that is busy has its turn the next time.
                let _ = self.volumes.refresh(&uid).await;
            })
            .await;
    }
}

#[cfg(test)]
mod tests;
