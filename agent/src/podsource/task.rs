//! Owns the states of the sources and publishes their merge.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::merge::{DesiredPods, SourceSnapshot, merge};
use crate::boundary::{PodWatchEvent, PodsApi};
use crate::model::Pod;

/// Steps taken in before one snapshot is published. A full node's list (110 pods by default) thus
/// makes a few snapshots and not a hundred.
const BATCH: usize = 64;

/// What a manifest source says: its pods, or `None` until it has been read once.
pub type StaticPods = Option<Arc<[Pod]>>;

/// A source promised never to end, and ended.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} ended")]
pub struct SourceEnded(&'static str);

/// Where this node's pods come from. A source that is `None` is not configured.
#[derive(Default)]
pub struct Sources {
    pub api: Option<mpsc::Receiver<PodWatchEvent>>,
    pub file: Option<watch::Receiver<StaticPods>>,
    pub http: Option<watch::Receiver<StaticPods>>,
}

/// Runs the sources; sole writer of `DesiredPods`.
pub struct PodSourceTask {
    node_name: String,
    sources: Sources,
    api: SourceSnapshot,
    file: SourceSnapshot,
    http: SourceSnapshot,
    publisher: watch::Sender<Arc<DesiredPods>>,
}

impl PodSourceTask {
    /// Starts watching the API server, the only source; see [`Self::with_sources`].
    pub fn new(api: &dyn PodsApi, node_name: &str) -> (Self, watch::Receiver<Arc<DesiredPods>>) {
        let sources = Sources { api: Some(api.watch_pods()), ..Sources::default() };
        Self::with_sources(sources, node_name)
    }

    /// The receiver shows no pods and, when there is any source, `all_synced: false` until `run`
    /// has taken in what they say.
    pub fn with_sources(
        sources: Sources,
        node_name: &str,
    ) -> (Self, watch::Receiver<Arc<DesiredPods>>) {
        let (publisher, receiver) = watch::channel(Arc::default());
        let task = Self {
            node_name: node_name.to_owned(),
            sources,
            api: SourceSnapshot::default(),
            file: SourceSnapshot::default(),
            http: SourceSnapshot::default(),
            publisher,
        };
        task.publish();
        (task, receiver)
    }

    /// Takes in what the sources say and publishes until one ends, which it should not do.
    pub async fn run(mut self) -> Result<(), SourceEnded> {
        let mut batch = Vec::with_capacity(BATCH);
        // A source may have been read before this began.
        let mut changed = self.take_static();
        loop {
            if changed {
                self.publish();
            }
            // All arms are cancel safe: a channel receive, watches.
            changed = tokio::select! {
                count = receive(&mut self.sources.api, &mut batch) => {
                    if count == 0 {
                        return Err(SourceEnded("the watch of this node's pods"));
                    }
                    let mut changed = false;
                    for event in batch.drain(..) {
                        changed |= self.api.apply(event, &self.node_name);
                    }
                    changed
                }
                open = renewed(&mut self.sources.file) => match open {
                    true => self.take_static(),
                    false => return Err(SourceEnded("the reader of static pod manifests")),
                },
                open = renewed(&mut self.sources.http) => match open {
                    true => self.take_static(),
                    false => return Err(SourceEnded("the reader of the static pod URL")),
                },
            };
        }
    }

    /// Takes in what the manifest sources say now; whether it is news.
    fn take_static(&mut self) -> bool {
        let mut changed = false;
        let both =
            [(&mut self.sources.file, &mut self.file), (&mut self.sources.http, &mut self.http)];
        for (source, known) in both {
            let said = source.as_mut().and_then(|source| source.borrow_and_update().clone());
            let Some(pods) = said else { continue };
            let now = SourceSnapshot::complete_with(pods.iter().cloned());
            changed |= now != *known;
            *known = now;
        }
        changed
    }

    fn publish(&self) {
        let configured = [
            (self.sources.api.is_some(), &self.api),
            (self.sources.file.is_some(), &self.file),
            (self.sources.http.is_some(), &self.http),
        ];
        let configured = configured.into_iter().filter(|(present, _)| *present);
        let mut desired = merge(configured.map(|(_, snapshot)| snapshot));
        desired.api_synced = self.api.is_synced();
        self.publisher.send_replace(Arc::new(desired));
    }
}

/// Steps of the watch put into `batch`; 0 when it has ended. Waits for ever without a watch.
async fn receive(
    source: &mut Option<mpsc::Receiver<PodWatchEvent>>,
    batch: &mut Vec<PodWatchEvent>,
) -> usize {
    match source {
        Some(events) => events.recv_many(batch, BATCH).await,
        None => std::future::pending().await,
    }
}

/// Waits for a source to say something new; false when it has ended.
async fn renewed(source: &mut Option<watch::Receiver<StaticPods>>) -> bool {
    match source {
        Some(pods) => pods.changed().await.is_ok(),
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
