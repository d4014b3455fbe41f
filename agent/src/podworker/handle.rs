//! What workers share, and what others see of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::watch;

use super::Lifecycle;
use crate::events::EventsHandle;
use crate::model::{Pod, PodFullName, PodUid};
use crate::node::NodeView;
use crate::pleg::PlegHandle;
use crate::podexec::Executor;
use crate::podplan::PlanRules;
use crate::status::StatusHandle;

/// Reads the wall clock. Timers use Tokio's.
pub type WallClock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What all workers share.
pub struct WorkerContext {
    pub executor: Executor,
    pub pleg: PlegHandle,
    pub status: StatusHandle,
    pub events: EventsHandle,
    pub node: watch::Receiver<NodeView>,
    pub rules: PlanRules,
    /// Safety tick of a worker, `syncFrequency`.
    pub sync_period: Duration,
    pub clock: WallClock,
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
