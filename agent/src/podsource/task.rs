//! Owns the states of the sources and publishes their merge.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::merge::{DesiredPods, SourceSnapshot, merge};
use crate::boundary::{PodWatchEvent, PodsApi};

/// Steps taken in before one snapshot is published. A full node's list (110 pods by default) thus
/// makes a few snapshots and not a hundred.
const BATCH: usize = 64;

/// The pod watch promised never to end, and ended.
#[derive(Debug, thiserror::Error)]
#[error("the watch of this node's pods ended")]
pub struct SourceEnded;

/// Runs the sources; sole writer of `DesiredPods`.
pub struct PodSourceTask {
    node_name: String,
    events: mpsc::Receiver<PodWatchEvent>,
    api: SourceSnapshot,
    publisher: watch::Sender<Arc<DesiredPods>>,
}

impl PodSourceTask {
    /// Starts watching the API server; the receiver shows no pods and `all_synced: false` until
    /// `run` has taken in the first steps.
    pub fn new(api: &dyn PodsApi, node_name: &str) -> (Self, watch::Receiver<Arc<DesiredPods>>) {
        let snapshot = SourceSnapshot::default();
        let (publisher, receiver) = watch::channel(Arc::new(merge([&snapshot])));
        let task = Self {
            node_name: node_name.to_owned(),
            events: api.watch_pods(),
            api: snapshot,
            publisher,
        };
        (task, receiver)
    }

    /// Takes in steps and publishes until the watch ends, which it should not do.
    pub async fn run(mut self) -> Result<(), SourceEnded> {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            if self.events.recv_many(&mut batch, BATCH).await == 0 {
                return Err(SourceEnded);
            }
            let mut changed = false;
            for event in batch.drain(..) {
                changed |= self.api.apply(event, &self.node_name);
            }
            if changed {
                self.publisher.send_replace(Arc::new(merge([&self.api])));
            }
        }
    }
}

#[cfg(test)]
mod tests;
