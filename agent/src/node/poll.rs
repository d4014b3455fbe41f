//! Asks the runtime how it is and which images it has.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::runtime_state::RuntimeReport;
use crate::boundary::{ImageService, Machine, RuntimeError, RuntimeFacts, RuntimeVersion};

/// Time between two questions (kubelet v1.36).
const STATUS_EVERY: Duration = Duration::from_secs(5);

/// The same until the node is ready for the first time, so that a new node does not wait, and how
/// long that haste lasts at most (kubelet v1.36).
const STATUS_EVERY_AT_START: Duration = Duration::from_millis(200);
const HASTE: Duration = Duration::from_secs(120);

/// Age of the image list (kubelet v1.36), and the time between tries until there is one.
const IMAGES_EVERY: Duration = Duration::from_secs(30);
const IMAGES_EVERY_AT_START: Duration = Duration::from_secs(1);

/// Writes the `RuntimeReport`; its only writer.
pub(super) struct RuntimePoll {
    pub runtime: Arc<dyn RuntimeFacts>,
    pub images: Arc<dyn ImageService>,
    pub machine: Arc<dyn Machine>,
    pub report: watch::Sender<RuntimeReport>,
}

impl RuntimePoll {
    /// Asks for ever. The two questions do not wait for each other.
    pub async fn run(&self) {
        tokio::join!(self.poll_status(), self.poll_images());
    }

    async fn poll_status(&self) {
        let begin = tokio::time::Instant::now();
        let mut ready_once = false;
        let mut failing: Option<RuntimeError> = None;
        loop {
            let answer = self.runtime.status().await;
            let now = self.machine.now();
            match &answer {
                Ok(status) => {
                    if failing.take().is_some() {
                        tracing::info!("container runtime answers again");
                    }
                    self.report.send_if_modified(|report| {
                        replace(report, |report| report.answered(status, now))
                    });
                    self.fetch_version().await;
                }
                Err(error) => {
                    if failing.as_ref() != Some(error) {
                        tracing::warn!(%error, "container runtime does not tell its status");
                        failing = Some(error.clone());
                    }
                    // After an outage another version may answer.
                    self.report.send_if_modified(|report| {
                        replace(report, |report| report.aged(now).without_version())
                    });
                }
            }
            ready_once |= self.report.borrow().problems(None).is_empty();
            let haste = !ready_once && begin.elapsed() < HASTE;
            tokio::time::sleep(if haste { STATUS_EVERY_AT_START } else { STATUS_EVERY }).await;
        }
    }

    async fn fetch_version(&self) {
        if self.report.borrow().version.is_some() {
            return;
        }
        match self.runtime.version().await {
            Ok(version) => {
                let RuntimeVersion { name, version: number } = &version;
                tracing::info!(%name, version = %number, "container runtime is there");
                self.report.send_modify(|report| report.version = Some(version));
            }
            Err(error) => tracing::debug!(%error, "container runtime does not tell its version"),
        }
    }

    async fn poll_images(&self) {
        loop {
            if let Ok(mut images) = self.images.list_images().await {
                // The runtime lists them in no order; a wandering list would look like a change.
                images.sort_by(|a, b| a.id.cmp(&b.id));
                self.report.send_if_modified(|report| {
                    let changed = report.images.as_deref() != Some(&images);
                    if changed {
                        report.images = Some(Arc::new(images));
                    }
                    changed
                });
            }
            let listed = self.report.borrow().images.is_some();
            tokio::time::sleep(if listed { IMAGES_EVERY } else { IMAGES_EVERY_AT_START }).await;
        }
    }
}

/// Puts the changed report in place; false when it is the same.
fn replace(
    report: &mut RuntimeReport,
    change: impl FnOnce(RuntimeReport) -> RuntimeReport,
) -> bool {
    let changed = change(report.clone());
    let differs = *report != changed;
    *report = changed;
    differs
}
