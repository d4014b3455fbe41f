use std::path::Path;

use k8s_openapi::api::core::v1 as api;

use super::*;
use crate::boundary::{CgroupDriver, FsUsage, LayerUsage, NetworkUsage};
use crate::model::RuntimePod;
use crate::stats::{Reader, build_summary};
use crate::testing::build::{pod, runtime};
use crate::testing::clock::paused_clock;
use crate::testing::fake_host::{FakeCgroups, FakeMachine};
use crate::testing::fake_usage::FakeUsage;

const POD: &str = "/kubepods/burstable/podu1";

/// A node with the pod `shop/web`, whose container `app-0` runs.
struct Bench {
    usage: FakeUsage,
    stats: StatsHandle,
}

fn web() -> RuntimePod {
    let desired = pod("shop/web").uid("u1").container("app").build();
    runtime(&desired).sandbox(0).running("app", 0).build()
}

impl Bench {
    fn new() -> Self {
        Self::with_volumes(Vec::new(), None)
    }

    fn with_volumes(known: Vec<Pod>, volumes_period: Option<Duration>) -> Self {
        let clock = paused_clock();
        let usage = FakeUsage::new(clock.clone());
        usage.set("/", 9_000, 9_000);
        usage.set("/kubepods", 5_000, 5_000);
        usage.set(POD, 1_000, 1_000);
        usage.set(&format!("{POD}/app-0"), 900, 900);
        usage.set(&format!("{POD}/sandbox-0"), 100, 100);
        let cgroups = FakeCgroups::default();
        for path in [format!("{POD}/app-0"), format!("{POD}/sandbox-0")] {
            cgroups.ensure(Path::new(&path), &Default::default()).unwrap();
        }
        let seen = SeenPods {
            known,
            runtime: Arc::new(RuntimePods::from([("u1".into(), Arc::new(web()))])),
            ..SeenPods::default()
        };
        let facts = MachineFacts { node_name: "node-1".to_owned(), ..MachineFacts::default() };
        let (stats, task) = StatsTask::new(StatsParts {
            facts: Arc::new(facts),
            pods: Box::new(move || seen.clone()),
            usage: Arc::new(usage.clone()),
            cgroups: Arc::new(cgroups),
            machine: Arc::new(FakeMachine::default()),
            runtime: Arc::new(usage.clone()),
            names: CgroupNames::new(CgroupDriver::Cgroupfs, Path::new("/")),
            root_dir: "/var/lib/kubelet".into(),
            pod_logs_dir: "/var/log/pods".into(),
            runtime_endpoint: "unix:///run/containerd/containerd.sock".to_owned(),
            volumes_period,
            clock,
        });
        tokio::spawn(task.run());
        Self { usage, stats }
    }

    async fn ask(&self, reader: Reader) -> Arc<Snapshot> {
        self.stats.snapshot(reader).await.unwrap()
    }

    fn root_reads(&self) -> u32 {
        self.usage.state().root_reads
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_is_read_before_somebody_asks() {
    let bench = Bench::new();
    pass(600).await;
    assert_eq!(bench.root_reads(), 0);
}

#[tokio::test(start_paused = true)]
async fn readers_within_ten_seconds_share_a_snapshot() {
    let bench = Bench::new();
    let first = bench.ask(Reader::CpuAndMemory).await;
    pass(9).await;
    let second = bench.ask(Reader::CpuAndMemory).await;
    assert!(Arc::ptr_eq(&first, &second));
    pass(2).await;
    assert!(!Arc::ptr_eq(&first, &bench.ask(Reader::CpuAndMemory).await));
    assert_eq!(bench.root_reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn reading_goes_on_for_two_minutes_after_the_last_reader_and_ends() {
    let bench = Bench::new();
    bench.ask(Reader::CpuAndMemory).await;
    pass(125).await;
    let reads = bench.root_reads();
    assert_eq!(reads, 12);
    pass(600).await;
    assert_eq!(bench.root_reads(), reads);
    bench.ask(Reader::CpuAndMemory).await;
    assert_eq!(bench.root_reads(), reads + 1);
}

#[tokio::test(start_paused = true)]
async fn the_second_snapshot_knows_how_fast() {
    let bench = Bench::new();
    let cores =
        |snapshot: &Snapshot| snapshot.pods[0].containers[0].measured.as_ref().unwrap().nano_cores;
    assert_eq!(cores(&*bench.ask(Reader::CpuAndMemory).await), None);
    bench.usage.set(&format!("{POD}/app-0"), 5_000_000_900, 900);
    pass(10).await;
    assert_eq!(cores(&*bench.ask(Reader::CpuAndMemory).await), Some(500_000_000));
}

#[tokio::test(start_paused = true)]
async fn a_reader_of_more_has_more_read_at_once() {
    let bench = Bench::new();
    let little = bench.ask(Reader::CpuAndMemory).await;
    assert!(little.pods[0].containers[0].processes.is_none());
    let more = bench.ask(Reader::Cadvisor).await;
    assert!(more.pods[0].containers[0].processes.is_some());
    assert!(more.pods[0].sandbox.as_ref().unwrap().measured.is_some());
    assert!(bench.usage.state().process_reads > 0);
    // And others get it from there.
    assert!(Arc::ptr_eq(&more, &bench.ask(Reader::Summary).await));
    assert_eq!(bench.root_reads(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_asks_for_any_more_is_not_read() {
    let bench = Bench::new();
    bench.ask(Reader::Cadvisor).await;
    for _ in 0..13 {
        pass(10).await;
        bench.ask(Reader::CpuAndMemory).await;
    }
    let reads = bench.usage.state().process_reads;
    pass(10).await;
    let snapshot = bench.ask(Reader::CpuAndMemory).await;
    assert_eq!(bench.usage.state().process_reads, reads);
    assert_eq!(snapshot.extent, Extent::default());
}

#[tokio::test(start_paused = true)]
async fn a_runtime_that_is_away_leaves_out_only_its_own_figures() {
    let bench = Bench::new();
    let layer = LayerUsage { container: "app-0".to_owned(), used: Some(7), ..Default::default() };
    bench.usage.state().layers = vec![layer];
    let summary = build_summary(&*bench.ask(Reader::Summary).await);
    assert_eq!(summary.pods[0].containers[0].rootfs.as_ref().unwrap().used_bytes, Some(7));
    bench.usage.state().runtime_away = true;
    pass(10).await;
    let summary = build_summary(&*bench.ask(Reader::Summary).await);
    let container = &summary.pods[0].containers[0];
    assert_eq!(container.rootfs, None);
    assert_eq!(container.memory.as_ref().unwrap().working_set_bytes, Some(900));
}

#[tokio::test(start_paused = true)]
async fn a_pod_s_network_is_that_of_its_first_process() {
    let bench = Bench::new();
    {
        let mut state = bench.usage.state();
        state.pids.insert(format!("{POD}/app-0").into(), vec![12]);
        state
            .networks
            .insert(12, NetworkUsage { default: Some("eth0".into()), ..Default::default() });
    }
    let network = |snapshot: &Snapshot| snapshot.pods[0].sandbox.as_ref().unwrap().network.clone();
    let by_container = network(&*bench.ask(Reader::Summary).await);
    assert_eq!(by_container.unwrap().default.as_deref(), Some("eth0"));
    {
        let mut state = bench.usage.state();
        state.pids.insert(format!("{POD}/sandbox-0").into(), vec![11]);
        state
            .networks
            .insert(11, NetworkUsage { default: Some("net1".into()), ..Default::default() });
    }
    pass(10).await;
    let by_sandbox = network(&*bench.ask(Reader::Summary).await);
    assert_eq!(by_sandbox.unwrap().default.as_deref(), Some("net1"));
}

#[tokio::test(start_paused = true)]
async fn without_the_topmost_cgroup_there_is_no_snapshot() {
    let bench = Bench::new();
    bench.usage.state().cgroups.clear();
    assert_eq!(bench.stats.snapshot(Reader::Summary).await.unwrap_err(), StatsError::Root);
}

/// A pod that mounts the volume `scratch`, and the directory it has then.
fn with_scratch() -> (Pod, &'static str) {
    let mount = api::VolumeMount { name: "scratch".to_owned(), ..Default::default() };
    let built = pod("shop/web").uid("u1").container("app").changed("app", |container| {
        container.volume_mounts = Some(vec![mount]);
    });
    let built = built.build();
    let mut object = built.object().as_ref().clone();
    object.spec.as_mut().unwrap().volumes = Some(vec![api::Volume {
        name: "scratch".to_owned(),
        empty_dir: Some(api::EmptyDirVolumeSource::default()),
        ..Default::default()
    }]);
    let pod = Pod::new(object.into(), built.source()).unwrap();
    (pod, "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~empty-dir/scratch")
}

#[tokio::test(start_paused = true)]
async fn volumes_are_looked_at_once_in_their_period() {
    let (pod, directory) = with_scratch();
    let minute = Duration::from_secs(60);
    for (period, looks) in [(Some(minute), 2), (Some(5 * minute), 1), (None, 0)] {
        let bench = Bench::with_volumes(vec![pod.clone()], period);
        bench.usage.state().file_systems.insert(directory.into(), FsUsage::default());
        let first = bench.ask(Reader::Summary).await;
        assert_eq!(bench.usage.state().tree_looks(directory), looks.min(1));
        // What cannot be walked, as here, is left out.
        assert!(first.pods[0].volumes.is_empty());
        for _ in 0..7 {
            pass(10).await;
            bench.ask(Reader::Summary).await;
        }
        assert_eq!(bench.usage.state().tree_looks(directory), looks, "{period:?}");
    }
}
