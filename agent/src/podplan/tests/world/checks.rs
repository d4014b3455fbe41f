//! What every plan and every end is checked against.

use jiff::{SignedDuration, Timestamp};

use super::World;
use crate::model::{ContainerId, ContainerKind, container_hash, is_sidecar};
use crate::podplan::look::may_run;
use crate::podplan::{
    MIN_STOP_GRACE, Observation, PodPlan, SandboxStep, StartContainer, runs_again,
};
use crate::podworker::Lifecycle;

impl World {
    pub(super) fn check(&mut self, seen: &Observation, plan: &PodPlan) {
        for start in &plan.start {
            let namesake = self.held.instances(&start.name).find(|c| may_run(c));
            assert!(namesake.is_none(), "{start:?} beside {namesake:?}");
            let newest = self.held.instances(&start.name).map(|c| c.attempt).max();
            assert!(start.created.is_some() || newest.is_none_or(|newest| start.attempt > newest));
        }
        let ending = seen.lifecycle.end_cause().is_some();
        let creates = matches!(plan.sandbox, SandboxStep::Create { .. });
        assert!(!ending || (plan.start.is_empty() && !creates), "{plan:?}");
        for hook in &plan.pre_stop {
            assert!(self.hooks_run.insert(hook.id.clone()), "second run of the hook of {hook:?}");
            self.check_kill(&hook.id, hook.kill_at);
        }
        for stop in &plan.stop {
            // A sidecar that was to end before its pod is not waited for.
            let overdue = self.kills.get(&stop.id).is_some_and(|due| *due <= self.now);
            let due = self.now + SignedDuration::try_from(stop.grace).unwrap();
            self.check_kill(&stop.id, due);
            let deadline = seen.lifecycle.kill_deadline().filter(|due| *due > self.now);
            if let Some(deadline) = deadline.filter(|_| !overdue) {
                self.check_outlives(&stop.name, deadline);
            }
        }
    }

    fn check_kill(&mut self, id: &ContainerId, due: Timestamp) {
        let floor = self.now + SignedDuration::try_from(MIN_STOP_GRACE).unwrap();
        let earlier = self.kills.entry(id.clone()).or_insert(due);
        assert!(due <= (*earlier).max(floor), "{id}: {due} after {earlier}");
        *earlier = due.min(*earlier);
    }

    /// A sidecar is stopped within the grace only when what it serves is dead.
    fn check_outlives(&self, name: &str, deadline: Timestamp) {
        if !self.pod.is_sidecar(name) {
            return;
        }
        let mut behind = self.pod.spec().init_containers.iter().flatten();
        behind.find(|spec| spec.name == name);
        for spec in behind.chain(&self.pod.spec().containers) {
            let served = self.held.instances(&spec.name).find(|c| may_run(c));
            assert!(served.is_none(), "{name} stops at {} of {deadline}, {served:?}", self.now);
        }
    }

    /// What stands before the container has done its work in this sandbox, and it has not itself.
    pub(super) fn check_order(&self, start: &StartContainer) {
        let init = self.pod.spec().init_containers.iter().flatten();
        let before: Vec<&str> = match start.kind {
            ContainerKind::Ephemeral => return,
            ContainerKind::Regular => init.map(|spec| spec.name.as_str()).collect(),
            ContainerKind::Init => {
                let names = init.map(|spec| spec.name.as_str());
                names.take_while(|name| *name != start.name).collect()
            }
        };
        for name in before {
            assert!(self.passed.contains(name), "{start:?} before {name}: {}", self.sketch());
        }
        let again = self.passed.contains(&start.name) && !self.pod.is_sidecar(&start.name);
        assert!(!again, "{start:?} again in this sandbox: {}", self.sketch());
    }

    fn published_exit(&self, name: &str) -> Option<i32> {
        let mut statuses = self.previous.container_statuses.iter().flatten();
        let state = statuses.find(|status| status.name == name)?.state.as_ref()?;
        state.terminated.as_ref().map(|exit| exit.exit_code)
    }

    /// Nothing is left to be done, so everything is as it should be.
    pub(super) fn check_rest(&self) {
        let running = |name: &str| self.held.newest(name).filter(|c| c.is_running());
        if self.lifecycle != Lifecycle::Syncing {
            assert!(matches!(self.lifecycle, Lifecycle::Terminated { .. }), "{:?}", self.lifecycle);
            assert!(self.held.containers.iter().all(|c| !may_run(c)));
            return;
        }
        for (kind, spec) in self.pod.all_containers() {
            let sidecar = kind == ContainerKind::Init && is_sidecar(spec);
            if kind == ContainerKind::Regular || sidecar {
                let hash = Some(container_hash(spec));
                let good = running(&spec.name).is_some_and(|c| c.spec_hash == hash);
                // Of a lost container only the published status tells.
                let exit = self.held.newest(&spec.name).and_then(|c| c.exit()).map(|e| e.code);
                let exit = exit.or_else(|| self.published_exit(&spec.name));
                let done = !runs_again(&self.pod, kind, spec, exit.unwrap_or(137));
                assert!(good || done, "{} is not as it should be: {}", spec.name, self.sketch());
            }
        }
    }
}
