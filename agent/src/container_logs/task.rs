//! Looks at the logs of running containers each interval, and rotates those that have become large.
//!
//! The kernel tells of each line that is written, which is far more often than a log becomes large;
//! so their sizes are asked for, which takes a few system calls for each.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use super::rotation_plan::{compressed, plan_rotation, temporary};
use crate::adapters::linux::log_reader::LogDir;
use crate::boundary::{Containers, RuntimeError};
use crate::config::LogRotation;
use crate::model::{ContainerId, RuntimePods};
use crate::podworker::WallClock;
use crate::telemetry::Causes;

#[cfg(test)]
mod tests;

/// What the task works with.
pub struct RotationParts {
    /// `podLogsDir`.
    pub root: PathBuf,
    pub rotation: LogRotation,
    pub runtime: watch::Receiver<Option<Arc<RuntimePods>>>,
    pub containers: Arc<dyn Containers>,
    pub clock: WallClock,
}

/// Why a log was not rotated. All is as before, and it is tried again.
#[derive(Debug, thiserror::Error)]
enum RotationError {
    #[error("cannot look at the log {}", path.display())]
    Look { path: PathBuf, source: io::Error },
    #[error("cannot rotate the log {}", path.display())]
    Files { path: PathBuf, source: io::Error },
    #[error("the runtime cannot open the log {} anew", path.display())]
    Reopen { path: PathBuf, source: RuntimeError },
}

/// The log of a running container.
#[derive(Clone, Debug)]
struct Log {
    container: ContainerId,
    path: PathBuf,
}

/// The loop; see [`RotationTask::run`].
pub struct RotationTask {
    parts: RotationParts,
    /// What the last round failed at, by container.
    troubles: HashMap<ContainerId, String>,
}

impl RotationTask {
    pub fn new(parts: RotationParts) -> Self {
        Self { parts, troubles: HashMap::new() }
    }

    /// Runs for ever.
    pub async fn run(mut self) {
        let mut timer = tokio::time::interval(self.parts.rotation.interval);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            timer.tick().await;
            self.round().await;
        }
    }

    async fn round(&mut self) {
        let Some(max_size) = self.parts.rotation.max_size else { return };
        let looks = look(&self.parts.root, self.running()).await;
        let parts = &self.parts;
        let rotations = looks.into_iter().map(|(log, size)| async move {
            let done = match size {
                Ok(Some(size)) if size < max_size => Ok(()),
                Ok(Some(_)) => rotate(parts, &log).await,
                // A rotation was cut short: the runtime writes to a file of another name.
                Ok(None) => reopen(parts, &log).await,
                Err(source) => Err(RotationError::Look { path: log.path.clone(), source }),
            };
            (log, done)
        });
        let done: Vec<_> = futures::stream::iter(rotations)
            .buffer_unordered(parts.rotation.workers)
            .collect()
            .await;
        self.tell(done);
    }

    /// Logs of all containers that run.
    fn running(&self) -> Vec<Log> {
        let Some(pods) = self.parts.runtime.borrow().clone() else { return Vec::new() };
        let containers = pods.values().flat_map(|pod| &pod.containers);
        let running = containers.filter(|c| c.is_running() && !c.log_path.is_empty());
        running.map(|c| Log { container: c.id.clone(), path: PathBuf::from(&c.log_path) }).collect()
    }

    /// Tells of each failure once. A container that has ended meanwhile is none.
    fn tell(&mut self, done: Vec<(Log, Result<(), RotationError>)>) {
        let mut troubles = HashMap::new();
        let running: Vec<ContainerId> =
            self.running().into_iter().map(|log| log.container).collect();
        for (log, result) in done {
            let Err(error) = result else { continue };
            let text = Causes(&error).to_string();
            if !running.contains(&log.container) {
                tracing::debug!(container = %log.container, error = %text, "log not rotated");
                continue;
            }
            if self.troubles.get(&log.container) != Some(&text) {
                tracing::warn!(container = %log.container, error = %text, "log not rotated, trying again");
            }
            troubles.insert(log.container, text);
        }
        self.troubles = troubles;
    }
}

/// The sizes of all logs; `None` of one that is not there.
async fn look(root: &Path, logs: Vec<Log>) -> Vec<(Log, io::Result<Option<u64>>)> {
    let root = root.to_owned();
    let looked = tokio::task::spawn_blocking(move || {
        let size = |log: &Log| match LogDir::open(&root, &log.path) {
            Ok((dir, name)) => dir.size(&name),
            Err(error) => Err(error),
        };
        logs.into_iter().map(|log| (size(&log), log)).map(|(size, log)| (log, size)).collect()
    });
    looked.await.unwrap_or_default()
}

/// Makes room, compresses what was rotated before, gives the log its new name and has the runtime
/// begin a new one.
async fn rotate(parts: &RotationParts, log: &Log) -> Result<(), RotationError> {
    let failed = |source| RotationError::Files { path: log.path.clone(), source };
    let (root, path) = (parts.root.clone(), log.path.clone());
    let (max_files, now) = (parts.rotation.max_files, (parts.clock)());
    let moved = blocking(move || {
        let (dir, name) = LogDir::open(&root, &path)?;
        let plan = plan_rotation(&name, &dir.names()?, max_files, now);
        for old in &plan.remove {
            dir.remove(old)?;
        }
        for plain in &plan.compress {
            dir.compress(plain, &temporary(plain), &compressed(plain))?;
        }
        dir.rename(&name, &plan.rotated)?;
        Ok((dir, name, plan.rotated))
    });
    let (dir, name, rotated) = moved.await.map_err(failed)?;
    let reopened = reopen(parts, log).await;
    if reopened.is_err() {
        // The runtime goes on writing this file, which has to be found under its own name. When
        // that is taken, the runtime has begun a new one after all.
        match blocking(move || dir.rename(&rotated, &name)).await {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(failed(error));
            }
            _ => {}
        }
    } else {
        tracing::debug!(path = %log.path.display(), rotated, "rotated a log");
    }
    reopened
}

async fn reopen(parts: &RotationParts, log: &Log) -> Result<(), RotationError> {
    let reopened = parts.containers.reopen_log(&log.container).await;
    reopened.map_err(|source| RotationError::Reopen { path: log.path.clone(), source })
}

/// Runs what blocks where it may.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}
