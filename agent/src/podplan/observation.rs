//! Everything a plan is made from.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use crate::model::{ContainerId, Pod, RuntimePod};
use crate::podworker::Lifecycle;

use super::HeldBack;

/// One look at a pod. `runtime` is not older than the worker's last effect.
#[derive(Clone, Debug)]
pub struct Observation {
    /// `None` for a pod that only the runtime knows; such a pod can only be ended.
    pub pod: Option<Pod>,
    pub lifecycle: Lifecycle,
    pub runtime: Arc<RuntimePod>,
    /// The status published last, or the API copy after a restart of noded.
    pub previous: Arc<api::PodStatus>,
    pub in_flight: InFlight,
    pub holds: Holds,
    /// What the node says when pod networking is down; `None` while it works.
    pub network_not_ready: Option<String>,
    pub rules: PlanRules,
    pub now: Timestamp,
}

/// The parts of the configuration that plans depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlanRules {
    /// Longest wait before a restart, `crashLoopBackOff.maxContainerRestartPeriod`.
    pub restart_cap: Duration,
}

impl Default for PlanRules {
    /// 300 s, kubelet v1.36.
    fn default() -> Self {
        Self { restart_cap: crate::backoff::CONTAINER_RULE.cap }
    }
}

/// Work of the pod's worker that is not a container stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slow {
    /// Making the sandbox and starting containers.
    BringUp,
    StopSandbox,
    /// Removing dead containers and sandboxes.
    Removal,
    /// Releasing what the pod held on the node.
    Clearing,
}

/// What is being carried out at this moment and must not be started again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InFlight {
    pub slow: BTreeSet<Slow>,
    /// Running stops, with the time their SIGKILL falls due.
    pub stopping: HashMap<ContainerId, Timestamp>,
}

impl InFlight {
    pub fn has(&self, slow: Slow) -> bool {
        self.slow.contains(&slow)
    }

    pub fn is_empty(&self) -> bool {
        self.slow.is_empty() && self.stopping.is_empty()
    }
}

/// A step that failed and is not tried again before its time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    Sandbox,
    Volumes,
    StopSandbox,
    Stop(ContainerId),
    Removal,
    Clearing,
}

/// Failures that have not been made good yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holds {
    pub steps: HashMap<Step, Timestamp>,
    /// By container name: why it could not be started. Kept after `until`, so that the reason
    /// stays published until a start succeeds.
    pub starts: HashMap<String, HeldBack>,
}

impl Holds {
    /// Until when the step rests; `None` when it may be tried at `now`.
    pub fn rests_until(&self, step: &Step, now: Timestamp) -> Option<Timestamp> {
        self.steps.get(step).copied().filter(|until| *until > now)
    }
}
