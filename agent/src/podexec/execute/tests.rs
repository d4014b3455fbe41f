use std::time::Duration;

use super::*;
use crate::model::ContainerKind;
use crate::testing::build::{PodBuilder, at, pod};
use crate::testing::clock::paused_clock;
use crate::testing::fake_dialer::FakeDialer;
use crate::testing::fake_runtime::FakeRuntime;
use crate::testing::fake_supplies::FakeSupplies;

struct Ground {
    runtime: FakeRuntime,
    supplies: FakeSupplies,
    executor: Arc<Executor>,
    stop: CancellationToken,
}

impl Ground {
    fn new() -> Self {
        let (runtime, _) = FakeRuntime::new(paused_clock());
        let supplies = FakeSupplies::default();
        let executor = Arc::new(Executor {
            sandboxes: Arc::new(runtime.clone()),
            containers: Arc::new(runtime.clone()),
            streaming: Arc::new(runtime.clone()),
            dialer: Arc::new(FakeDialer::default()),
            supplies: Arc::new(supplies.clone()),
            metrics: RuntimeMetrics::default(),
        });
        Self { runtime, supplies, executor, stop: CancellationToken::new() }
    }

    /// Starts bringing the pod up; the receiver ends with it.
    fn bring_up(&self, builder: PodBuilder) -> mpsc::Receiver<StepReport> {
        let pod = builder.build();
        let start = pod.spec().containers.iter().map(|spec| StartContainer {
            name: spec.name.clone(),
            kind: ContainerKind::Regular,
            attempt: 0,
            wait_after: Duration::ZERO,
            created: None,
            target: None,
        });
        let work = BringUp {
            start: start.collect(),
            pod,
            sandbox: SandboxUse::Make { attempt: 0, stop_first: vec![] },
            seen: at(0),
            host_ip: None,
        };
        let (reporter, reports) = mpsc::channel(16);
        let (executor, stop) = (Arc::clone(&self.executor), self.stop.clone());
        tokio::spawn(async move { executor.bring_up(&work, &stop, &reporter).await });
        reports
    }
}

async fn all(mut reports: mpsc::Receiver<StepReport>) -> Vec<StepReport> {
    let mut list = Vec::new();
    while let Some(report) = reports.recv().await {
        list.push(report);
    }
    list
}

/// Lets everything happen that can happen now.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn started(name: &str) -> StepReport {
    StepReport::Started { name: name.to_owned(), kind: ContainerKind::Regular }
}

#[tokio::test(start_paused = true)]
async fn sandbox_volumes_and_images_are_made_side_by_side() {
    let ground = Ground::new();
    for step in ["volumes", "image"] {
        ground.supplies.hold(step);
    }
    ground.runtime.hold("run_sandbox");
    let reports = ground.bring_up(pod("ns/web").container("a").container("b"));
    settle().await;
    assert_eq!(ground.runtime.count("run_sandbox"), 1);
    let calls = ground.supplies.calls();
    for call in ["volumes web", "image image-a", "image image-b"] {
        assert!(calls.iter().any(|made| made == call), "{call} in {calls:?}");
    }
    ground.supplies.release("volumes");
    ground.supplies.release("image");
    ground.runtime.release("run_sandbox");
    let reports = all(reports).await;
    assert!(reports.ends_with(&[started("b")]));
}

#[tokio::test(start_paused = true)]
async fn containers_start_one_after_the_other_in_the_given_order() {
    let ground = Ground::new();
    ground.runtime.hold("start_container");
    let reports = ground.bring_up(pod("ns/web").container("b").container("a"));
    settle().await;
    assert_eq!(ground.runtime.count("create_container"), 1);
    ground.runtime.release("start_container");
    let started: Vec<_> = all(reports).await.into_iter().filter(is_started).collect();
    assert_eq!(started, [self::started("b"), self::started("a")]);
}

fn is_started(report: &StepReport) -> bool {
    matches!(report, StepReport::Started { .. })
}

#[tokio::test(start_paused = true)]
async fn no_container_is_created_before_the_volumes_are_in_place() {
    let ground = Ground::new();
    ground.supplies.hold("volumes");
    let reports = ground.bring_up(pod("ns/web").container("a"));
    settle().await;
    assert_eq!(ground.runtime.count("create_container"), 0);
    ground.supplies.release("volumes");
    assert!(all(reports).await.contains(&started("a")));
}

#[tokio::test(start_paused = true)]
async fn work_called_off_lets_the_call_under_way_finish_and_begins_no_other() {
    let ground = Ground::new();
    ground.runtime.hold("create_container");
    let reports = ground.bring_up(pod("ns/web").container("a").container("b"));
    settle().await;
    ground.stop.cancel();
    settle().await;
    assert!(!reports.is_closed());
    ground.runtime.release("create_container");
    let reports = all(reports).await;
    assert!(reports.iter().any(|report| matches!(report, StepReport::Created { .. })));
    assert_eq!(ground.runtime.count("start_container"), 0);
    assert_eq!(ground.runtime.count("create_container"), 1);
}

#[tokio::test(start_paused = true)]
async fn work_called_off_does_not_wait_for_images_and_volumes() {
    for step in ["image", "volumes"] {
        let ground = Ground::new();
        ground.supplies.hold(step);
        let reports = ground.bring_up(pod("ns/web").container("a"));
        settle().await;
        ground.stop.cancel();
        let reports = all(reports).await;
        assert!(!reports.iter().any(is_started), "{step}");
    }
}

#[tokio::test(start_paused = true)]
async fn clearing_keeps_the_dead_containers_of_a_pod_that_is_still_shown() {
    let ground = Ground::new();
    drop(all(ground.bring_up(pod("ns/job").container("a"))).await);
    ground.runtime.exit("a", 0);
    let shown = pod("ns/job").container("a").build();
    let mut held = RuntimePod::empty(shown.uid().clone(), shown.full_name().clone());
    held.containers = ground.runtime.containers();
    held.sandboxes = ground.runtime.sandboxes();
    ground.executor.clear(&held, ClearScope::KeepDead).await.unwrap();
    assert_eq!(ground.runtime.containers().len(), 1);
    assert!(ground.supplies.is_clear());
    ground.executor.clear(&held, ClearScope::Everything).await.unwrap();
    assert!(ground.runtime.is_empty());
}

#[tokio::test(start_paused = true)]
async fn cgroup_is_removed_after_volumes_and_containers() {
    let ground = Ground::new();
    drop(all(ground.bring_up(pod("ns/web").container("a"))).await);
    let shown = pod("ns/web").container("a").build();
    let mut held = RuntimePod::empty(shown.uid().clone(), shown.full_name().clone());
    held.containers = ground.runtime.containers();
    ground.executor.clear(&held, ClearScope::Everything).await.unwrap();
    let calls = ground.supplies.calls();
    let end: Vec<&str> = calls.iter().rev().take(4).rev().map(String::as_str).collect();
    assert_eq!(
        end,
        ["release_volumes uid-web", "remove_log a 0", "remove_cgroup uid-web", "forget uid-web"]
    );
}

#[tokio::test(start_paused = true)]
async fn sidecar_that_cannot_start_holds_back_those_behind_it() {
    let ground = Ground::new();
    let pod = pod("ns/web").sidecar("s").container("a").build();
    let start = |name: &str, kind| StartContainer {
        name: name.to_owned(),
        kind,
        attempt: 0,
        wait_after: Duration::ZERO,
        created: None,
        target: None,
    };
    let work = BringUp {
        pod,
        start: vec![start("s", ContainerKind::Init), start("a", ContainerKind::Regular)],
        sandbox: SandboxUse::Make { attempt: 0, stop_first: vec![] },
        seen: at(0),
        host_ip: None,
    };
    let refused = RuntimeError::Refused { code: "Unknown".to_owned(), message: "no".to_owned() };
    ground.runtime.fail_next("create_container", refused);
    let (reporter, reports) = mpsc::channel(16);
    ground.executor.bring_up(&work, &ground.stop, &reporter).await;
    drop(reporter);
    let reports = all(reports).await;
    assert!(
        matches!(reports.last(), Some(StepReport::StartFailed(failure)) if failure.name == "s")
    );
    assert_eq!(ground.runtime.count("create_container"), 1);
}

#[tokio::test(start_paused = true)]
async fn container_that_goes_with_its_sandbox_leaves_no_log() {
    let ground = Ground::new();
    drop(all(ground.bring_up(pod("ns/web").container("a"))).await);
    ground.runtime.exit("a", 0);
    let shown = pod("ns/web").container("a").build();
    let mut held = RuntimePod::empty(shown.uid().clone(), shown.full_name().clone());
    held.containers = ground.runtime.containers();
    held.sandboxes = ground.runtime.sandboxes();
    let refused = RuntimeError::Unavailable("away".to_owned());
    ground.runtime.fail_next("remove_container", refused);
    assert!(ground.executor.clear(&held, ClearScope::Everything).await.is_err());
    assert!(ground.supplies.calls().contains(&"remove_log a 0".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn restart_count_goes_on_from_the_logs_when_nobody_else_remembers() {
    let ground = Ground::new();
    ground.supplies.set_logged("a", 6);
    all(ground.bring_up(pod("ns/web").container("a").container("b"))).await;
    let attempt = |name| ground.runtime.container(name).unwrap().attempt;
    assert_eq!((attempt("a"), attempt("b")), (7, 0));
}
