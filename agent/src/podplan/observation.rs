//! Everything a plan is made from.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use crate::model::{ContainerId, Pod, RuntimePod};
use crate::podworker::Lifecycle;
use crate::prober::PodProbes;

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
    pub probes: Arc<PodProbes>,
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
    /// Dead instances kept of each container beside a running one, at least 1; `None` keeps all.
    pub kept_dead: Option<u32>,
}

impl Default for PlanRules {
    /// 300 s and one, kubelet v1.36.
    fn default() -> Self {
        Self { restart_cap: crate::backoff::CONTAINER_RULE.cap, kept_dead: Some(1) }
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
    /// Running preStop hooks, with the time the container's SIGKILL falls due.
    pub pre_stop: HashMap<ContainerId, Timestamp>,
    /// Names of containers whose postStart hook runs, or has failed while the container still
    /// runs. To users such a container has not started.
    pub post_start: BTreeSet<String>,
}

impl InFlight {
    pub fn has(&self, slow: Slow) -> bool {
        self.slow.contains(&slow)
    }

    pub fn is_empty(&self) -> bool {
        self.slow.is_empty() && self.stopping.is_empty() && self.pre_stop.is_empty()
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
    /// Containers whose preStop hook has ended, well or not, with the time their SIGKILL falls
    /// due. The hook is not run again.
    pub pre_stopped: HashMap<ContainerId, Timestamp>,
    /// Instances that were ended so that another follows them, whatever the restart policy says
    /// (see [`StopCause::makes_room`](super::StopCause::makes_room)).
    pub replaced: HashSet<ContainerId>,
    /// Running containers whose postStart hook has failed; they are to be ended.
    pub hook_failed: HashSet<ContainerId>,
}

impl Holds {
    /// Until when the step rests; `None` when it may be tried at `now`.
    pub fn rests_until(&self, step: &Step, now: Timestamp) -> Option<Timestamp> {
        self.steps.get(step).copied().filter(|until| *until > now)
    }
}
