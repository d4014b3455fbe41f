//! What workers share, and what others see of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{broadcast, watch};

use super::{AdmissionParts, Lifecycle};
use crate::events::EventsHandle;
use crate::metrics::{ContainerMetrics, PodMetrics};
use crate::model::{Pod, PodFullName, PodUid};
use crate::node::NodeView;
use crate::pleg::PlegHandle;
use crate::podexec::Executor;
use crate::podplan::PlanRules;
use crate::prober::ProbeContext;
use crate::status::{Readiness, StatusHandle};

/// Reads the wall clock. Timers use Tokio's.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all workers share.
pub struct WorkerContext {
    pub executor: Executor,
    pub prober: Arc<ProbeContext>,
    pub pleg: PlegHandle,
    pub status: StatusHandle,
    pub readiness: Readiness,
    pub events: EventsHandle,
    pub node: watch::Receiver<NodeView>,
    /// Pods one of whose ConfigMaps or Secrets has changed.
    pub object_changes: broadcast::Sender<PodUid>,
    pub rules: PlanRules,
    pub admission: AdmissionParts,
    /// Safety tick of a worker, `syncFrequency`.
    pub sync_period: Duration,
    pub clock: WallClock,
    pub metrics: WorkMetrics,
}

/// What work on pods is counted in.
#[derive(Clone, Default)]
pub struct WorkMetrics {
    pub pods: PodMetrics,
    pub containers: ContainerMetrics,
}

/// One worker as others see it.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerState {
    pub full_name: PodFullName,
    /// `None` for a pod that only the runtime knows.
    pub pod: Option<Pod>,
    pub lifecycle: Lifecycle,
}

/// All workers by pod. A pod that is not in here has nothing on this node that is cared for.
pub type WorkerStates = HashMap<PodUid, WorkerState>;
