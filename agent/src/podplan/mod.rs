//! Pure. What a pod worker should do next.
//!
//! **What**: [`plan_pod`] turns one [`Observation`] into a [`PodPlan`].
//! **Owns**, **Writes**: nothing.
//! **Reads**: the observation only; time is a part of it.
//! **Invariants**: a pod that is as it should be gives an idle plan; no container starts while a
//! namesake may run; a terminating pod starts nothing; what is in flight is not ordered again;
//! a container whose state is unknown counts as running; an init container that has done its work
//! runs again only in a new sandbox; a sidecar outlives the containers it serves.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/kuberuntime/kuberuntime_manager.go`
//! (`computePodActions`), `kuberuntime_termination_order.go`. Unlike it, the crash-loop wait travels with each container as an
//! annotation, so a restart of noded neither forgets nor shortens it.

mod containers;
mod ephemeral;
mod init;
mod look;
mod observation;
mod restart;
mod sandbox;
mod sync;
mod terminate;
mod types;

pub use observation::{Holds, InFlight, Observation, PlanRules, Slow, Step};
pub use restart::{
    RESTART_KEY_ANNOTATION, RESTART_WAIT_ANNOTATION, restarts_after, restarts_failed, runs_again,
};
pub use terminate::MIN_STOP_GRACE;
pub use types::{
    HeldBack, PodPlan, PreStop, SandboxStep, StartContainer, StopCause, StopContainer, Verdict,
};

use crate::podworker::Lifecycle;

#[cfg(test)]
mod tests;

/// The next steps of the pod. Idle for a pod that waits for admission, and for one that has ended:
/// what it leaves behind is cleared by its worker in one go.
pub fn plan_pod(observation: &Observation) -> PodPlan {
    match (&observation.lifecycle, &observation.pod) {
        (Lifecycle::Syncing, Some(pod)) => sync::plan(observation, pod),
        (Lifecycle::Terminating { .. }, _) => terminate::plan(observation),
        _ => PodPlan::default(),
    }
}
