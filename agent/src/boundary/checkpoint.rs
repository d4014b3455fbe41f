//! Checkpoints of running containers.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;

use super::RuntimeError;
use crate::model::ContainerId;

/// What writes a container's state into an archive.
#[async_trait]
pub trait Checkpoints: Send + Sync {
    /// Writes the archive to `location`; the container goes on. `timeout` lets a big container take
    /// longer than other calls; a shorter one than theirs is not kept to.
    async fn checkpoint(
        &self,
        id: &ContainerId,
        location: &Path,
        timeout: Duration,
    ) -> Result<(), RuntimeError>;
}
