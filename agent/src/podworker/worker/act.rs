//! Carrying a plan out: each step becomes a child task.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Objects, Worker};
use crate::boundary::ApiEvent;
use crate::model::{ContainerId, Pod, RuntimePod};
use crate::podexec::labels::container_record;
use crate::podexec::{BringUp, ClearScope, SandboxUse, pre_stop_event, stop_event};
use crate::podplan::{Observation, PodPlan, PreStop, SandboxStep, Slow, StartContainer, Step};
use crate::podworker::Lifecycle;
use crate::podworker::operations::PreStopWork;

impl Worker {
    pub(super) fn carry_out(&mut self, plan: PodPlan, observation: &Observation) {
        let hooks = plan.pre_stop.iter().map(|hook| (hook.cause, &hook.id));
        let ended = plan.stop.iter().map(|stop| (stop.cause, &stop.id)).chain(hooks);
        let replaced = ended.filter(|(cause, _)| cause.makes_room()).map(|(_, id)| id.clone());
        self.holds.replaced.extend(replaced);
        self.end_containers(&plan, observation);
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

    /// Hooks and stops, each with the event of its end, which is told once.
    fn end_containers(&mut self, plan: &PodPlan, observation: &Observation) {
        let now = observation.now;
        if let Some(deadline) = observation.lifecycle.kill_deadline() {
            self.operations.shorten_hooks(deadline, now);
        }
        for hook in &plan.pre_stop {
            self.announce_kill(&hook.id, |pod| pre_stop_event(pod, hook, now));
            let work = self.pre_stop_work(hook, observation);
            self.operations.pre_stop(work, now);
        }
        for stop in &plan.stop {
            self.announce_kill(&stop.id, |pod| stop_event(pod, stop, now));
            self.operations.stop(stop, now);
        }
    }

    fn announce_kill(&mut self, id: &ContainerId, event: impl FnOnce(&Pod) -> ApiEvent) {
        if self.announced.kills.insert(id.clone())
            && let Some(pod) = self.pod()
        {
            self.context.events.publish(event(pod));
        }
    }

    /// The hook as the pod's spec has it, or as the container's annotations do when the spec is
    /// gone.
    fn pre_stop_work(&self, step: &PreStop, observation: &Observation) -> PreStopWork {
        let runtime = &observation.runtime;
        let container = runtime.containers.iter().find(|container| container.id == step.id);
        let sandbox = container.and_then(|container| {
            runtime.sandboxes.iter().find(|sandbox| sandbox.id == container.sandbox)
        });
        let ip = match sandbox {
            Some(sandbox) if sandbox.host_network => self.host_ip(),
            Some(sandbox) => sandbox.ips.first().copied(),
            None => None,
        };
        let spec = self.pod().and_then(|pod| pod.container(&step.name));
        let (handler, ports) = match spec {
            Some((_, spec)) => {
                let hooks = spec.lifecycle.as_ref();
                let handler = hooks.and_then(|hooks| hooks.pre_stop.clone());
                (handler, spec.ports.clone().unwrap_or_default())
            }
            None => {
                let known = container.map(|container| container_record(&container.annotations));
                let known = known.unwrap_or_default();
                (known.pre_stop, known.ports)
            }
        };
        let pod = (self.full_name.clone(), self.uid.clone());
        PreStopWork { step: step.clone(), handler, pod, ports, ip }
    }

    fn host_ip(&self) -> Option<IpAddr> {
        self.context.node.borrow().ips.first().copied()
    }

    /// Drops what is remembered of containers that have ended, and lets go of their hooks.
    pub(super) fn forget_ended(&mut self, runtime: &RuntimePod) {
        let may_run = |id: &ContainerId| {
            let container = runtime.containers.iter().find(|container| container.id == *id);
            container.is_some_and(|container| container.exit().is_none())
        };
        self.announced.kills.retain(&may_run);
        self.holds.pre_stopped.retain(|id, _| may_run(id));
        self.holds.hook_failed.retain(&may_run);
        self.operations.leave_hooks(may_run);
        if !self.operations.in_flight().has(Slow::BringUp) {
            let failed = &self.holds.hook_failed;
            let failed = runtime.containers.iter().filter(|c| failed.contains(&c.id));
            self.operations.clear_post_start(&failed.map(|c| c.name.as_str()).collect());
        }
    }

    pub(super) fn bring_up(&mut self, sandbox: SandboxUse, start: Vec<StartContainer>) {
        let Some(pod) = self.wish.pod.clone() else { return };
        self.objects = Objects::Same;
        self.last_start = start.last().map(|start| start.name.clone());
        let host_ip = self.host_ip();
        self.operations.bring_up(BringUp { pod, sandbox, start, seen: self.seen, host_ip });
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
