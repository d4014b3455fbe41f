//! Pure. The phase of a pod from its container statuses.

use super::statuses::{Statuses, exit_code, is_running, is_waiting, last_exit_code};
use crate::model::{Pod, is_sidecar};
use crate::podplan::restarts_after;

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

/// The phase that the statuses add up to. `ended` says that no container of the pod will ever be
/// started again, so that even a restartable one counts by its exit code. The first line that
/// fits decides:
///
/// | containers | phase |
/// |---|---|
/// | an init container failed and does not restart | Failed |
/// | an init container has not ended yet, or restarts after a failure | Pending |
/// | a sidecar has not started, and no regular container ever ran | Pending |
/// | a regular container or a sidecar waits for its first run, or has no status | Pending |
/// | a regular container or a sidecar runs | Running |
/// | a regular container restarts | Running |
/// | all regular containers ended with exit code 0 | Succeeded |
/// | otherwise | Failed |
///
/// Neither the exit of a sidecar nor an ephemeral container counts.
pub fn phase(pod: &Pod, statuses: &Statuses, ended: bool) -> Phase {
    match init_stage(pod, statuses, ended) {
        InitStage::Failed => return Phase::Failed,
        InitStage::Pending => return Phase::Pending,
        InitStage::Done => {}
    }
    let sidecars = pod.spec().init_containers.iter().flatten().filter(|spec| is_sidecar(spec));
    let mut running = false;
    for spec in sidecars {
        let Some(status) = statuses.init(&spec.name) else { return Phase::Pending };
        let fresh = is_waiting(status) && last_exit_code(status).is_none();
        let starting = is_running(status) && status.started != Some(true);
        if fresh || (starting && !statuses.any_regular_ran()) {
            return Phase::Pending;
        }
        running |= is_running(status);
    }
    let (mut failed, mut restarts) = (false, false);
    for spec in &pod.spec().containers {
        let Some(status) = statuses.regular(&spec.name) else { return Phase::Pending };
        if is_running(status) {
            running = true;
            continue;
        }
        let Some(code) = exit_code(status).or_else(|| last_exit_code(status)) else {
            return Phase::Pending;
        };
        failed |= code != 0;
        restarts |= restarts_after(pod, spec, code);
    }
    match (running, restarts && !ended, failed) {
        (true, _, _) | (false, true, _) => Phase::Running,
        (false, false, true) => Phase::Failed,
        (false, false, false) => Phase::Succeeded,
    }
}

enum InitStage {
    Pending,
    Failed,
    Done,
}

/// How far the init containers that are not sidecars have come.
fn init_stage(pod: &Pod, statuses: &Statuses, ended: bool) -> InitStage {
    let mut pending = false;
    for spec in pod.spec().init_containers.iter().flatten().filter(|spec| !is_sidecar(spec)) {
        let code = statuses
            .init(&spec.name)
            .filter(|status| !is_running(status))
            .and_then(|status| exit_code(status).or_else(|| last_exit_code(status)));
        match code {
            Some(0) => {}
            Some(code) if ended || !restarts_after(pod, spec, code) => return InitStage::Failed,
            _ => pending = true,
        }
    }
    if pending { InitStage::Pending } else { InitStage::Done }
}
