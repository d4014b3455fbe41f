//! Threads for work on files and mounts, which may hang: a server of files that is gone keeps its
//! callers for ever, in the kernel, where nobody can end them.
//!
//! Work that hangs keeps its thread and nothing else. Whoever waits is told after a while, and the
//! work of all others goes on beside it.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::types::VolumeError;

/// Pods worked on at the same time as long as nothing hangs; more would only share two disks.
const AT_ONCE: usize = 8;
/// How long work waits for others to end before it begins beside them.
const COURTESY: Duration = Duration::from_millis(250);
/// How long work may take until the one who waits is told. Well above what a removal of many files
/// takes, for which it is no error but only a wait.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// One for each pod of the largest node whose work hangs, and those that work. They are started
/// when needed and end when idle.
const MOST: usize = 512;

/// Runs work on threads of its own.
#[derive(Clone)]
pub struct VolumeThreads {
    runtime: Handle,
    places: Arc<Semaphore>,
}

/// Work whose end nobody has waited for.
#[derive(Debug)]
pub(super) struct Hanging {
    action: &'static str,
    work: AbortHandle,
}

impl Hanging {
    /// An error as long as the work goes on.
    pub fn ended(&self) -> Result<(), VolumeError> {
        if self.work.is_finished() { Ok(()) } else { Err(VolumeError::Hangs(self.action)) }
    }
}

impl VolumeThreads {
    /// Threads apart from those that all others use, for the whole life of the process.
    pub fn apart() -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .thread_name("volumes")
            .max_blocking_threads(MOST)
            .build()?;
        let threads = Self::on(runtime.handle().clone());
        // It is never driven: only its threads are used, and waiting for them to end could hang.
        std::mem::forget(runtime);
        Ok(threads)
    }

    /// The threads for blocking work of a runtime.
    pub fn on(runtime: Handle) -> Self {
        Self { runtime, places: Arc::new(Semaphore::new(AT_ONCE)) }
    }

    /// The result of `work`. Work that takes too long is left to itself and put into `hanging`.
    /// Errors also as long as what `hanging` holds goes on, and nothing is begun then.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        action: &'static str,
        hanging: &mut Option<Hanging>,
        work: impl FnOnce() -> Result<T, VolumeError> + Send + 'static,
    ) -> Result<T, VolumeError> {
        if let Some(earlier) = hanging {
            earlier.ended()?;
            *hanging = None;
        }
        let _place = timeout(COURTESY, self.places.acquire()).await;
        let mut running = self.runtime.spawn_blocking(work);
        // At once, for whoever waits may stop to while the work goes on.
        *hanging = Some(Hanging { action, work: running.abort_handle() });
        let Ok(ended) = timeout(PATIENCE, &mut running).await else {
            return Err(VolumeError::Hangs(action));
        };
        *hanging = None;
        ended.map_err(|_| VolumeError::Cancelled)?
    }
}

#[cfg(test)]
mod tests;
