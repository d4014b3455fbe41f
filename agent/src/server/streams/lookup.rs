//! Which container or sandbox a request means.

use super::Streams;
use super::error::StreamError;
use crate::boundary::ListedState;
use crate::model::{ContainerId, Pod, SandboxId, SandboxState};
use crate::server::route::Call;

impl Streams {
    /// The pod of the path. A UID of another pod finds none, so that nobody runs a command in a
    /// successor of the pod that was meant.
    pub(super) fn pod(&self, call: &Call) -> Result<Pod, StreamError> {
        let path = &call.path;
        let pod = self.parts.pods.find(path.get("namespace"), path.get("pod"), path.get("uid"));
        pod.ok_or(StreamError::NoPod)
    }

    /// The same, where the kubelet tells a wrong UID from a wrong name.
    pub(super) fn named_pod(&self, call: &Call) -> Result<Pod, StreamError> {
        let path = &call.path;
        self.pod(call).map_err(|error| {
            match self.parts.pods.find(path.get("namespace"), path.get("pod"), "") {
                Some(_) => StreamError::OtherPod,
                None => error,
            }
        })
    }

    /// The running container of that name, from the runtime itself: what was last seen may be a
    /// moment behind a caller that just saw it start.
    pub(super) async fn running(
        &self,
        pod: &Pod,
        name: &str,
    ) -> Result<Option<ContainerId>, StreamError> {
        let listed = self.parts.containers.list_containers(Some(pod.uid())).await?;
        let running = listed
            .into_iter()
            .filter(|container| container.name == name && container.state == ListedState::Running);
        Ok(running.max_by_key(|container| container.attempt).map(|container| container.id))
    }

    /// The newest sandbox of the pod that lives.
    pub(super) async fn live_sandbox(&self, pod: &Pod) -> Result<SandboxId, StreamError> {
        let listed = self.parts.sandboxes.list_sandboxes(Some(pod.uid())).await?;
        let live = listed.into_iter().filter(|sandbox| sandbox.state == SandboxState::Ready);
        let newest = live.max_by_key(|sandbox| sandbox.created_at);
        let missing = || StreamError::NoSandbox(full_name(pod));
        newest.map(|sandbox| sandbox.id).ok_or_else(missing)
    }
}

/// The pod as the kubelet's messages name it.
pub(super) fn full_name(pod: &Pod) -> String {
    format!("{}_{}", pod.name(), pod.namespace())
}
