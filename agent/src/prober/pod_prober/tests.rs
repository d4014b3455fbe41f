//! Probes over time, on a paused clock.

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::boundary::{DialError, RuntimeError};
use crate::config::Limits;
use crate::events::EventsTask;
use crate::model::ContainerState;
use crate::testing::build::{PodBuilder, at, pod, published_running, runtime};
use crate::testing::clock::paused_clock;
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_dialer::{FakeDialer, answer};
use crate::testing::fake_runtime::FakeRuntime;
use crate::testing::observe::observe;
use k8s_openapi::api::core::v1 as api;

use ProbeResult::{Failure, Success, Unknown};

/// A prober of the pod `ns/a` whose container `main` has the probes of a test.
struct Scene {
    dialer: FakeDialer,
    runtime: FakeRuntime,
    clock: WallClock,
    api: FakeApi,
    pod: PodBuilder,
    prober: PodProber,
    _events: JoinSet<()>,
}

impl Scene {
    fn new(probes: &Value) -> Self {
        let probes: api::Container = {
            let mut container = probes.clone();
            container["name"] = json!("main");
            serde_json::from_value(container).unwrap()
        };
        let pod = pod("ns/a").container("main").changed("main", |spec| {
            spec.startup_probe = probes.startup_probe;
            spec.readiness_probe = probes.readiness_probe;
            spec.liveness_probe = probes.liveness_probe;
        });
        let clock = paused_clock();
        let (runtime, _) = FakeRuntime::new(Arc::clone(&clock));
        let api = FakeApi::new("node");
        let limits =
            Limits { event_qps: 50, event_burst: 100, registry_qps: 5, registry_burst: 10 };
        let (events, task) = EventsTask::new(Arc::new(api.clone()), "node", &limits);
        let mut running = JoinSet::new();
        running.spawn(task.run());
        let dialer = FakeDialer::default();
        let context = ProbeContext {
            dialer: Arc::new(dialer.clone()),
            streaming: Arc::new(runtime.clone()),
            events,
            clock: Arc::clone(&clock),
            noded_started: Instant::now(),
            metrics: ProbeMetrics::default(),
        };
        let prober = PodProber::new(Arc::new(context));
        Self { dialer, runtime, clock, api, pod, prober, _events: running }
    }

    /// Instance number `attempt` of the container has just started.
    fn started(&self, attempt: u32) -> Observation {
        let started_at = (self.clock)();
        self.running_since(attempt, started_at)
    }

    fn running_since(&self, attempt: u32, started_at: jiff::Timestamp) -> Observation {
        let pod = self.pod.clone().build();
        let state = ContainerState::Running { started_at };
        let held = runtime(&pod).sandbox(0).container("main", attempt, state).build();
        observe(&pod, held).build()
    }

    fn aim(&mut self, observation: &Observation) -> Option<crate::prober::ContainerProbes> {
        self.prober.aim(observation, &[]).0.get("main").cloned()
    }

    fn results(&self) -> crate::prober::ContainerProbes {
        self.prober.results.borrow().0["main"].clone()
    }

    fn calls(&self) -> usize {
        self.dialer.calls().len()
    }

    fn unready(&self) {
        self.dialer.set_http(Ok(answer(500, "")));
    }

    fn events(&self) -> Vec<String> {
        let line = |event: api::Event| {
            let path = event.involved_object.field_path.unwrap_or_default();
            let (reason, message) = (event.reason.unwrap_or_default(), event.message);
            format!("{reason} {path} {}", message.unwrap_or_default())
        };
        self.api.events().into_iter().map(line).collect()
    }
}

async fn pass(seconds: f64) {
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
}

fn get(extra: &Value) -> Value {
    let mut probe = json!({"httpGet": {"port": 80}});
    for (key, value) in extra.as_object().unwrap() {
        probe[key] = value.clone();
    }
    probe
}

#[tokio::test(start_paused = true)]
async fn container_is_ready_after_the_first_probe_and_not_before() {
    let mut scene = Scene::new(&json!({"readinessProbe": get(&json!({}))}));
    let first = scene.aim(&scene.started(0)).unwrap();
    assert_eq!(first.readiness, Some(Unknown));
    scene.prober.changed().await;
    assert_eq!(scene.results().readiness, Some(Success));
    assert_eq!(scene.dialer.calls(), ["http http://10.0.0.7:80/"]);
    pass(9.9).await;
    assert_eq!(scene.calls(), 1);
    pass(0.2).await;
    assert_eq!(scene.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn initial_delay_is_counted_from_the_start_of_the_container() {
    let mut scene = Scene::new(&json!({"livenessProbe": get(&json!({"initialDelaySeconds": 5}))}));
    let observation = scene.started(0);
    pass(2.0).await;
    scene.aim(&observation);
    pass(2.9).await;
    assert_eq!(scene.calls(), 0);
    pass(0.2).await;
    assert_eq!(scene.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_lost_after_the_threshold_and_won_back() {
    let probe = get(&json!({"periodSeconds": 10, "failureThreshold": 3, "successThreshold": 2}));
    let mut scene = Scene::new(&json!({"readinessProbe": probe}));
    scene.aim(&scene.started(0));
    pass(10.5).await;
    assert_eq!(scene.results().readiness, Some(Success));
    scene.unready();
    pass(20.0).await;
    assert_eq!(scene.results().readiness, Some(Success), "two failures");
    pass(10.0).await;
    assert_eq!(scene.results().readiness, Some(Failure), "three failures");
    scene.dialer.set_http(Ok(answer(200, "")));
    pass(10.0).await;
    assert_eq!(scene.results().readiness, Some(Failure), "one success");
    pass(10.0).await;
    assert_eq!(scene.results().readiness, Some(Success), "two successes");
}

#[tokio::test(start_paused = true)]
async fn failed_liveness_ends_its_probing_until_another_instance_runs() {
    let probe = get(&json!({"periodSeconds": 1, "failureThreshold": 2}));
    let mut scene = Scene::new(&json!({"livenessProbe": probe}));
    scene.unready();
    let observation = scene.started(0);
    assert_eq!(scene.aim(&observation).unwrap().liveness, Some(Success));
    pass(1.9).await;
    assert_eq!(scene.results().liveness, Some(Success), "one failure");
    pass(0.2).await;
    let found = scene.aim(&observation).unwrap();
    assert_eq!(found.liveness, Some(Failure));
    pass(60.0).await;
    scene.aim(&observation);
    pass(60.0).await;
    assert_eq!(scene.calls(), 2);
    let expected = "Unhealthy spec.containers{main} Liveness probe failed: HTTP probe failed with \
                    statuscode: 500";
    assert_eq!(scene.events(), [expected]);
    assert_eq!(scene.aim(&scene.started(1)).unwrap().liveness, Some(Success));
    pass(1.1).await;
    assert_eq!(scene.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn startup_holds_the_others_back_until_it_has_succeeded_once() {
    let probe = |path: &str| json!({"httpGet": {"port": 80, "path": path}, "periodSeconds": 10});
    let mut startup = probe("/startup");
    startup["periodSeconds"] = json!(2);
    startup["failureThreshold"] = json!(30);
    let mut scene = Scene::new(&json!({
        "startupProbe": startup,
        "readinessProbe": probe("/ready"),
        "livenessProbe": probe("/live"),
    }));
    scene.unready();
    let observation = scene.started(0);
    assert_eq!(scene.aim(&observation).unwrap().startup, Some(Unknown));
    pass(19.0).await;
    assert!(scene.dialer.calls().iter().all(|call| call.ends_with("/startup")));
    scene.dialer.set_http(Ok(answer(200, "")));
    pass(1.5).await;
    let found = scene.aim(&observation).unwrap();
    assert_eq!((found.startup, found.readiness), (Some(Success), Some(Success)));
    let calls = scene.dialer.calls();
    let of = |path: &str| calls.iter().filter(|call| call.ends_with(path)).count();
    assert_eq!((of("/ready"), of("/live")), (1, 1), "at once");
    let startups = of("/startup");
    pass(60.0).await;
    let later = scene.dialer.calls();
    assert_eq!(later.iter().filter(|call| call.ends_with("/startup")).count(), startups);
    // The next instance has to start for itself.
    assert_eq!(scene.aim(&scene.started(1)).unwrap().startup, Some(Unknown));
}

#[tokio::test(start_paused = true)]
async fn failed_startup_is_final_and_nothing_else_is_probed() {
    let startup = get(&json!({"periodSeconds": 1, "failureThreshold": 3}));
    let liveness = json!({"tcpSocket": {"port": 81}});
    let mut scene = Scene::new(&json!({"startupProbe": startup, "livenessProbe": liveness}));
    scene.unready();
    scene.aim(&scene.started(0));
    pass(60.0).await;
    assert_eq!(scene.results().startup, Some(Failure));
    // The one at the very start does not count.
    assert_eq!(scene.dialer.calls(), ["http http://10.0.0.7:80/"; 4]);
}

#[tokio::test(start_paused = true)]
async fn runtime_that_is_away_changes_no_result() {
    let exec = json!({"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 1});
    let mut scene = Scene::new(&json!({"readinessProbe": exec, "livenessProbe": exec}));
    scene.runtime.set_away(true);
    let pod = scene.pod.clone().build();
    let mut ready = published_running("main", 0);
    ready.ready = true;
    let status =
        api::PodStatus { container_statuses: Some(vec![ready]), ..api::PodStatus::default() };
    let held = scene.started(0).runtime;
    let observation = observe(&pod, (*held).clone()).previous(status).build();
    scene.aim(&observation);
    pass(10.5).await;
    let found = scene.results();
    assert_eq!((found.readiness, found.liveness), (Some(Success), Some(Success)));
    assert_eq!(scene.runtime.count("exec_sync"), (11 + 10) * 3, "each is tried three times");
    let events = scene.events();
    assert!(events[0].contains("probe errored and resulted in unknown state: "), "{events:?}");
}

#[tokio::test(start_paused = true)]
async fn one_error_among_the_tries_is_not_told() {
    let exec = json!({"exec": {"command": ["check"]}});
    let mut scene = Scene::new(&json!({"livenessProbe": exec}));
    let gone = || RuntimeError::Unavailable("socket is closed".to_owned());
    scene.runtime.fail_next("exec_sync", gone());
    scene.runtime.fail_next("exec_sync", gone());
    let observation = scene.started(0);
    scene.aim(&observation);
    pass(10.1).await;
    // The third try finds no such container in the fake, which is an error too.
    assert_eq!(scene.runtime.count("exec_sync"), 3);
    assert_eq!(scene.events().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn wrong_port_name_is_told_and_the_container_stays_not_ready() {
    let probe = json!({"httpGet": {"port": "wbe"}, "periodSeconds": 1});
    let mut scene = Scene::new(&json!({"readinessProbe": probe, "livenessProbe": probe}));
    scene.aim(&scene.started(0));
    pass(30.0).await;
    let found = scene.results();
    assert_eq!((found.readiness, found.liveness), (Some(Unknown), Some(Success)));
    assert_eq!(scene.calls(), 0);
    let expected = "Unhealthy spec.containers{main} Readiness probe errored and resulted in \
                    unknown state: readinessProbe.httpGet.port: container \"main\" has no port \
                    named \"wbe\"";
    let events = scene.events();
    assert!(events.iter().any(|event| event == expected), "{events:?}");
    assert_eq!(events.len(), 2, "one event for each probe, counted");
}

#[tokio::test(start_paused = true)]
async fn redirect_away_is_a_success_with_a_warning() {
    let mut scene = Scene::new(&json!({"readinessProbe": get(&json!({}))}));
    scene.dialer.set_http(Ok(answer(302, "moved")));
    scene.aim(&scene.started(0));
    scene.prober.changed().await;
    assert_eq!(scene.results().readiness, Some(Success));
    pass(0.1).await;
    let expected = "ProbeWarning spec.containers{main} Readiness probe warning: Probe terminated \
                    redirects, Response body: moved";
    assert_eq!(scene.events(), [expected]);
}

#[tokio::test(start_paused = true)]
async fn hanging_server_fails_by_the_timeout_and_the_next_probe_follows_at_once() {
    let probe = get(&json!({"timeoutSeconds": 7, "periodSeconds": 5, "failureThreshold": 2}));
    let mut scene = Scene::new(&json!({"livenessProbe": probe}));
    scene.dialer.set_delay(Duration::from_secs(3600));
    scene.aim(&scene.started(0));
    pass(18.9).await;
    assert_eq!(scene.results().liveness, Some(Success));
    pass(0.2).await;
    assert_eq!(scene.results().liveness, Some(Failure));
    assert_eq!(scene.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn probes_stop_with_the_container_and_its_result_outlives_it() {
    let probe = get(&json!({"periodSeconds": 1, "failureThreshold": 1}));
    let mut scene = Scene::new(&json!({"livenessProbe": probe}));
    scene.dialer.set_http(Err(DialError::Refused("dial tcp: refused".to_owned())));
    scene.aim(&scene.started(0));
    pass(1.1).await;
    let pod = scene.pod.clone().build();
    let held = runtime(&pod).sandbox(0).exited("main", 0, 137, 50).build();
    assert_eq!(scene.aim(&observe(&pod, held).build()).unwrap().liveness, Some(Failure));
    let held = runtime(&pod).sandbox(0).build();
    assert_eq!(scene.aim(&observe(&pod, held).build()), None);
    let calls = scene.calls();
    pass(60.0).await;
    assert_eq!(scene.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn noded_that_has_just_started_spreads_the_probes_of_what_it_finds() {
    let probe = get(&json!({"periodSeconds": 1000}));
    let mut scene = Scene::new(&json!({"livenessProbe": probe}));
    scene.aim(&scene.running_since(0, at(0)));
    pass(1000.1).await;
    assert_eq!(scene.calls(), 1, "within the first period");
}

#[tokio::test(start_paused = true)]
async fn probes_wait_for_the_address_of_a_pod_on_the_hosts_network() {
    let mut scene = Scene::new(&json!({"readinessProbe": get(&json!({}))}));
    scene.pod = scene.pod.clone().host_network();
    let observation = scene.started(0);
    scene.aim(&observation);
    pass(60.0).await;
    assert_eq!((scene.calls(), scene.events().len()), (0, 0));
    scene.prober.aim(&observation, &[[192, 168, 0, 1].into()]);
    pass(0.1).await;
    assert_eq!(scene.dialer.calls(), ["http http://192.168.0.1:80/"]);
}
