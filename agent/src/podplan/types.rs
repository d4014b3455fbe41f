//! The plan of one turn of a pod worker, as plain data.

use std::time::Duration;

use jiff::Timestamp;

use crate::model::{ContainerId, ContainerKind, SandboxId};
use crate::podworker::EndCause;
use crate::prober::ProbeKind;

/// Everything one turn should do. An empty plan means the pod is as it should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodPlan {
    pub sandbox: SandboxStep,
    /// Hooks to be run side by side, before their containers are ended.
    pub pre_stop: Vec<PreStop>,
    /// To be ended side by side.
    pub stop: Vec<StopContainer>,
    /// To be created and started one after the other, in this order.
    pub start: Vec<StartContainer>,
    /// Dead instances nobody needs any more.
    pub remove: Vec<ContainerId>,
    /// Sandboxes that were replaced and hold no container any more.
    pub remove_sandboxes: Vec<SandboxId>,
    /// Containers that do not run, each with what is published about it.
    pub waiting: Vec<HeldBack>,
    /// Why the sandbox cannot be made now, in the words of the node.
    pub network_not_ready: Option<String>,
    /// When to plan again even if nothing happens; `None` means no timer is needed.
    pub next_turn: Option<Timestamp>,
    pub verdict: Verdict,
}

impl PodPlan {
    /// Nothing to carry out. Held-back containers, timers and the verdict do not count as work.
    pub fn is_idle(&self) -> bool {
        matches!(self.sandbox, SandboxStep::Keep)
            && self.pre_stop.is_empty()
            && self.stop.is_empty()
            && self.start.is_empty()
            && self.remove.is_empty()
            && self.remove_sandboxes.is_empty()
    }

    /// Brings the next turn forward to `at`, if it is not sooner already.
    pub(super) fn wake_at(&mut self, at: Timestamp) {
        self.next_turn = Some(self.next_turn.map_or(at, |turn| turn.min(at)));
    }
}

/// What the turn means for the pod's stage of life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    #[default]
    Continue,
    /// The pod is to end, for this cause.
    End(EndCause),
    /// A terminating pod has nothing left that could run.
    Stopped,
}

/// What becomes of the pod's sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SandboxStep {
    /// The sandbox in use stays, or none is needed.
    #[default]
    Keep,
    /// Make a sandbox with this attempt number, after stopping the listed ones.
    Create { attempt: u32, stop_first: Vec<SandboxId> },
    /// Stop these and make none.
    Stop { sandboxes: Vec<SandboxId> },
}

/// Why a container is ended; becomes the text of the `Killing` event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopCause {
    PodTerminating,
    SandboxChanged,
    /// The container's name or image in the spec is another now.
    DefinitionChanged,
    /// The runtime has lost sight of it; it must be dead before its successor starts.
    StateUnknown,
    /// Its pod is in no source any more.
    Orphaned,
    /// This probe has failed as often as it may.
    ProbeFailed(ProbeKind),
    /// Its postStart hook failed.
    PostStartFailed,
}

impl StopCause {
    /// Whether the container is ended to make room for a new instance, which follows even when the
    /// restart policy would not restart it.
    pub fn makes_room(self) -> bool {
        matches!(self, Self::DefinitionChanged | Self::StateUnknown)
    }
}

/// Run the preStop hook of one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreStop {
    pub id: ContainerId,
    pub name: String,
    pub cause: StopCause,
    /// When SIGKILL falls due; the hook gets no longer.
    pub kill_at: Timestamp,
}

/// End one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopContainer {
    pub id: ContainerId,
    pub name: String,
    pub cause: StopCause,
    /// Time between SIGTERM and SIGKILL.
    pub grace: Duration,
}

/// Create and start one container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartContainer {
    pub name: String,
    pub kind: ContainerKind,
    /// Restart count of the new instance: that of the newest one before plus one, 0 for the first.
    pub attempt: u32,
    /// How long its successor has to wait, counted from the end of this instance. Zero for the
    /// first one.
    pub wait_after: Duration,
    /// An instance that was created and never started, as a noded that was killed in between
    /// leaves it. It is started instead of a new one, because its start may be under way.
    pub created: Option<ContainerId>,
    /// The container whose processes an ephemeral one is to see.
    pub target: Option<ContainerId>,
}

/// A container that is not running and will not be started this turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldBack {
    pub name: String,
    /// The published waiting reason, see [`crate::reason`].
    pub reason: &'static str,
    pub message: String,
    pub until: Option<Timestamp>,
}
