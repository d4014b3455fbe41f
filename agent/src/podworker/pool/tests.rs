//! Lives of pods, from the API to the runtime and back, on fakes.

mod mishaps;
mod probes;

use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use tokio::sync::broadcast;
use tokio::task::JoinSet;

use super::*;
use crate::admission::AdmissionRules;
use crate::boundary::{PodsApi, RuntimeError};
use crate::config::Limits;
use crate::events::EventsTask;
use crate::metrics::{ProbeMetrics, RuntimeMetrics};
use crate::model::ContainerState;
use crate::pleg::{PlegTask, RuntimeReader};
use crate::podexec::Executor;
use crate::podplan::PlanRules;
use crate::podsource::{PodSourceTask, Sources, StaticPods};
use crate::podworker::{EndCause, WallClock, WorkMetrics};
use crate::prober::ProbeContext;
use crate::status::{Readiness, StatusTask};
use crate::testing::build::{PodBuilder, at, pod, runtime};
use crate::testing::clock::paused_clock;
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_dialer::FakeDialer;
use crate::testing::fake_runtime::FakeRuntime;
use crate::testing::fake_supplies::FakeSupplies;

mod hooks;
mod static_pods;

/// A node with an API server and a runtime; the agent on it can be killed and started again.
pub(super) struct Ground {
    pub api: FakeApi,
    pub runtime: FakeRuntime,
    pub dialer: FakeDialer,
    supplies: FakeSupplies,
    pub clock: WallClock,
    node: watch::Sender<NodeView>,
    object_changes: broadcast::Sender<PodUid>,
    agent: JoinSet<()>,
    statics: watch::Sender<StaticPods>,
    pub states: watch::Receiver<Arc<WorkerStates>>,
}

impl Ground {
    pub fn new() -> Self {
        let clock = paused_clock();
        let (runtime, _) = FakeRuntime::new(Arc::clone(&clock));
        let node = NodeView {
            node: Some(Arc::default()),
            ips: vec![[192, 168, 0, 1].into()],
            ..NodeView::default()
        };
        let mut ground = Self {
            api: FakeApi::new("node"),
            runtime,
            dialer: FakeDialer::default(),
            supplies: FakeSupplies::default(),
            clock,
            node: watch::Sender::new(node),
            object_changes: broadcast::Sender::new(16),
            agent: JoinSet::new(),
            statics: watch::Sender::new(Some([].into())),
            states: watch::channel(Arc::default()).1,
        };
        ground.start_agent();
        ground
    }

    pub fn start_agent(&mut self) {
        let api = Arc::new(self.api.clone());
        let (runtime, wakes) = self.runtime.reconnect();
        self.runtime = runtime.clone();
        let runtime = Arc::new(runtime);
        let reader = RuntimeReader {
            sandboxes: Arc::clone(&runtime) as _,
            containers: Arc::clone(&runtime) as _,
        };
        let (pleg_task, pleg) = PlegTask::new(reader, wakes);
        let (status_task, status) = StatusTask::new(Arc::clone(&api) as _);
        let limits =
            Limits { event_qps: 50, event_burst: 100, registry_qps: 5, registry_burst: 10 };
        let (events, events_task) = EventsTask::new(Arc::clone(&api) as _, "node", &limits);
        let sources = Sources {
            api: Some(api.watch_pods()),
            file: Some(self.statics.subscribe()),
            ..Sources::default()
        };
        let (source_task, desired) = PodSourceTask::with_sources(sources, "node");
        let prober = ProbeContext {
            dialer: Arc::new(self.dialer.clone()),
            streaming: Arc::clone(&runtime) as _,
            events: events.clone(),
            clock: Arc::clone(&self.clock),
            noded_started: tokio::time::Instant::now(),
            metrics: ProbeMetrics::default(),
        };
        let executor = Executor {
            sandboxes: Arc::clone(&runtime) as _,
            containers: Arc::clone(&runtime) as _,
            streaming: runtime,
            dialer: Arc::new(self.dialer.clone()),
            supplies: Arc::new(self.supplies.clone()),
            metrics: RuntimeMetrics::default(),
        };
        let context = WorkerContext {
            executor,
            prober: Arc::new(prober),
            pleg,
            status,
            readiness: Readiness::default(),
            events,
            node: self.node.subscribe(),
            object_changes: self.object_changes.clone(),
            rules: PlanRules::default(),
            admission: AdmissionParts {
                rules: AdmissionRules::default(),
                nodes: Some(Arc::new(self.api.clone())),
            },
            sync_period: Duration::from_secs(60),
            clock: Arc::clone(&self.clock),
            metrics: WorkMetrics::default(),
        };
        let (pool, states) = PodPool::new(context, desired);
        self.states = states;
        self.agent = JoinSet::new();
        self.agent.spawn(pleg_task.run());
        self.agent.spawn(status_task.run());
        self.agent.spawn(events_task.run());
        self.agent.spawn(async move { drop(source_task.run().await) });
        self.agent.spawn(async move { panic!("the pool ended: {:?}", pool.run().await) });
    }

    /// The agent is killed, as with SIGKILL: nothing gets a last word.
    pub async fn kill_agent(&mut self) {
        self.agent.shutdown().await;
    }

    pub fn change_node(&self, change: impl FnOnce(&mut NodeView)) {
        self.node.send_modify(change);
    }

    pub fn put(&self, pod: PodBuilder) {
        self.api.put_pod((**pod.build().object()).clone());
    }

    pub fn delete(&self, name: &str, grace: i64) {
        // The API dates a deletion to the end of its grace.
        let due = (self.clock)() + jiff::SignedDuration::from_secs(grace);
        self.api.request_deletion(&uid(name), due, grace);
    }

    /// Lets this much time pass; everything that is due in it happens.
    pub async fn pass(&mut self, seconds: f64) {
        let until = tokio::time::Instant::now() + Duration::from_secs_f64(seconds);
        tokio::select! {
            () = tokio::time::sleep_until(until) => {}
            Some(ended) = self.agent.join_next() => panic!("a task ended: {ended:?}"),
        }
    }

    pub fn status(&self, name: &str) -> api::PodStatus {
        let pod = self.api.pod(&uid(name)).expect("the pod is in the API");
        pod.status.clone().unwrap_or_default()
    }

    pub fn phase(&self, name: &str) -> String {
        self.status(name).phase.unwrap_or_default()
    }

    pub fn exists(&self, name: &str) -> bool {
        self.api.pod(&uid(name)).is_some()
    }

    pub fn container_status(&self, name: &str) -> api::ContainerStatus {
        self.status(name).container_statuses.unwrap_or_default().remove(0)
    }

    pub fn waiting_reason(&self, name: &str) -> String {
        let state = self.container_status(name).state.unwrap_or_default();
        state.waiting.and_then(|waiting| waiting.reason).unwrap_or_default()
    }

    pub fn events(&self) -> Vec<String> {
        self.api.events().into_iter().filter_map(|event| event.reason).collect()
    }

    pub fn status_writes(&self) -> usize {
        self.api.calls().iter().filter(|call| call.starts_with("patch_status")).count()
    }

    pub fn is_clear(&self) -> bool {
        self.runtime.is_empty() && self.supplies.is_clear() && self.states.borrow().is_empty()
    }
}

pub(super) fn uid(name: &str) -> PodUid {
    PodUid::from(format!("uid-{name}"))
}

fn refused() -> RuntimeError {
    RuntimeError::Refused { code: "Internal".to_owned(), message: "no".to_owned() }
}

#[tokio::test(start_paused = true)]
async fn pod_lives_from_the_api_to_its_end() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    assert_eq!(ground.phase("web"), "Running");
    assert_eq!(ground.runtime.running(), ["app"]);
    assert_eq!(ground.status("web").pod_ip.as_deref(), Some("10.0.0.7"));
    assert!(ground.container_status("web").ready);
    assert!(ground.status_writes() <= 3, "{:?}", ground.api.calls());
    ground.delete("web", 30);
    ground.pass(1.0).await;
    assert!(!ground.exists("web"), "{:?}", ground.status("web"));
    assert!(ground.is_clear());
    let events = ground.events();
    for reason in ["Created", "Started", "Killing"] {
        assert!(events.iter().any(|event| event == reason), "{reason} in {events:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn pod_that_comes_and_goes_quickly_takes_one_status_write_each_way() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(5.0).await;
    assert_eq!(ground.phase("web"), "Running");
    assert_eq!(ground.status_writes(), 1, "{:?}", ground.api.calls());
    ground.delete("web", 30);
    ground.pass(5.0).await;
    assert!(!ground.exists("web"), "{:?}", ground.status("web"));
    assert_eq!(ground.status_writes(), 2, "{:?}", ground.api.calls());
}

#[tokio::test(start_paused = true)]
async fn pod_of_several_containers_takes_few_status_writes() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("a").container("b").container("c").container("d"));
    ground.pass(1.0).await;
    assert_eq!(ground.runtime.running(), ["a", "b", "c", "d"]);
    assert!(ground.status_writes() <= 3, "{:?}", ground.api.calls());
}

#[tokio::test(start_paused = true)]
async fn new_pod_needs_one_call_of_each_kind() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(90.0).await;
    assert_eq!(
        ground.runtime.calls(),
        ["run_sandbox web 0", "create_container app 0", "start_container container-2"]
    );
}

#[tokio::test(start_paused = true)]
async fn job_ends_by_its_exit_code_and_keeps_its_dead_container_until_it_is_deleted() {
    for (code, phase) in [(0, "Succeeded"), (3, "Failed")] {
        let mut ground = Ground::new();
        ground.put(pod("ns/job").container("app").restart("Never"));
        ground.pass(1.0).await;
        ground.runtime.exit("app", code);
        ground.pass(1.0).await;
        assert_eq!(ground.phase("job"), phase);
        assert!(ground.supplies.is_clear());
        assert_eq!(ground.runtime.containers().len(), 1);
        ground.delete("job", 30);
        ground.pass(1.0).await;
        assert!(!ground.exists("job"));
        assert!(ground.is_clear());
    }
}

#[tokio::test(start_paused = true)]
async fn crashing_container_waits_longer_each_time() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    for (attempt, wait) in [(1, 0.0), (2, 10.0), (3, 20.0), (4, 40.0)] {
        ground.runtime.exit("app", 1);
        if wait > 0.0 {
            ground.pass(wait - 1.0).await;
            assert_eq!(ground.waiting_reason("web"), "CrashLoopBackOff");
            assert_eq!(ground.phase("web"), "Running");
            assert!(ground.runtime.running().is_empty());
        }
        ground.pass(1.5).await;
        assert_eq!(ground.runtime.running(), ["app"], "attempt {attempt}");
        assert_eq!(ground.container_status("web").restart_count, attempt);
    }
    assert!(ground.events().iter().any(|event| event == "BackOff"));
}

#[tokio::test(start_paused = true)]
async fn restart_of_the_agent_neither_forgets_nor_shortens_a_crash_loop() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    for wait in [0.0, 10.0] {
        ground.runtime.exit("app", 1);
        ground.pass(wait + 1.5).await;
    }
    ground.runtime.exit("app", 1);
    ground.pass(5.0).await;
    ground.kill_agent().await;
    ground.start_agent();
    ground.pass(14.0).await;
    assert_eq!(ground.waiting_reason("web"), "CrashLoopBackOff");
    assert!(ground.runtime.running().is_empty());
    ground.pass(2.0).await;
    assert_eq!(ground.runtime.container("app").unwrap().attempt, 3);
    assert_eq!(ground.container_status("web").restart_count, 3);
}

#[tokio::test(start_paused = true)]
async fn restart_of_the_agent_leaves_a_running_pod_alone() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("a").container("b"));
    ground.pass(1.0).await;
    let (calls, writes) = (ground.runtime.calls(), ground.status_writes());
    let status = ground.status("web");
    ground.kill_agent().await;
    ground.pass(30.0).await;
    ground.start_agent();
    ground.pass(120.0).await;
    assert_eq!(ground.runtime.calls(), calls);
    assert_eq!(ground.status_writes(), writes);
    assert_eq!(ground.status("web"), status);
}

#[tokio::test(start_paused = true)]
async fn agent_killed_at_any_step_still_brings_the_pod_up_and_down() {
    let steps = ["volumes", "image", "sandbox", "container"];
    let calls = ["run_sandbox", "create_container", "start_container"];
    for step in steps.into_iter().chain(calls) {
        let mut ground = Ground::new();
        ground.supplies.hold(step);
        ground.runtime.hold(step);
        ground.put(pod("ns/web").container("app"));
        ground.pass(1.0).await;
        ground.kill_agent().await;
        ground.supplies.release(step);
        ground.runtime.release(step);
        ground.start_agent();
        ground.pass(30.0).await;
        assert_eq!(ground.runtime.running(), ["app"], "{step}");
        assert_eq!(ground.phase("web"), "Running", "{step}");
        ground.delete("web", 30);
        ground.pass(5.0).await;
        assert!(!ground.exists("web"), "{step}");
        assert!(ground.is_clear(), "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn agent_killed_at_any_step_of_the_end_still_ends_the_pod() {
    let supplies = ["release_volumes", "remove_cgroup"];
    let calls = ["stop_container", "stop_sandbox"];
    for step in supplies.into_iter().chain(calls) {
        let mut ground = Ground::new();
        ground.put(pod("ns/web").container("app"));
        ground.pass(1.0).await;
        ground.supplies.hold(step);
        ground.runtime.hold(step);
        ground.delete("web", 30);
        ground.pass(1.0).await;
        assert!(ground.exists("web"), "{step}");
        ground.kill_agent().await;
        ground.supplies.release(step);
        ground.runtime.release(step);
        ground.start_agent();
        ground.pass(5.0).await;
        assert!(!ground.exists("web"), "{step}");
        assert!(ground.is_clear(), "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn pod_deleted_while_the_agent_was_down_is_ended_in_what_is_left_of_its_grace() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.runtime.ignore_sigterm("app");
    ground.pass(1.0).await;
    ground.kill_agent().await;
    ground.delete("web", 30);
    ground.pass(20.0).await;
    ground.start_agent();
    ground.pass(9.0).await;
    assert_eq!(ground.runtime.running(), ["app"]);
    ground.pass(2.0).await;
    assert!(!ground.exists("web"));
    assert!(ground.is_clear());
}

#[tokio::test(start_paused = true)]
async fn pod_force_deleted_while_the_agent_was_down_is_an_orphan() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    ground.kill_agent().await;
    ground.api.remove_pod(&uid("web"));
    ground.start_agent();
    ground.pass(5.0).await;
    assert!(ground.is_clear(), "{:?}", ground.supplies.calls());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_killed_before_the_api_server_has_answered() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    ground.kill_agent().await;
    ground.api.break_watches();
    ground.start_agent();
    ground.pass(300.0).await;
    assert_eq!(ground.runtime.running(), ["app"]);
    assert_eq!(ground.runtime.count("stop_container"), 0);
}

#[tokio::test(start_paused = true)]
async fn force_deleted_pod_gets_two_seconds() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.runtime.ignore_sigterm("app");
    ground.pass(1.0).await;
    ground.api.remove_pod(&uid("web"));
    ground.pass(1.5).await;
    assert_eq!(ground.runtime.running(), ["app"]);
    ground.pass(1.5).await;
    assert!(ground.is_clear());
}

#[tokio::test(start_paused = true)]
async fn shorter_grace_reaches_a_stop_that_is_under_way() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.runtime.ignore_sigterm("app");
    ground.pass(1.0).await;
    ground.delete("web", 60);
    ground.pass(10.0).await;
    ground.delete("web", 5);
    ground.pass(4.0).await;
    assert_eq!(ground.runtime.running(), ["app"]);
    ground.pass(2.0).await;
    assert!(!ground.exists("web"));
    assert_eq!(ground.runtime.count("stop_container"), 2);
}

#[tokio::test(start_paused = true)]
async fn longer_grace_later_changes_nothing() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.runtime.ignore_sigterm("app");
    ground.pass(1.0).await;
    ground.delete("web", 5);
    ground.pass(1.0).await;
    ground.delete("web", 60);
    ground.pass(6.0).await;
    assert!(!ground.exists("web"));
    assert_eq!(ground.runtime.count("stop_container"), 1);
}

#[tokio::test(start_paused = true)]
async fn no_terminal_phase_is_shown_while_a_container_may_run() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.runtime.ignore_sigterm("app");
    ground.pass(1.0).await;
    ground.delete("web", 20);
    for _ in 0..19 {
        ground.pass(1.0).await;
        assert_eq!(ground.phase("web"), "Running");
    }
    ground.pass(3.0).await;
    assert!(!ground.exists("web"));
}

#[tokio::test(start_paused = true)]
async fn pod_deleted_during_its_pull_ends_failed_and_vanishes() {
    let mut ground = Ground::new();
    ground.supplies.hold("image");
    ground.supplies.hold("remove_cgroup");
    ground.put(pod("ns/web").container("app"));
    ground.pass(5.0).await;
    assert_eq!(ground.phase("web"), "Pending");
    ground.delete("web", 30);
    ground.pass(1.0).await;
    assert_eq!(ground.phase("web"), "Failed");
    ground.supplies.release("remove_cgroup");
    ground.pass(1.0).await;
    assert!(!ground.exists("web"));
    assert!(ground.is_clear());
    assert_eq!(ground.runtime.count("create_container"), 0);
}

#[tokio::test(start_paused = true)]
async fn pod_deleted_while_its_sandbox_is_being_made_leaves_nothing() {
    let mut ground = Ground::new();
    ground.runtime.hold("run_sandbox");
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    ground.delete("web", 30);
    ground.pass(5.0).await;
    assert!(ground.exists("web"));
    ground.runtime.release("run_sandbox");
    ground.pass(2.0).await;
    assert!(!ground.exists("web"));
    assert!(ground.is_clear());
    assert_eq!(ground.runtime.count("create_container"), 0);
}

#[tokio::test(start_paused = true)]
async fn message_of_a_long_pull_is_shown_until_the_container_starts() {
    let mut ground = Ground::new();
    ground.supplies.tell_of_pulls("Pulling image \"x\": downloading, 40%");
    ground.supplies.hold("image");
    ground.put(pod("ns/web").container("app"));
    ground.pass(2.0).await;
    let status = ground.status("web").container_statuses.unwrap_or_default();
    let waiting = status[0].state.as_ref().and_then(|state| state.waiting.clone()).unwrap();
    assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
    assert_eq!(waiting.message.as_deref(), Some("Pulling image \"x\": downloading, 40%"));
    ground.supplies.release("image");
    ground.pass(2.0).await;
    assert_eq!(ground.phase("web"), "Running");
}

#[tokio::test(start_paused = true)]
async fn failed_pull_does_not_hold_back_the_other_containers() {
    let mut ground = Ground::new();
    ground.supplies.fail_next("image", "no such image");
    ground.put(pod("ns/web").container("a").container("b"));
    ground.pass(2.0).await;
    assert_eq!(ground.runtime.running(), ["b"]);
    assert_eq!(ground.waiting_reason("web"), "ErrImagePull");
    assert_eq!(ground.phase("web"), "Pending");
    ground.pass(16.0).await;
    assert_eq!(ground.runtime.running().len(), 2);
    assert_eq!(ground.phase("web"), "Running");
}

#[tokio::test(start_paused = true)]
async fn failures_of_a_start_are_published_by_their_reason() {
    let ways: [(&str, &str); 3] = [
        ("container", "CreateContainerConfigError"),
        ("create_container", "CreateContainerError"),
        ("start_container", "RunContainerError"),
    ];
    for (step, reason) in ways {
        let mut ground = Ground::new();
        match step {
            "container" => ground.supplies.fail_next("container", "no such secret"),
            step => ground.runtime.fail_next(step, refused()),
        }
        ground.put(pod("ns/web").container("app"));
        ground.pass(2.0).await;
        assert_eq!(ground.waiting_reason("web"), reason);
        assert!(ground.events().iter().any(|event| event == "Failed"));
        ground.pass(16.0).await;
        assert_eq!(ground.runtime.running(), ["app"], "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn failed_sandbox_is_tried_again_after_a_pause() {
    let mut ground = Ground::new();
    ground.runtime.fail_next("run_sandbox", refused());
    ground.put(pod("ns/web").container("app"));
    ground.pass(9.0).await;
    assert_eq!(ground.runtime.count("run_sandbox"), 1);
    assert!(ground.events().iter().any(|event| event == "FailedCreatePodSandBox"));
    ground.pass(8.0).await;
    assert_eq!(ground.runtime.running(), ["app"]);
}

#[tokio::test(start_paused = true)]
async fn pod_with_a_missing_volume_waits_for_it() {
    let mut ground = Ground::new();
    ground.supplies.fail_next("volumes", "configmap \"x\" not found");
    ground.put(pod("ns/web").container("app"));
    ground.pass(0.4).await;
    assert!(ground.runtime.running().is_empty());
    assert_eq!(ground.waiting_reason("web"), "ContainerCreating");
    assert!(ground.events().iter().any(|event| event == "FailedMount"));
    ground.pass(1.0).await;
    assert_eq!(ground.runtime.running(), ["app"]);
    assert_eq!(ground.runtime.count("run_sandbox"), 1);
}

#[tokio::test(start_paused = true)]
async fn pod_starts_as_soon_as_the_network_is_ready() {
    let mut ground = Ground::new();
    ground.change_node(|node| node.network_problem = Some("cni".to_owned()));
    ground.put(pod("ns/web").container("app"));
    ground.pass(10.0).await;
    assert!(ground.runtime.calls().is_empty());
    let events = ground.events();
    assert_eq!(events.iter().filter(|event| *event == "NetworkNotReady").count(), 1);
    ground.change_node(|node| node.network_problem = None);
    ground.pass(0.1).await;
    assert_eq!(ground.runtime.running(), ["app"]);
}

#[tokio::test(start_paused = true)]
async fn reboot_makes_a_new_sandbox_and_counts_a_restart() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    ground.kill_agent().await;
    ground.runtime.kill_sandboxes();
    ground.start_agent();
    ground.pass(3.0).await;
    assert_eq!(ground.runtime.running(), ["app"]);
    assert_eq!(ground.container_status("web").restart_count, 1);
    assert!(ground.events().iter().any(|event| event == "SandboxChanged"));
}

#[tokio::test(start_paused = true)]
async fn dead_containers_removed_by_others_do_not_lower_the_restart_count() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    ground.runtime.exit("app", 1);
    ground.pass(2.0).await;
    ground.kill_agent().await;
    ground.runtime.exit("app", 1);
    ground.runtime.forget_dead();
    ground.start_agent();
    ground.pass(3.0).await;
    assert_eq!(ground.runtime.container("app").unwrap().attempt, 2);
    assert_eq!(ground.container_status("web").restart_count, 2);
}

#[tokio::test(start_paused = true)]
async fn finished_pod_never_starts_again_even_after_a_restart() {
    let mut ground = Ground::new();
    ground.put(pod("ns/job").container("app").restart("OnFailure"));
    ground.pass(1.0).await;
    ground.runtime.exit("app", 0);
    ground.pass(1.0).await;
    ground.kill_agent().await;
    ground.runtime.forget_dead();
    ground.start_agent();
    ground.pass(120.0).await;
    assert_eq!(ground.phase("job"), "Succeeded");
    assert_eq!(ground.runtime.count("create_container"), 1);
}

#[tokio::test(start_paused = true)]
async fn runtime_that_is_away_changes_no_status() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    let status = ground.status("web");
    ground.runtime.set_away(true);
    ground.pass(200.0).await;
    assert_eq!(ground.status("web"), status);
    ground.delete("web", 30);
    ground.pass(100.0).await;
    assert_eq!(ground.phase("web"), "Running");
    ground.runtime.set_away(false);
    ground.pass(20.0).await;
    assert!(!ground.exists("web"));
    assert!(ground.is_clear());
}

#[tokio::test(start_paused = true)]
async fn new_image_restarts_the_container_at_once() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    let mut object = (*ground.api.pod(&uid("web")).unwrap()).clone();
    object.spec.as_mut().unwrap().containers[0].image = Some("other".to_owned());
    ground.api.put_pod(object);
    ground.pass(1.0).await;
    let container = ground.runtime.container("app").unwrap();
    assert_eq!((container.attempt, container.image.as_str()), (1, "other"));
    assert!(container.is_running());
}

#[tokio::test(start_paused = true)]
async fn new_image_ends_the_pause_after_a_failed_pull() {
    let mut ground = Ground::new();
    ground.supplies.fail_next("image", "no such image");
    ground.put(pod("ns/web").container("app"));
    ground.pass(2.0).await;
    let mut object = (*ground.api.pod(&uid("web")).unwrap()).clone();
    object.spec.as_mut().unwrap().containers[0].image = Some("other".to_owned());
    ground.api.put_pod(object);
    ground.pass(1.0).await;
    assert_eq!(ground.runtime.running(), ["app"]);
}

#[tokio::test(start_paused = true)]
async fn lost_container_is_killed_before_its_successor_starts() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    ground.runtime.lose_sight_of("app");
    ground.pass(3.0).await;
    assert_eq!(ground.runtime.count("stop_container"), 1);
    assert_eq!(ground.runtime.running(), ["app"]);
    let first = &ground.runtime.containers()[0];
    assert!(matches!(first.state, ContainerState::Exited(_)));
}

#[tokio::test(start_paused = true)]
async fn rejected_pod_fails_and_never_touches_the_runtime() {
    let mut ground = Ground::new();
    let node: api::Node = serde_json::from_value(serde_json::json!({
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "0"}}
    }))
    .unwrap();
    ground.change_node(|state| state.node = Some(Arc::new(node)));
    ground.put(pod("ns/web").container("app"));
    ground.pass(2.0).await;
    assert_eq!(ground.phase("web"), "Failed");
    assert_eq!(ground.status("web").reason.as_deref(), Some("OutOfpods"));
    assert!(ground.events().iter().any(|event| event == "OutOfpods"));
    assert!(ground.runtime.calls().is_empty());
    ground.delete("web", 30);
    ground.pass(2.0).await;
    assert!(!ground.exists("web"));
}

#[tokio::test(start_paused = true)]
async fn pod_waits_for_the_node_to_be_known() {
    let mut ground = Ground::new();
    ground.change_node(|state| state.node = None);
    ground.put(pod("ns/web").container("app"));
    ground.pass(5.0).await;
    assert!(ground.runtime.calls().is_empty());
    ground.change_node(|state| state.node = Some(Arc::default()));
    ground.pass(1.0).await;
    assert_eq!(ground.runtime.running(), ["app"]);
}

#[tokio::test(start_paused = true)]
async fn many_pods_make_their_sandboxes_side_by_side() {
    let mut ground = Ground::new();
    ground.runtime.hold("run_sandbox");
    for number in 0..50 {
        ground.put(pod(&format!("ns/web-{number}")).container("app"));
    }
    ground.pass(2.0).await;
    assert_eq!(ground.runtime.count("run_sandbox"), 50);
    ground.runtime.release("run_sandbox");
    ground.pass(2.0).await;
    assert_eq!(ground.runtime.running().len(), 50);
}

#[tokio::test(start_paused = true)]
async fn pod_past_its_deadline_is_killed_and_fails() {
    let mut ground = Ground::new();
    ground.put(pod("ns/job").container("app").active_deadline(60));
    ground.pass(50.0).await;
    assert_eq!(ground.phase("job"), "Running");
    ground.pass(15.0).await;
    assert_eq!(ground.phase("job"), "Failed");
    assert_eq!(ground.status("job").reason.as_deref(), Some("DeadlineExceeded"));
    assert!(ground.events().iter().any(|event| event == "DeadlineExceeded"));
    assert!(ground.runtime.running().is_empty());
}

#[tokio::test(start_paused = true)]
async fn stages_are_told_to_the_other_slices() {
    let mut ground = Ground::new();
    ground.put(pod("ns/job").container("app").restart("Never"));
    ground.pass(1.0).await;
    let stage = |ground: &Ground| ground.states.borrow()[&uid("job")].lifecycle.clone();
    assert_eq!(stage(&ground), Lifecycle::Syncing);
    ground.runtime.exit("app", 0);
    ground.pass(1.0).await;
    assert_eq!(stage(&ground), Lifecycle::Finished { cause: EndCause::Completed });
    let held = runtime(&pod("ns/job").build()).build();
    assert!(held.is_empty());
    assert!((ground.clock)() > at(1000));
}

#[tokio::test(start_paused = true)]
async fn phase_that_others_declare_terminal_ends_the_pod() {
    let mut ground = Ground::new();
    ground.put(pod("ns/web").container("app"));
    ground.pass(1.0).await;
    let mut object = (*ground.api.pod(&uid("web")).unwrap()).clone();
    object.status.as_mut().unwrap().phase = Some("Failed".to_owned());
    ground.api.put_pod(object);
    ground.pass(2.0).await;
    assert!(ground.runtime.running().is_empty());
    assert_eq!(ground.phase("web"), "Failed");
    assert_eq!(ground.runtime.count("create_container"), 1);
}

#[tokio::test(start_paused = true)]
async fn container_that_lacks_an_object_starts_at_once_when_it_appears() {
    for step in ["container", "volumes"] {
        let mut ground = Ground::new();
        (0..20).for_each(|_| ground.supplies.fail_next(step, "configmap \"c\" not found"));
        ground.put(pod("ns/web").container("app"));
        ground.pass(16.0).await;
        assert!(ground.runtime.running().is_empty());
        ground.supplies.forgive(step);
        let _ = ground.object_changes.send(uid("other"));
        ground.pass(0.1).await;
        assert!(ground.runtime.running().is_empty(), "{step}");
        let _ = ground.object_changes.send(uid("web"));
        ground.pass(0.1).await;
        assert_eq!(ground.runtime.running(), ["app"], "{step}");
    }
}
