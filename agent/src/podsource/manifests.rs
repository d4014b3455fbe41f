//! Reads the manifest directory when it changes, and every so often in case a change went unseen.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::static_set::{Candidate, Remark, StaticSet};
use super::task::StaticPods;
use crate::boundary::ManifestFiles;
use crate::podworker::WallClock;

#[cfg(test)]
mod tests;

/// An editor moves the old file away before it writes the new one; what happens within so short a
/// time is looked at as one change.
const QUIET: Duration = Duration::from_millis(50);

/// The loop; see [`ManifestsTask::run`].
pub struct ManifestsTask {
    files: Arc<dyn ManifestFiles>,
    set: StaticSet,
    /// `fileCheckFrequency`.
    period: Duration,
    clock: WallClock,
    pods: watch::Sender<StaticPods>,
    /// What was last told about the path as a whole.
    trouble: Option<String>,
}

impl ManifestsTask {
    /// The receiver shows `None` until the path was read once.
    pub fn new(
        files: Arc<dyn ManifestFiles>,
        node_name: &str,
        period: Duration,
        clock: WallClock,
    ) -> (Self, watch::Receiver<StaticPods>) {
        let (pods, receiver) = watch::channel(None);
        let set = StaticSet::new(node_name, None);
        (Self { files, set, period, clock, pods, trouble: None }, receiver)
    }

    /// Reads for ever.
    pub async fn run(mut self) {
        loop {
            self.scan().await;
            let due = Instant::now() + self.period;
            // Both arms are cancel safe: the kernel keeps what was not read, a timer.
            tokio::select! {
                () = self.files.changed() => self.let_settle(due).await,
                () = tokio::time::sleep_until(due) => {}
            }
        }
    }

    /// Waits until nothing has changed for a moment, at most until `due`.
    async fn let_settle(&self, due: Instant) {
        let mut quiet = Instant::now() + QUIET;
        loop {
            tokio::select! {
                () = self.files.changed() => quiet = Instant::now() + QUIET,
                () = tokio::time::sleep_until(quiet.min(due)) => return,
            }
        }
    }

    async fn scan(&mut self) {
        let (files, trouble) = match self.files.list().await {
            Ok(Some(files)) => (Some(files), None),
            // A path that does not exist has no pods; it may come later.
            Ok(None) => (Some(Vec::new()), Some("it does not exist".to_owned())),
            // What was read before goes on.
            Err(error) => (None, Some(error.to_string())),
        };
        self.tell_trouble(trouble);
        let Some(files) = files else { return };
        let read = files.into_iter().map(|file| Candidate {
            key: file.path.to_string_lossy().into_owned(),
            content: file.content,
        });
        for remark in self.set.update(read.collect(), (self.clock)()) {
            tell(&remark);
        }
        let pods: Arc<[_]> = self.set.pods().into();
        self.pods.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&pods);
            *known = Some(pods);
            changed
        });
    }

    fn tell_trouble(&mut self, trouble: Option<String>) {
        if trouble == self.trouble {
            return;
        }
        match &trouble {
            Some(problem) => {
                tracing::warn!(problem, "staticPodPath cannot be read, will look again");
            }
            None => tracing::info!("staticPodPath is read"),
        }
        self.trouble = trouble;
    }
}

/// Tells the user what became of a manifest.
pub(super) fn tell(remark: &Remark) {
    match remark {
        Remark::Refused { key, problem, kept: true } => {
            tracing::error!(
                manifest = key,
                problem,
                "manifest is refused; the pod of its last good version goes on"
            );
        }
        Remark::Refused { key, problem, kept: false } => {
            tracing::error!(manifest = key, problem, "manifest is refused");
        }
        Remark::Mended { key } => tracing::info!(manifest = key, "manifest is good again"),
        Remark::Ignored { key, what } => {
            tracing::warn!(manifest = key, what, "part of a manifest counts for nothing");
        }
    }
}
