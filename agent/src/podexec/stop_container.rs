//! Ends and removes containers and sandboxes.

use std::time::Duration;

use super::execute::Executor;
use crate::boundary::RuntimeError;
use crate::model::{Container, ContainerId, PodFullName, PodUid, SandboxId};

/// What is not there any more is as good as stopped or removed.
fn absent_is_fine(result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Err(RuntimeError::NotFound(_)) => Ok(()),
        other => other,
    }
}

impl Executor {
    /// Ends the container within `grace`; returns when it is dead.
    pub async fn stop_container(
        &self,
        id: &ContainerId,
        grace: Duration,
    ) -> Result<(), RuntimeError> {
        absent_is_fine(self.containers.stop_container(id, grace).await)
    }

    /// Ends what is left in the sandboxes and their network. The first failure is returned after
    /// all were tried.
    pub async fn stop_sandboxes(&self, sandboxes: &[SandboxId]) -> Result<(), RuntimeError> {
        let mut result = Ok(());
        for id in sandboxes {
            result = result.and(absent_is_fine(self.sandboxes.stop_sandbox(id).await));
        }
        result
    }

    /// Removes dead containers with their logs, then sandboxes. The first failure is returned
    /// after all were tried.
    pub async fn remove(
        &self,
        pod: (&PodFullName, &PodUid),
        containers: &[Container],
        sandboxes: &[SandboxId],
    ) -> Result<(), RuntimeError> {
        let mut result = Ok(());
        for container in containers {
            // The log goes first, as with the kubelet: a container that goes with its sandbox, or
            // just before we die, is never seen again, and nothing else leads to its log.
            self.supplies.remove_log(pod.0, pod.1, container).await;
            result =
                result.and(absent_is_fine(self.containers.remove_container(&container.id).await));
        }
        for id in sandboxes {
            result = result.and(absent_is_fine(self.sandboxes.remove_sandbox(id).await));
        }
        result
    }
}
