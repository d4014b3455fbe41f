//! Looks at the content store while a pull runs.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;

use super::progress::{FIRST_REPORT, PullProgress, layers_in_work, of_ingests, of_layers};
use super::reference::ImageReference;
use crate::boundary::{ContentStore, Ingest, Layer, RuntimeError};

/// First look, so that the first report has something to tell.
const FIRST_LOOK: Duration = Duration::from_millis(FIRST_REPORT.as_millis() as u64 - 500);
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(2);

/// Follows one pull.
pub(super) struct Tracker {
    pub content: Arc<dyn ContentStore>,
    pub image: ImageReference,
    /// Pulls under way in all.
    pub running: Arc<AtomicUsize>,
    pub progress: watch::Sender<PullProgress>,
    layers: Option<Vec<Layer>>,
    whole: HashSet<String>,
}

impl Tracker {
    pub fn new(
        content: Arc<dyn ContentStore>,
        image: ImageReference,
        running: Arc<AtomicUsize>,
        progress: watch::Sender<PullProgress>,
    ) -> Self {
        Self { content, image, running, progress, layers: None, whole: HashSet::new() }
    }

    /// Publishes progress again and again; never returns. A runtime without a content store is
    /// asked no more.
    pub async fn follow(mut self) -> std::convert::Infallible {
        tokio::time::sleep(FIRST_LOOK).await;
        loop {
            match self.look().await {
                Ok(seen) => {
                    self.progress.send_if_modified(|known| std::mem::replace(known, seen) != seen);
                }
                Err(error) => {
                    tracing::debug!(image = %self.image, %error, "no progress of image pulls");
                    if !matches!(error, RuntimeError::DeadlineExceeded(_)) {
                        return std::future::pending().await;
                    }
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn look(&mut self) -> Result<PullProgress, RuntimeError> {
        let ingests = self.content.ingests().await?;
        if self.layers.is_none() && !ingests.is_empty() {
            let (host, repository) = (self.image.registry(), self.image.repository());
            let manifests = self.content.manifests(host, &repository).await?;
            self.layers = layers_in_work(manifests, &ingests);
        }
        let Some(layers) = self.layers.clone() else {
            // Downloads can be anybody's while there are several pulls.
            let alone = self.running.load(Ordering::Relaxed) == 1;
            return Ok(if alone { of_ingests(&ingests) } else { PullProgress::Running });
        };
        let whole = self.whole(&layers, &ingests).await?;
        Ok(of_layers(&layers, &ingests, &whole))
    }

    /// Which layers are here in full. One that was once is not asked for again.
    async fn whole(
        &mut self,
        layers: &[Layer],
        ingests: &[Ingest],
    ) -> Result<Vec<bool>, RuntimeError> {
        let mut whole = Vec::with_capacity(layers.len());
        for layer in layers {
            let in_work = ingests.iter().any(|ingest| ingest.name.ends_with(&layer.digest));
            let known = self.whole.contains(&layer.digest);
            let is_here = known || (!in_work && self.content.has(&layer.digest).await?);
            if is_here {
                self.whole.insert(layer.digest.clone());
            }
            whole.push(is_here);
        }
        Ok(whole)
    }
}
