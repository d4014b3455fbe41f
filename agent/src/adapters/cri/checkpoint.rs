//! Checkpoints over CRI.

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use cri_proto::runtime::v1 as cri;

use super::client::{CriClient, within};
use crate::boundary::{Checkpoints, RuntimeError};
use crate::model::ContainerId;

#[async_trait]
impl Checkpoints for CriClient {
    async fn checkpoint(
        &self,
        id: &ContainerId,
        location: &Path,
        timeout: Duration,
    ) -> Result<(), RuntimeError> {
        let timeout = timeout.max(self.plain);
        let request = cri::CheckpointContainerRequest {
            container_id: id.to_string(),
            location: location.display().to_string(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        let mut call = self.runtime.clone();
        let answer =
            within("CheckpointContainer", timeout, call.checkpoint_container(request)).await;
        answer.map(|_| ())
    }
}
