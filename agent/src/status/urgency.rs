//! Pure. How long a changed status may wait for what comes after it.
//!
//! Every write costs the API server and all who watch the pod, and most changes of a pod that
//! comes or goes are followed by the next within a moment.

use std::time::Duration;

use k8s_openapi::api::core::v1 as api;

use super::phase::Phase;
use super::statuses::is_running;

#[cfg(test)]
mod tests;

/// Long enough for a pod whose image is present to come up, short enough for a person who looks.
pub(super) const PROGRESS_PAUSE: Duration = Duration::from_millis(150);

/// What a pod being deleted shows on its way is for its last readers only.
pub(super) const DELETION_PAUSE: Duration = Duration::from_secs(3);

/// Between the end of a deleted pod's containers and its last status lies the end of its sandbox,
/// and nobody waits for what lies between.
const LAST_PAUSE: Duration = Duration::from_secs(5);

/// The longest pause of a pod that comes, when many do.
const LONGEST_PROGRESS_PAUSE: Duration = Duration::from_secs(4);

/// How long the change from `shown` to `wanted` may wait while so many pods of the node are on
/// their way up. Many at once make the server the bottleneck, and everything takes longer.
///
/// | change | pause |
/// |---|---|
/// | the phase becomes terminal | none |
/// | the last container of a deleted pod has ended | 5 s |
/// | Ready turns | none |
/// | any other of a pod being deleted | 3 s |
/// | any other | 150 ms, and as much again for every four pods, up to 4 s |
pub(super) fn pause(
    shown: &api::PodStatus,
    wanted: &api::PodStatus,
    deleting: bool,
    coming: usize,
) -> Duration {
    if is_terminal(wanted) && !is_terminal(shown) {
        Duration::ZERO
    } else if deleting && !any_runs(wanted) {
        LAST_PAUSE
    } else if is_ready(wanted) != is_ready(shown) {
        Duration::ZERO
    } else if deleting {
        DELETION_PAUSE
    } else {
        let share = u32::try_from(coming / 4).unwrap_or(u32::MAX).saturating_add(1);
        PROGRESS_PAUSE.saturating_mul(share).min(LONGEST_PROGRESS_PAUSE)
    }
}

/// Whether the pod is on its way up.
pub(super) fn is_coming(shown: &api::PodStatus) -> bool {
    matches!(shown.phase.as_deref(), None | Some("Pending"))
}

fn is_terminal(status: &api::PodStatus) -> bool {
    status.phase.as_deref().and_then(Phase::parse).is_some_and(Phase::is_terminal)
}

fn is_ready(status: &api::PodStatus) -> bool {
    let mut conditions = status.conditions.iter().flatten();
    conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

fn any_runs(status: &api::PodStatus) -> bool {
    let lists = [&status.container_statuses, &status.init_container_statuses];
    lists.into_iter().flatten().flatten().any(is_running)
}
