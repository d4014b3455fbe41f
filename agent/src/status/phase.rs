//! Pure. The phase of a pod from its container statuses.

use k8s_openapi::api::core::v1 as api;

use crate::model::Pod;

#[cfg(test)]
mod tests;

/// The published phases noded produces; `Unknown` is only ever written by others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Pending,
    Running,
    Succeeded,
    Failed,
}

impl Phase {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Running => "Running",
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
        }
    }

    /// The phase of that name; `None` for an empty or foreign one.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Running, Self::Succeeded, Self::Failed]
            .into_iter()
            .find(|phase| phase.as_str() == text)
    }

    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// The phase that the regular containers' statuses add up to. `ended` says that no container of
/// the pod will ever be started again, so that even a restartable one counts by its exit code.
///
/// | containers | phase |
/// |---|---|
/// | one waits and never ran | Pending |
/// | one runs | Running |
/// | all stopped, one restarts | Running |
/// | all stopped with exit code 0 | Succeeded |
/// | all stopped otherwise | Failed |
pub fn phase(pod: &Pod, statuses: &[api::ContainerStatus], ended: bool) -> Phase {
    let mut running = false;
    let mut failed = false;
    let mut restarts = false;
    let policy = pod.restart_policy();
    for container in &pod.spec().containers {
        let status = statuses.iter().find(|status| status.name == container.name);
        let state = status.and_then(|status| status.state.as_ref());
        if state.is_some_and(|state| state.running.is_some()) {
            running = true;
            continue;
        }
        let last = status.and_then(|status| status.last_state.as_ref());
        let exit = state
            .and_then(|state| state.terminated.as_ref())
            .or_else(|| last.and_then(|last| last.terminated.as_ref()));
        let Some(exit) = exit else { return Phase::Pending };
        let clean = exit.exit_code == 0;
        failed |= !clean;
        restarts |= policy == "Always" || (policy == "OnFailure" && !clean);
    }
    match (running, restarts && !ended, failed) {
        (true, _, _) | (false, true, _) => Phase::Running,
        (false, false, true) => Phase::Failed,
        (false, false, false) => Phase::Succeeded,
    }
}
