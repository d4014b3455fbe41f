//! Keeps the files of mounted volumes fresh.

use std::time::Duration;

use futures::stream::{self, FuturesUnordered, StreamExt};
use tokio::sync::mpsc;

use super::handle::{VolumesDeps, VolumesHandle};
use crate::model::PodUid;

/// How often every pod's files are compared with their sources; with the watches a change is on
/// disk at once, and without them well within the 2 minutes users expect (kubelet v1.36: 60 to
/// 90 s).
const REFRESH: Duration = Duration::from_secs(60);
/// Pods refreshed side by side, so that one slow answer does not hold up the rest.
const PARALLEL: usize = 8;

/// Refreshes volumes; runs until the object cache has ended.
pub struct VolumesTask {
    volumes: VolumesHandle,
    changed: mpsc::Receiver<PodUid>,
}

/// The handle and the task to run. `changed` are the pods one of whose ConfigMaps has changed.
pub fn new(deps: VolumesDeps, changed: mpsc::Receiver<PodUid>) -> (VolumesHandle, VolumesTask) {
    let volumes = VolumesHandle::new(deps);
    (volumes.clone(), VolumesTask { volumes, changed })
}

impl VolumesTask {
    pub async fn run(mut self) {
        let first = tokio::time::Instant::now() + REFRESH;
        let mut timer = tokio::time::interval_at(first, REFRESH);
        timer.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        // A pod whose volumes take long to be made does not hold up the others.
        let mut refreshing = FuturesUnordered::new();
        loop {
            // All arms only wait, and lose nothing when another one wins.
            tokio::select! {
                uid = self.changed.recv() => match uid {
                    Some(uid) => {
                        let volumes = self.volumes.clone();
                        refreshing.push(async move { volumes.refresh(&uid).await });
                    }
                    None => return,
                },
                Some(()) = refreshing.next(), if !refreshing.is_empty() => {}
                _ = timer.tick() => self.refresh_all().await,
            }
        }
    }

    async fn refresh_all(&self) {
        let pods = self.volumes.mounted_pods();
        stream::iter(pods)
            .for_each_concurrent(PARALLEL, async |uid| self.volumes.refresh_idle(&uid).await)
            .await;
    }
}

#[cfg(test)]
mod tests;
