//! Pure. Whether and when a container runs again.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as api;

use crate::backoff::CONTAINER_RULE;
use crate::model::{Container, ContainerKind, Exit, Pod, back_off_key, container_hash, is_sidecar};

#[cfg(test)]
mod tests;

/// Annotation of a container in the runtime: seconds its successor has to wait, counted from the
/// end of this instance.
pub const RESTART_WAIT_ANNOTATION: &str = "io.noded.container.restartWaitSeconds";

/// Annotation of a container in the runtime: hash of the image and the resources it was made with.
/// A successor with others does not wait for its predecessor's failures.
pub const RESTART_KEY_ANNOTATION: &str = "io.noded.container.restartKey";

/// When the next instance may start, and what wait that one hands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NextRun {
    pub not_before: Timestamp,
    /// The wait that `not_before` comes from.
    pub wait: Duration,
    /// The wait that follows the end of the next instance.
    pub wait_after: Duration,
}

/// Whether a container that ended with `exit_code` runs again.
///
/// | kind | runs again |
/// |---|---|
/// | regular | by rules and policies, see [`restarts_after`] |
/// | sidecar | always |
/// | init | by rules and policies after a failure, never after code 0 |
/// | ephemeral | never |
pub fn runs_again(pod: &Pod, kind: ContainerKind, spec: &api::Container, exit_code: i32) -> bool {
    match kind {
        ContainerKind::Regular => restarts_after(pod, spec, exit_code),
        ContainerKind::Init if is_sidecar(spec) => true,
        ContainerKind::Init => exit_code != 0 && restarts_after(pod, spec, exit_code),
        ContainerKind::Ephemeral => false,
    }
}

/// Whether a container of the pod runs again after ending with `exit_code`: the first rule of
/// `restartPolicyRules` that names the code decides, then the container's own policy, then the
/// pod's.
///
/// | policy | code 0 | other code |
/// |---|---|---|
/// | Always | yes | yes |
/// | OnFailure | no | yes |
/// | Never | no | no |
pub fn restarts_after(pod: &Pod, container: &api::Container, exit_code: i32) -> bool {
    let rules = container.restart_policy_rules.iter().flatten();
    let ruled = rules.filter_map(|rule| rule.exit_codes.as_ref()).any(|codes| {
        let listed = codes.values.iter().flatten().any(|code| *code == exit_code);
        match codes.operator.as_str() {
            "In" => listed,
            "NotIn" => !listed,
            _ => false,
        }
    });
    if ruled {
        return true;
    }
    match container.restart_policy.as_deref().unwrap_or(pod.restart_policy()) {
        "Never" => false,
        "OnFailure" => exit_code != 0,
        _ => true,
    }
}

/// Whether a container that had to be ended because a probe failed runs again, whatever code it
/// then ended with (kubelet v1.36, `shouldRestartOnFailure`).
pub fn restarts_failed(pod: &Pod, container: &api::Container) -> bool {
    container.restart_policy.as_deref().unwrap_or(pod.restart_policy()) != "Never"
}

/// When the successor of `dead` may start. The first restart is immediate, then the wait is 10 s,
/// doubling up to `cap`; it starts anew when image or resources changed, or the instance ran for
/// longer than 600 s (kubelet v1.36, counted from the end of the run).
pub(super) fn next_run(
    spec: &api::Container,
    dead: &Container,
    exit: &Exit,
    cap: Duration,
) -> NextRun {
    let wait = if is_forgotten(spec, dead, exit) { Duration::ZERO } else { handed_on(dead) };
    let wait = wait.min(cap);
    let pause = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    NextRun {
        not_before: exit.finished_at.saturating_add(pause).unwrap_or(Timestamp::MAX),
        wait,
        wait_after: grown(wait, cap),
    }
}

/// The wait that this instance hands to its successor; zero when it carries none.
pub(super) fn handed_on(container: &Container) -> Duration {
    let text = container.annotations.get(RESTART_WAIT_ANNOTATION);
    Duration::from_secs(text.and_then(|text| text.parse().ok()).unwrap_or(0))
}

fn grown(wait: Duration, cap: Duration) -> Duration {
    if wait.is_zero() { CONTAINER_RULE.first.min(cap) } else { (wait * 2).min(cap) }
}

fn is_forgotten(spec: &api::Container, dead: &Container, exit: &Exit) -> bool {
    let key = dead.annotations.get(RESTART_KEY_ANNOTATION);
    let redefined = dead.spec_hash.as_ref().is_some_and(|hash| *hash != container_hash(spec))
        || key.is_some_and(|key| *key != back_off_key(spec));
    let ran = exit.finished_at.duration_since(dead.created_at);
    redefined || Duration::try_from(ran).is_ok_and(|ran| ran > CONTAINER_RULE.forget_after)
}

/// The published text of a crash-loop wait.
pub(super) fn back_off_message(pod: &Pod, container: &str, wait: Duration) -> String {
    format!(
        "back-off {} restarting failed container={container} pod={}_{}({})",
        duration_text(wait),
        pod.name(),
        pod.namespace(),
        pod.uid()
    )
}

/// Whole seconds as Go prints a duration: `10s`, `1m20s`, `5m0s`.
fn duration_text(wait: Duration) -> String {
    let seconds = wait.as_secs();
    match seconds / 60 {
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}
