use std::io::ErrorKind;

use k8s_openapi::api::core::v1 as api;
use serde_json::json;

use super::*;
use crate::config::Limits;
use crate::events::EventsTask;
use crate::model::PodSource;
use crate::model::quantity::Quantity;
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_host::{FakeCgroups, FakeMachine};

struct World {
    cgroups: Arc<FakeCgroups>,
    api: FakeApi,
    handle: CmHandle,
}

fn config() -> CgroupConfig {
    CgroupConfig {
        driver: CgroupDriver::Cgroupfs,
        root: "/".into(),
        fail_on_v1: true,
        fail_on_swap: true,
        enforce_pods: true,
        cpu_cfs_quota: true,
        cpu_cfs_quota_period: Duration::from_millis(100),
        pod_pids_limit: -1,
        protect_kernel_defaults: false,
        oom_score_adj: -999,
    }
}

fn node_limits() -> NodeLimits {
    let usable = Resources::from([
        ("cpu".to_owned(), Quantity::from_units(4)),
        ("memory".to_owned(), Quantity::from_bytes(1 << 30)),
    ]);
    NodeLimits { usable, pid_max: 1000, huge_page_sizes: vec![2 << 20] }
}

fn events(api: &FakeApi) -> EventsHandle {
    let limits = Limits { event_qps: 50, event_burst: 100, registry_qps: 5, registry_burst: 10 };
    let (handle, task) = EventsTask::new(Arc::new(api.clone()), "node-1", &limits);
    tokio::spawn(task.run());
    handle
}

async fn try_start(
    config: &CgroupConfig,
    driver: CgroupDriver,
    cgroups: Arc<FakeCgroups>,
    api: &FakeApi,
) -> Result<CmHandle, CmError> {
    let machine = Arc::new(FakeMachine::default());
    let (handle, task) =
        CmTask::start(config, driver, cgroups, node_limits(), machine, ("node-1", events(api)))
            .await?;
    tokio::spawn(task.run());
    Ok(handle)
}

async fn world() -> World {
    let cgroups = Arc::new(FakeCgroups::default());
    let api = FakeApi::new("node-1");
    let handle = try_start(&config(), CgroupDriver::Cgroupfs, cgroups.clone(), &api).await.unwrap();
    World { cgroups, api, handle }
}

fn pod(uid: &str, requests: serde_json::Value, limits: serde_json::Value) -> Pod {
    let object: api::Pod = serde_json::from_value(json!({
        "metadata": {"namespace": "default", "name": uid, "uid": uid},
        "spec": {"containers": [{"name": "c", "resources": {"requests": requests, "limits": limits}}]},
    }))
    .unwrap();
    Pod::new(Arc::new(object), PodSource::Api).unwrap()
}

fn burstable(uid: &str, cpu: &str) -> Pod {
    pod(uid, json!({"cpu": cpu}), json!({}))
}

fn shares(world: &World, path: &str) -> Option<u64> {
    world.cgroups.limits(path).unwrap().cpu_shares
}

#[tokio::test(start_paused = true)]
async fn start_makes_the_top_and_limits_all_pods() {
    let world = world().await;
    let kubepods = world.cgroups.limits("/kubepods").unwrap();
    assert_eq!(kubepods.memory_bytes, Some(1 << 30));
    assert_eq!(kubepods.pids, Some(1000));
    assert_eq!(shares(&world, "/kubepods/besteffort"), Some(2));
    assert_eq!(shares(&world, "/kubepods/burstable"), None);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let reasons: Vec<_> = world.api.events().into_iter().filter_map(|event| event.reason).collect();
    assert_eq!(reasons, ["NodeAllocatableEnforced"]);
}

#[tokio::test(start_paused = true)]
async fn pods_get_cgroups_by_class_and_the_class_gets_their_shares() {
    let world = world().await;
    let full = json!({"cpu": "1", "memory": "1Mi"});
    let parent = world.handle.ensure_pod(&pod("g", full.clone(), full)).await.unwrap();
    assert_eq!(parent, Path::new("/kubepods/podg"));
    let parent = world.handle.ensure_pod(&pod("e", json!({}), json!({}))).await.unwrap();
    assert_eq!(parent, Path::new("/kubepods/besteffort/pode"));
    world.handle.ensure_pod(&burstable("a", "1")).await.unwrap();
    let parent = world.handle.ensure_pod(&burstable("b", "500m")).await.unwrap();
    assert_eq!(parent, Path::new("/kubepods/burstable/podb"));
    assert_eq!(shares(&world, "/kubepods/burstable"), Some(1536));
    assert_eq!(shares(&world, "/kubepods/burstable/podb"), Some(512));
    // Again is nothing new for the class.
    world.cgroups.take_calls();
    world.handle.ensure_pod(&burstable("b", "500m")).await.unwrap();
    assert_eq!(world.cgroups.take_calls(), ["ensure /kubepods/burstable/podb"]);
}

#[tokio::test(start_paused = true)]
async fn shares_of_the_class_shrink_within_a_minute_of_a_removal() {
    let world = world().await;
    world.handle.ensure_pod(&burstable("a", "1")).await.unwrap();
    world.handle.remove_pod(&"a".into()).await.unwrap();
    assert_eq!(shares(&world, "/kubepods/burstable"), Some(1024));
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert_eq!(shares(&world, "/kubepods/burstable"), Some(2));
    world.cgroups.take_calls();
    tokio::time::sleep(Duration::from_secs(61)).await;
    assert!(world.cgroups.take_calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn left_over_processes_are_killed_before_removal() {
    let world = world().await;
    world.handle.ensure_pod(&burstable("a", "1")).await.unwrap();
    world.cgroups.add_process("/kubepods/burstable/poda/c1", 77);
    world.cgroups.survive_kills(2);
    world.handle.remove_pod(&"a".into()).await.unwrap();
    assert!(world.cgroups.limits("/kubepods/burstable/poda").is_none());
}

#[tokio::test(start_paused = true)]
async fn removal_gives_up_after_five_tries() {
    let world = world().await;
    world.handle.ensure_pod(&burstable("a", "1")).await.unwrap();
    world.cgroups.add_process("/kubepods/burstable/poda/c1", 77);
    world.cgroups.survive_kills(100);
    world.cgroups.take_calls();
    let error = world.handle.remove_pod(&"a".into()).await.unwrap_err();
    assert!(matches!(error, CmError::Remove { .. }), "{error}");
    let kills = world.cgroups.take_calls().iter().filter(|call| call.starts_with("kill")).count();
    assert_eq!(kills, 5);
}

#[tokio::test(start_paused = true)]
async fn slow_removal_does_not_hold_up_a_start() {
    let world = world().await;
    world.handle.ensure_pod(&burstable("a", "1")).await.unwrap();
    world.cgroups.add_process("/kubepods/burstable/poda", 77);
    world.cgroups.survive_kills(100);
    let handle = world.handle.clone();
    let removal = tokio::spawn(async move { handle.remove_pod(&"a".into()).await });
    let begin = tokio::time::Instant::now();
    world.handle.ensure_pod(&burstable("b", "1")).await.unwrap();
    assert!(begin.elapsed() < REMOVE_WAIT);
    assert!(removal.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn orphans_go_and_known_pods_stay() {
    let world = world().await;
    for path in ["/kubepods/podold", "/kubepods/burstable/podkept", "/kubepods/besteffort/podgone"]
    {
        world.cgroups.ensure(Path::new(path), &CgroupLimits::default()).unwrap();
    }
    world.handle.ensure_pod(&burstable("new", "1")).await.unwrap();
    let swept = world.handle.remove_orphans(HashSet::from(["kept".into()])).await.unwrap();
    assert_eq!(swept.removed, ["old".into(), "gone".into()]);
    assert!(swept.stuck.is_empty());
    assert!(world.cgroups.limits("/kubepods/burstable/podkept").is_some());
    assert!(world.cgroups.limits("/kubepods/burstable/podnew").is_some());
    assert!(world.cgroups.limits("/kubepods/podold").is_none());
}

#[tokio::test(start_paused = true)]
async fn pod_that_comes_during_a_sweep_stays() {
    let world = world().await;
    for _ in 0..50 {
        let sweep = world.handle.remove_orphans(HashSet::new());
        let new = burstable("new", "1");
        let (swept, made) = tokio::join!(sweep, world.handle.ensure_pod(&new));
        assert!(swept.unwrap().removed.is_empty());
        made.unwrap();
        assert!(world.cgroups.limits("/kubepods/burstable/podnew").is_some());
        world.handle.remove_pod(&"new".into()).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn pod_of_an_earlier_run_is_found_in_any_class() {
    let world = world().await;
    world.cgroups.ensure(Path::new("/kubepods/besteffort/podx"), &CgroupLimits::default()).unwrap();
    world.handle.remove_pod(&"x".into()).await.unwrap();
    assert!(world.cgroups.limits("/kubepods/besteffort/podx").is_none());
}

#[tokio::test(start_paused = true)]
async fn failed_enforcement_is_said_once_and_tried_again_each_minute() {
    let cgroups = Arc::new(FakeCgroups::default());
    let api = FakeApi::new("node-1");
    // The setup takes three calls, the fourth is the enforcement.
    let handle = {
        let machine = Arc::new(FakeMachine::default());
        let parts = ("node-1", events(&api));
        let (handle, mut task) = CmTask::start(
            &config(),
            CgroupDriver::Cgroupfs,
            cgroups.clone(),
            node_limits(),
            machine,
            parts,
        )
        .await
        .unwrap();
        task.enforcement_due = true;
        cgroups.fail_next("ensure", ErrorKind::InvalidInput);
        cgroups.fail_next("ensure", ErrorKind::InvalidInput);
        task.enforce(true).await;
        tokio::spawn(task.run());
        handle
    };
    tokio::time::sleep(Duration::from_secs(150)).await;
    let mut reasons: Vec<_> =
        api.events().into_iter().map(|event| (event.reason.unwrap(), event.count)).collect();
    reasons.sort();
    assert_eq!(
        reasons,
        [
            ("FailedNodeAllocatableEnforcement".to_owned(), Some(1)),
            ("NodeAllocatableEnforced".to_owned(), Some(2))
        ]
    );
    drop(handle);
}

#[tokio::test(start_paused = true)]
async fn start_refuses_what_it_cannot_do() {
    let cgroups = Arc::new(FakeCgroups::default());
    let api = FakeApi::new("node-1");
    let refused = try_start(&config(), CgroupDriver::Systemd, cgroups.clone(), &api).await;
    assert!(matches!(refused.err(), Some(CmError::UnsupportedDriver)));
    cgroups.fail_next("ensure", ErrorKind::PermissionDenied);
    let refused = try_start(&config(), CgroupDriver::Cgroupfs, cgroups, &api).await;
    assert!(matches!(refused.err(), Some(CmError::Setup(_))));
}

/// Takes the test's tree away, also when the test fails.
struct RealTree {
    cgroups: Arc<dyn Cgroups>,
    root: PathBuf,
}

impl Drop for RealTree {
    fn drop(&mut self) {
        let _ = self.cgroups.remove(&self.root);
    }
}

#[tokio::test]
async fn kernel_takes_the_tree_of_a_node() {
    let Ok(cgroups) = crate::adapters::linux::open_cgroups() else { return };
    let root = PathBuf::from(format!("/noded-test-cm-{}", std::process::id()));
    let real = RealTree { cgroups: cgroups.clone(), root: root.clone() };
    if cgroups.ensure(&root, &CgroupLimits::default()).is_err() {
        return;
    }
    let config = CgroupConfig { root, fail_on_v1: false, ..config() };
    let api = FakeApi::new("node-1");
    let parts = ("node-1", events(&api));
    let machine = Arc::new(FakeMachine::default());
    let (handle, task) = CmTask::start(
        &config,
        CgroupDriver::Cgroupfs,
        cgroups.clone(),
        node_limits(),
        machine,
        parts,
    )
    .await
    .unwrap();
    let run = tokio::spawn(task.run());
    let full = json!({"cpu": "123m", "memory": "10000001"});
    let parent = handle.ensure_pod(&pod("g", full.clone(), full)).await.unwrap();
    assert_eq!(parent, real.root.join("kubepods/podg"));
    handle.ensure_pod(&burstable("b", "1")).await.unwrap();
    handle.ensure_pod(&burstable("b", "2")).await.unwrap();
    assert_eq!(cgroups.children(&real.root.join("kubepods/burstable")).unwrap(), ["podb"]);
    handle.remove_pod(&"b".into()).await.unwrap();
    assert!(cgroups.children(&real.root.join("kubepods/burstable")).unwrap().is_empty());
    drop(handle);
    run.await.unwrap();
}
