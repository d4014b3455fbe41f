//! What readers of figures hold.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};

use super::types::{Extent, Snapshot};

/// Readers that wait for the task. All are answered from one snapshot, so more would only wait
/// longer; the server lets fewer in.
pub(super) const QUEUE: usize = 32;

/// Who asks, which decides what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// CPU, memory and swap.
    CpuAndMemory,
    Summary,
    Cadvisor,
}

impl Reader {
    pub(super) fn extent(self) -> Extent {
        match self {
            Self::CpuAndMemory => Extent::default(),
            Self::Summary => Extent { storage: true, processes: false },
            Self::Cadvisor => Extent { storage: true, processes: true },
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StatsError {
    /// The topmost cgroup cannot be read, so nothing can be said of the node.
    #[error("failed to get root cgroup stats")]
    Root,
    #[error("the sampling of figures has ended")]
    Ended,
}

pub(super) struct Request {
    pub extent: Extent,
    pub answer: oneshot::Sender<Result<Arc<Snapshot>, StatsError>>,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct StatsHandle {
    pub(super) requests: mpsc::Sender<Request>,
}

impl StatsHandle {
    /// A handle on nobody.
    #[cfg(test)]
    pub(crate) fn nowhere() -> Self {
        Self { requests: mpsc::channel(1).0 }
    }

    /// A snapshot that is at most 10 s old and holds what the reader shows; it is taken for the
    /// first who asks.
    pub async fn snapshot(&self, reader: Reader) -> Result<Arc<Snapshot>, StatsError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { extent: reader.extent(), answer };
        self.requests.send(request).await.map_err(|_| StatsError::Ended)?;
        answered.await.map_err(|_| StatsError::Ended)?
    }
}
