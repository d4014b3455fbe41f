//! A pod, its worker and its runtime in miniature: plans are carried out at once, and every plan
//! is checked against what really happened.

mod checks;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as api;

use crate::model::{
    Container, ContainerId, ContainerKind, ContainerState, Exit, Pod, RuntimePod, SandboxState,
    is_sidecar,
};
use crate::podplan::look::may_run;
use crate::podplan::{
    HeldBack, Holds, InFlight, Observation, PlanRules, PodPlan, SandboxStep, StartContainer,
    Verdict, plan_pod,
};
use crate::podworker::{EndCause, Lifecycle};
use crate::prober::{ContainerProbes, PodProbes, ProbeResult};
use crate::reason;
use crate::status::{self, StatusInput};
use crate::testing::build::{PodBuilder, at, runtime};

/// Something that befalls the pod. A number picks one of its containers.
#[derive(Clone, Copy, Debug)]
pub enum Blow {
    Exit(usize, i32),
    LoseSight(usize),
    StartupProbe(usize, bool),
    LivenessFails(usize),
    HooksEnd,
    PostStartFails,
    NewImage(usize),
    Stubborn(usize),
    KillSandbox,
    ForgetDead,
    Wipe,
    KillAgent,
    /// The agent is killed between creating and starting the next container.
    KillAgentInStart,
    FailStarts(u8),
    Delete(u64),
    Pass(i64),
}

pub struct World {
    builder: PodBuilder,
    pub pod: Pod,
    pub held: RuntimePod,
    pub lifecycle: Lifecycle,
    previous: api::PodStatus,
    in_flight: InFlight,
    holds: Holds,
    probes: HashMap<String, ContainerProbes>,
    now: Timestamp,
    made: u32,
    /// Names of containers that end on SIGKILL only.
    stubborn: BTreeSet<String>,
    failing_starts: u8,
    cut_next_start: bool,
    /// Init containers that did their work in the newest sandbox, and sidecars that started there.
    passed: BTreeSet<String>,
    /// The earliest SIGKILL that this agent has planned.
    kills: BTreeMap<ContainerId, Timestamp>,
    hooks_run: BTreeSet<ContainerId>,
}

impl World {
    pub fn new(builder: PodBuilder) -> Self {
        let pod = builder.clone().build();
        Self {
            held: RuntimePod::empty(pod.uid().clone(), pod.full_name().clone()),
            builder,
            pod,
            lifecycle: Lifecycle::Syncing,
            previous: api::PodStatus::default(),
            in_flight: InFlight::default(),
            holds: Holds::default(),
            probes: HashMap::new(),
            now: at(1000),
            made: 0,
            stubborn: BTreeSet::new(),
            failing_starts: 0,
            cut_next_start: false,
            passed: BTreeSet::new(),
            kills: BTreeMap::new(),
            hooks_run: BTreeSet::new(),
        }
    }

    fn pass(&mut self, time: SignedDuration) {
        self.now += time;
        let due: Vec<ContainerId> = self
            .in_flight
            .stopping
            .iter()
            .filter(|(_, due)| **due <= self.now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            self.end(&id, 137);
        }
    }

    /// The container's process ends. What the worker has under way for it ends too.
    fn end(&mut self, id: &ContainerId, code: i32) {
        self.in_flight.stopping.remove(id);
        if let Some(due) = self.in_flight.pre_stop.remove(id) {
            self.holds.pre_stopped.insert(id.clone(), due);
        }
        let now = self.now;
        let newest_sandbox = self.held.sandboxes.first().map(|sandbox| sandbox.id.clone());
        let Some(container) = self.held.containers.iter_mut().find(|c| c.id == *id) else { return };
        if !may_run(container) {
            return;
        }
        let name = container.name.clone();
        let here = newest_sandbox.as_ref() == Some(&container.sandbox);
        container.state = ContainerState::Exited(Exit {
            started_at: Some(container.created_at),
            finished_at: now,
            code,
            reason: String::new(),
            message: String::new(),
        });
        self.in_flight.post_start.remove(&name);
        self.holds.hook_failed.remove(id);
        self.probes.remove(&name);
        let init = self.pod.container(&name).filter(|(kind, _)| *kind == ContainerKind::Init);
        // One that was ended for a new image has that to run yet.
        let worked = here && code == 0 && !self.holds.replaced.contains(id);
        if worked && init.is_some_and(|(_, spec)| !is_sidecar(spec)) {
            self.passed.insert(name);
        }
    }

    fn running_named(&self, pick: usize) -> Option<Container> {
        let (_, spec) = self.pod.all_containers().nth(pick)?;
        self.held.newest(&spec.name).filter(|c| c.is_running()).cloned()
    }

    pub fn strike(&mut self, blow: Blow) {
        self.pass(SignedDuration::from_secs(1));
        match blow {
            Blow::Exit(pick, code) => {
                if let Some(container) = self.running_named(pick) {
                    self.end(&container.id, code);
                }
            }
            Blow::LoseSight(pick) => {
                if let Some(container) = self.running_named(pick) {
                    let mut containers = self.held.containers.iter_mut();
                    let found = containers.find(|c| c.id == container.id).unwrap();
                    found.state = ContainerState::Unknown;
                }
            }
            Blow::StartupProbe(pick, good) => self.startup_probe(pick, good),
            Blow::LivenessFails(pick) => {
                if let Some(container) = self.running_named(pick) {
                    self.probe(&container).liveness = Some(ProbeResult::Failure);
                }
            }
            Blow::HooksEnd => self.end_hooks(),
            Blow::PostStartFails => {
                let held = &self.held;
                let names = self.in_flight.post_start.iter();
                let failed = names.filter_map(|name| held.newest(name)).map(|c| c.id.clone());
                self.holds.hook_failed.extend(failed);
            }
            Blow::NewImage(pick) => self.new_image(pick),
            Blow::Stubborn(pick) => {
                let name = self.pod.all_containers().nth(pick).map(|(_, spec)| spec.name.clone());
                self.stubborn.extend(name);
            }
            Blow::KillSandbox => self.kill_sandboxes(),
            Blow::ForgetDead => {
                // What nobody has seen cannot be known.
                self.turn();
                self.held.containers.retain(may_run);
            }
            Blow::Wipe => {
                self.kill_sandboxes();
                self.held.containers.clear();
                self.held.sandboxes.clear();
            }
            Blow::KillAgent => self.kill_agent(),
            Blow::KillAgentInStart => self.cut_next_start = true,
            Blow::FailStarts(count) => self.failing_starts = count,
            Blow::Delete(grace) => {
                let grace = std::time::Duration::from_secs(grace);
                let stage = self.lifecycle.clone();
                self.lifecycle = stage.terminate(EndCause::Deleted, grace, self.now);
            }
            Blow::Pass(seconds) => self.pass(SignedDuration::from_secs(seconds)),
        }
    }

    fn probe(&mut self, container: &Container) -> &mut ContainerProbes {
        let spec = self.pod.container(&container.name).map(|(_, spec)| spec.clone()).unwrap();
        let fresh = ContainerProbes {
            id: container.id.clone(),
            startup: spec.startup_probe.map(|_| ProbeResult::Unknown),
            readiness: None,
            liveness: None,
        };
        let known = self.probes.entry(container.name.clone()).or_insert_with(|| fresh.clone());
        if known.id != container.id {
            *known = fresh;
        }
        known
    }

    fn startup_probe(&mut self, pick: usize, good: bool) {
        let Some(container) = self.running_named(pick) else { return };
        let result = if good { ProbeResult::Success } else { ProbeResult::Failure };
        let probes = self.probe(&container);
        probes.startup = probes.startup.map(|_| result);
        self.note_started();
    }

    fn end_hooks(&mut self) {
        let failed = |name: &String| {
            let newest = self.held.newest(name);
            newest.is_some_and(|container| self.holds.hook_failed.contains(&container.id))
        };
        self.in_flight.post_start.retain(failed);
        for (id, due) in std::mem::take(&mut self.in_flight.pre_stop) {
            self.holds.pre_stopped.insert(id, due);
        }
        self.note_started();
    }

    fn new_image(&mut self, pick: usize) {
        let Some((kind, spec)) = self.pod.all_containers().nth(pick) else { return };
        if kind == ContainerKind::Ephemeral {
            return;
        }
        let name = spec.name.clone();
        let image = format!("other-{}", self.made);
        self.builder = self.builder.clone().changed(&name, |spec| spec.image = Some(image));
        self.pod = self.builder.clone().build();
        self.holds.starts.clear();
    }

    fn kill_sandboxes(&mut self) {
        for sandbox in &mut self.held.sandboxes {
            sandbox.state = SandboxState::NotReady;
        }
        let alive: Vec<_> = self.held.containers.iter().filter(|c| may_run(c)).collect();
        let alive: Vec<ContainerId> = alive.into_iter().map(|c| c.id.clone()).collect();
        for id in alive {
            self.end(&id, 137);
        }
        self.passed.clear();
    }

    fn kill_agent(&mut self) {
        self.in_flight = InFlight::default();
        self.holds = Holds::default();
        self.probes.clear();
        self.hooks_run.clear();
        self.kills.clear();
        if let Lifecycle::Terminating { cause: EndCause::Completed, .. } = self.lifecycle {
            self.lifecycle = Lifecycle::Syncing;
        }
    }

    fn observe(&mut self) -> Observation {
        let running: Vec<_> = self.held.containers.iter().filter(|c| c.is_running()).collect();
        let running: Vec<Container> = running.into_iter().cloned().collect();
        for container in &running {
            if self.pod.container(&container.name).is_some() {
                self.probe(container);
            }
        }
        self.note_started();
        Observation {
            pod: Some(self.pod.clone()),
            lifecycle: self.lifecycle.clone(),
            runtime: Arc::new(self.held.clone()),
            previous: Arc::new(self.previous.clone()),
            in_flight: self.in_flight.clone(),
            holds: self.holds.clone(),
            probes: Arc::new(PodProbes(self.probes.clone())),
            network_not_ready: None,
            rules: PlanRules::default(),
            now: self.now,
        }
    }

    /// Notes which sidecars have started in the newest sandbox.
    fn note_started(&mut self) {
        let probes = PodProbes(self.probes.clone());
        let Some(sandbox) = self.held.sandboxes.first().map(|sandbox| sandbox.id.clone()) else {
            return;
        };
        let started = self.held.containers.iter().filter(|container| {
            container.sandbox == sandbox
                && self.pod.is_sidecar(&container.name)
                && probes.of(container).is_some()
                && probes.has_started(container)
                && !self.in_flight.post_start.contains(&container.name)
        });
        self.passed.extend(started.map(|container| container.name.clone()));
    }

    /// What the runtime holds, newest first, one line for each.
    fn sketch(&self) -> String {
        let sandboxes = self.held.sandboxes.iter().map(|s| format!("{} {:?}", s.id, s.state));
        let containers = self.held.containers.iter().map(|container| {
            let state = match &container.state {
                ContainerState::Exited(exit) => format!("exited {}", exit.code),
                other => format!("{other:?}"),
            };
            format!("{} {state}", container.id)
        });
        sandboxes.chain(containers).collect::<Vec<_>>().join("\n")
    }

    /// Plans once, checks the plan and carries it out.
    pub fn turn(&mut self) -> PodPlan {
        let seen = self.observe();
        let mut plan = plan_pod(&seen);
        self.check(&seen, &plan);
        match std::mem::take(&mut plan.verdict) {
            Verdict::Continue => {}
            Verdict::End(cause) => {
                let grace = std::time::Duration::from_secs(self.pod.grace_seconds());
                self.lifecycle = self.lifecycle.clone().terminate(cause, grace, self.now);
                return self.turn();
            }
            Verdict::Stopped => {
                let may = self.held.containers.iter().find(|c| may_run(c));
                assert!(may.is_none(), "stopped for good beside {may:?}");
                self.lifecycle = self.lifecycle.clone().stopped();
                return self.turn();
            }
        }
        self.publish(&seen, &plan);
        self.carry_out(&plan);
        plan
    }

    fn publish(&mut self, seen: &Observation, plan: &PodPlan) {
        let status = status::generate(&StatusInput {
            pod: &self.pod,
            seen,
            waiting: &plan.waiting,
            trouble: None,
            host_ips: &[],
        });
        let terminal = |status: &api::PodStatus| {
            status.phase.clone().filter(|phase| phase == "Succeeded" || phase == "Failed")
        };
        if let Some(phase) = terminal(&self.previous) {
            assert_eq!(terminal(&status), Some(phase), "a terminal phase never changes");
        }
        if terminal(&status).is_some() {
            let may = self.held.containers.iter().find(|c| may_run(c));
            assert!(may.is_none(), "terminal beside {may:?}");
        }
        self.previous = status;
    }

    fn carry_out(&mut self, plan: &PodPlan) {
        for hook in &plan.pre_stop {
            if hook.cause.makes_room() {
                self.holds.replaced.insert(hook.id.clone());
            }
            self.in_flight.pre_stop.insert(hook.id.clone(), hook.kill_at);
        }
        for stop in &plan.stop {
            if stop.cause.makes_room() {
                self.holds.replaced.insert(stop.id.clone());
            }
            let due = self.now + SignedDuration::try_from(stop.grace).unwrap();
            if self.stubborn.contains(&stop.name) {
                self.in_flight.stopping.insert(stop.id.clone(), due);
            } else {
                self.end(&stop.id.clone(), 143);
            }
        }
        match &plan.sandbox {
            SandboxStep::Keep => {}
            SandboxStep::Stop { .. } => self.kill_sandboxes(),
            SandboxStep::Create { attempt, .. } => {
                self.kill_sandboxes();
                let now = self.now;
                let made = runtime(&self.pod).sandbox_with(*attempt, |s| s.created_at = now);
                self.held.sandboxes.insert(0, made.build().sandboxes.remove(0));
            }
        }
        for start in &plan.start {
            if !self.start(start) && start.kind == ContainerKind::Init {
                break;
            }
        }
        let remove: BTreeSet<_> = plan.remove.iter().collect();
        self.held.containers.retain(|container| !remove.contains(&container.id));
        self.held.sandboxes.retain(|sandbox| !plan.remove_sandboxes.contains(&sandbox.id));
    }

    /// Whether the container runs.
    fn start(&mut self, start: &StartContainer) -> bool {
        self.check_order(start);
        if self.failing_starts > 0 {
            self.failing_starts -= 1;
            let held = HeldBack {
                name: start.name.clone(),
                reason: reason::CREATE_CONTAINER_ERROR,
                message: String::new(),
                until: Some(self.now + SignedDuration::from_secs(10)),
            };
            self.holds.starts.insert(start.name.clone(), held);
            return false;
        }
        self.holds.starts.remove(&start.name);
        self.pass(SignedDuration::from_millis(10));
        let id = match &start.created {
            Some(id) => id.clone(),
            None => self.create(start),
        };
        if std::mem::take(&mut self.cut_next_start) {
            self.kill_agent();
            return false;
        }
        let started_at = self.now;
        let container = self.held.containers.iter_mut().find(|c| c.id == id).unwrap();
        assert_eq!(container.state, ContainerState::Created);
        container.state = ContainerState::Running { started_at };
        let container = container.clone();
        let spec = self.pod.container(&start.name).unwrap().1;
        let hooks = spec.lifecycle.as_ref();
        if hooks.is_some_and(|hooks| hooks.post_start.is_some()) {
            self.in_flight.post_start.insert(start.name.clone());
        }
        self.probe(&container);
        self.note_started();
        true
    }

    fn create(&mut self, start: &StartContainer) -> ContainerId {
        self.made += 1;
        let id = ContainerId::from(format!("{}-{}-{}", start.name, start.attempt, self.made));
        let sandbox = self.held.sandboxes[0].id.clone();
        let (now, state) = (self.now, ContainerState::Created);
        let made = runtime(&self.pod).container_with(&start.name, start.attempt, |container| {
            container.id = id.clone();
            container.sandbox = sandbox;
            container.created_at = now;
            container.state = state;
        });
        let made = made.handing_on(start.wait_after).build().containers.remove(0);
        self.held.containers.insert(0, made);
        id
    }

    /// Lets everything take its course until nothing is left to be done; the number of turns.
    pub fn converge(&mut self, most: usize) {
        for _ in 0..most {
            let plan = self.turn();
            if !plan.is_idle() {
                continue;
            }
            let names: Vec<_> = self.pod.all_containers().map(|(_, s)| s.name.clone()).collect();
            let before = (self.in_flight.clone(), self.passed.clone(), self.probes.clone());
            self.end_hooks();
            for (pick, name) in names.iter().enumerate() {
                let unknown = Some(ProbeResult::Unknown);
                if self.probes.get(name).is_some_and(|probes| probes.startup == unknown) {
                    self.startup_probe(pick, true);
                }
                let kind = self.pod.container(name).map(|(kind, _)| kind);
                let ends = kind == Some(ContainerKind::Init) && !self.pod.is_sidecar(name);
                if let Some(running) = self.running_named(pick).filter(|_| ends) {
                    self.end(&running.id, 0);
                }
            }
            if before != (self.in_flight.clone(), self.passed.clone(), self.probes.clone()) {
                continue;
            }
            let due = self.in_flight.stopping.values().copied().chain(plan.next_turn).min();
            match due.filter(|due| *due > self.now) {
                Some(due) => self.pass(due.duration_since(self.now)),
                None => return self.check_rest(),
            }
        }
        let plan = self.turn();
        panic!("still busy with {plan:#?}: {}", self.sketch());
    }
}
