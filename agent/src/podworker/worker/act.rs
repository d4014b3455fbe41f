//! Carrying a plan out: each step becomes a child task.

use std::sync::Arc;

use super::Worker;
use crate::podexec::{BringUp, ClearScope, SandboxUse, stop_event};
use crate::podplan::{Observation, PodPlan, SandboxStep, StartContainer, Step};
use crate::podworker::Lifecycle;

impl Worker {
    pub(super) fn carry_out(&mut self, plan: PodPlan, observation: &Observation) {
        for stop in &plan.stop {
            if let Some(pod) = self.pod() {
                self.context.events.publish(stop_event(pod, stop, observation.now));
            }
            self.operations.stop(stop, observation.now);
        }
        let sandbox = match plan.sandbox {
            SandboxStep::Stop { sandboxes } => return self.operations.stop_sandboxes(sandboxes),
            SandboxStep::Create { attempt, stop_first } => {
                Some(SandboxUse::Make { attempt, stop_first })
            }
            SandboxStep::Keep if plan.start.is_empty() => None,
            SandboxStep::Keep => {
                observation.runtime.newest_sandbox().cloned().map(SandboxUse::Existing)
            }
        };
        if let Some(sandbox) = sandbox {
            self.bring_up(sandbox, plan.start);
        }
        if !plan.remove.is_empty() || !plan.remove_sandboxes.is_empty() {
            let held = &observation.runtime;
            let dead = held.containers.iter().filter(|c| plan.remove.contains(&c.id));
            let dead = dead.cloned().collect();
            self.operations.remove(Arc::clone(held), dead, plan.remove_sandboxes);
        }
    }

    pub(super) fn bring_up(&mut self, sandbox: SandboxUse, start: Vec<StartContainer>) {
        let Some(pod) = self.wish.pod.clone() else { return };
        self.last_start = start.last().map(|start| start.name.clone());
        self.operations.bring_up(BringUp { pod, sandbox, start, seen: self.seen });
    }

    pub(super) fn clear_scope(&self) -> ClearScope {
        match self.wish.demand.leaves_nothing() {
            true => ClearScope::Everything,
            false => ClearScope::KeepDead,
        }
    }

    /// Clears what an ended pod holds, once its final status is on its way.
    pub(super) fn clear(&mut self, observation: &Observation) {
        let scope = self.clear_scope();
        let wanted = match self.lifecycle {
            Lifecycle::Terminated { .. } => true,
            Lifecycle::Finished { .. } => {
                scope == ClearScope::Everything
                    && (self.cleared != Some(scope) || !observation.runtime.is_empty())
            }
            _ => false,
        };
        if wanted && self.holds.rests_until(&Step::Clearing, observation.now).is_none() {
            self.operations.clear(Arc::clone(&observation.runtime), scope);
        }
    }

    /// Takes a clearing that succeeded into account; whether the stage moved on.
    pub(super) async fn finish_clearing(&mut self) -> bool {
        let moved =
            self.cleared.is_some() && matches!(self.lifecycle, Lifecycle::Terminated { .. });
        if moved {
            self.move_to(Lifecycle::cleared).await;
        }
        moved
    }
}
