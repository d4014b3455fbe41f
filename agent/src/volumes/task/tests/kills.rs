//! A noded that is killed at any step, and the one that comes after it.
//!
//! The killed one is a process of its own: this test binary once more, running [`child`]. It works
//! on real directories and real mounts, in a mount namespace that ends with the test. Each of its
//! calls that change a file or a mount is a step; it is killed as it enters one. The one after it
//! is a new volumes slice in the test itself, which has nothing but the disk and the mount table.

mod snapshot;
mod tracer;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use serde_json::{Value, json};
use tokio::sync::watch;

use self::snapshot::{Snapshot, snapshot};
use self::tracer::{Ended, run_child};
use crate::adapters::linux::LinuxMounter;
use crate::config::Limits;
use crate::events::EventsTask;
use crate::metrics::VolumeMetrics;
use crate::model::Pod;
use crate::node::NodeView;
use crate::objects;
use crate::podexec::fixtures::{node_facts, pod};
use crate::testing::fake_api::FakeApi;
use crate::testing::fake_host::FakeMachine;
use crate::volumes::{VolumeThreads, VolumesDeps, VolumesHandle, new};

/// Set for the child: what it is to do, and where.
const WORK: &str = "NODED_TEST_VOLUMES_WORK";
const PLACE: &str = "NODED_TEST_VOLUMES_PLACE";
/// Repeats a run of random kills.
const SEED: &str = "NODED_TEST_SEED";
const RANDOM_RUNS: u64 = 200;
const POD_DIR: &str = "root/pods/uid-1";

/// What a noded can be killed at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// The pod has no volumes yet.
    Mount,
    /// They are there, and every object has changed.
    Update,
    Release,
}

const WORKS: [Work; 3] = [Work::Mount, Work::Update, Work::Release];

impl Work {
    fn name(self) -> &'static str {
        match self {
            Self::Mount => "mount",
            Self::Update => "update",
            Self::Release => "release",
        }
    }

    /// Which state of the objects the API server has meanwhile.
    fn version(self) -> u32 {
        if self == Self::Mount { 1 } else { 2 }
    }
}

/// A pod with volumes of every kind, one of them mounted into another.
fn the_pod(place: &Path) -> Pod {
    let fields = json!({"items": [
        {"path": "deep/labels", "fieldRef": {"fieldPath": "metadata.name"}}]});
    let host = json!({"path": place.join("host/made"), "type": "DirectoryOrCreate"});
    let volumes = json!([
        {"name": "config", "configMap": {"name": "cm", "items": [
            {"key": "a", "path": "a", "mode": 0o400}, {"key": "b", "path": "d/b"}]}},
        {"name": "secret", "secret": {"secretName": "s"}},
        {"name": "fields", "downwardAPI": fields},
        {"name": "access", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "cm"}}, {"secret": {"name": "s"}}]}},
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": host},
    ]);
    let volumes: Vec<Value> = volumes.as_array().unwrap().clone();
    let mounts = volumes.iter().map(|volume| match volume["name"].as_str().unwrap() {
        "disk" => json!({"name": "disk", "mountPath": "/config/disk"}),
        name => json!({"name": name, "mountPath": format!("/{name}")}),
    });
    let mounts: Vec<Value> = mounts.collect();
    pod(json!({"metadata": {"uid": "uid-1"}, "spec": {
        "securityContext": {"fsGroup": 9}, "serviceAccountName": "app",
        "containers": [{"name": "main", "volumeMounts": mounts}], "volumes": volumes}}))
}

/// A noded that has just started.
fn start(place: &Path, version: u32) -> VolumesHandle {
    let api = FakeApi::new("n1");
    let text = format!("version {version}");
    let map = json!({"metadata": {"namespace": "ns", "name": "cm"},
        "data": {"a": text, "b": text}});
    api.put_config_map(serde_json::from_value(map).unwrap());
    let mut secret: k8s_openapi::api::core::v1::Secret =
        serde_json::from_value(json!({"metadata": {"namespace": "ns", "name": "s"}})).unwrap();
    let bytes = k8s_openapi::ByteString(text.into_bytes());
    secret.data = Some([("s".to_owned(), bytes)].into());
    api.put_secret(secret);
    let api = Arc::new(api);
    let (objects, objects_task, changed) = objects::new(Arc::clone(&api) as _);
    tokio::spawn(objects_task.run());
    let limits = Limits { event_qps: 0, event_burst: 0, registry_qps: 0, registry_burst: 0 };
    let (events, _) = EventsTask::new(Arc::clone(&api) as _, "n1", &limits);
    let deps = VolumesDeps {
        root_dir: place.join("root"),
        mounter: Arc::new(LinuxMounter),
        api,
        objects,
        machine: Arc::new(FakeMachine::default()),
        node: Arc::new(node_facts()),
        threads: VolumeThreads::on(tokio::runtime::Handle::current()),
        view: watch::Sender::new(NodeView::unknown("n1")).subscribe(),
        events,
        metrics: VolumeMetrics::default(),
    };
    let (volumes, task) = new(deps, changed);
    tokio::spawn(task.run(watch::Sender::default().subscribe()));
    volumes
}

async fn carry_out(place: &Path, work: Work) {
    let volumes = start(place, work.version());
    match work {
        Work::Mount | Work::Update => drop(volumes.ensure_mounted(&the_pod(place)).await.unwrap()),
        Work::Release => {
            for uid in volumes.known_pod_dirs().await.unwrap() {
                volumes.release(&uid).await.unwrap();
            }
        }
    }
}

/// Runs a future as a process that has nothing else to do. Threads it starts are in the mount
/// namespace of the calling one.
fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

/// What the killed process does; no test when nobody asks.
#[test]
fn child() {
    let (Ok(work), Ok(place)) = (std::env::var(WORK), std::env::var(PLACE)) else { return };
    let work = *WORKS.iter().find(|known| known.name() == work).unwrap();
    tracer::wait_for_tracer();
    block_on(carry_out(Path::new(&place), work));
}

/// Directories of one test, and what the pod looks like when nobody is killed.
struct Ground {
    dir: tempfile::TempDir,
    place: PathBuf,
    /// By version of the objects.
    whole: [Snapshot; 2],
}

impl Ground {
    /// `None` without the privileges it takes.
    fn new() -> Option<Self> {
        let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        unshare(CloneFlags::CLONE_NEWNS).ok()?;
        mount(None::<&str>, "/", None::<&str>, private, None::<&str>).ok()?;
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().canonicalize().unwrap();
        fs::create_dir_all(place.join("host")).unwrap();
        fs::create_dir_all(place.join("root")).unwrap();
        fs::write(place.join("host/kept"), "kept").unwrap();
        let mut ground = Self { dir, place, whole: Default::default() };
        for (index, work) in [(0, Work::Mount), (1, Work::Update)] {
            block_on(carry_out(&ground.place, work));
            ground.whole[index] = snapshot(&ground.place);
        }
        ground.finish();
        Some(ground)
    }

    /// Brings the pod to where `work` begins.
    fn prepare(&self, work: Work) {
        if work != Work::Mount {
            block_on(carry_out(&self.place, Work::Mount));
            self.use_volumes();
        }
    }

    /// What containers write.
    fn use_volumes(&self) {
        for file in self.sentinels() {
            fs::write(file, "precious").unwrap();
        }
    }

    fn sentinels(&self) -> [PathBuf; 3] {
        let volume = |name: &str| {
            self.place.join(POD_DIR).join("volumes/kubernetes.io~empty-dir").join(name).join("file")
        };
        [volume("disk"), volume("memory"), self.place.join("host/made/file")]
    }

    fn expect_sentinels(&self) {
        for file in self.sentinels() {
            assert_eq!(fs::read_to_string(&file).unwrap(), "precious", "{}", file.display());
            fs::remove_file(file).unwrap();
        }
    }

    /// Lets a noded work and kills it as it enters a step, then lets the next one do the same, and
    /// at last one that is not killed. Then everything is as if nobody had been.
    fn check(&self, work: Work, kills: &[usize]) {
        self.prepare(work);
        for at in kills {
            // It may have fewer steps, as one after another kill has.
            run_child(&self.child_variables(work), Some(*at));
            if work == Work::Update {
                self.expect_whole_updates();
            }
        }
        block_on(carry_out(&self.place, work));
        match work {
            Work::Mount => self.expect_whole(0, kills),
            Work::Update => {
                self.expect_sentinels();
                self.expect_whole(1, kills);
            }
            Work::Release => {
                let file = self.place.join("host/made/file");
                assert_eq!(fs::read_to_string(file).unwrap(), "precious");
            }
        }
        self.finish();
    }

    fn expect_whole(&self, version: usize, kills: &[usize]) {
        let differences = self.whole[version].differences(&snapshot(&self.place));
        assert!(differences.is_empty(), "killed at {kills:?}: {differences:#?}");
    }

    /// A reader sees all of the old files or all of the new ones.
    fn expect_whole_updates(&self) {
        let volume = self.place.join(POD_DIR).join("volumes/kubernetes.io~configmap/config");
        let read = |path: &str| fs::read_to_string(volume.join(path)).unwrap();
        assert_eq!(read("..data/a"), read("..data/d/b"));
        assert_eq!(read("a"), read("d/b"));
    }

    /// Ends the pod and makes sure that nothing of it is left and nothing else is lost.
    fn finish(&self) {
        block_on(carry_out(&self.place, Work::Release));
        let left = snapshot(&self.place);
        assert_eq!(left.mounts, Vec::<String>::new());
        assert_eq!(left.files.iter().filter(|line| line.contains("uid-1")).count(), 0, "{left:#?}");
        assert_eq!(fs::read_to_string(self.place.join("host/kept")).unwrap(), "kept");
        assert!(self.place.join("host/made").is_dir());
        fs::remove_dir_all(self.place.join("host/made")).unwrap();
    }

    /// How many steps the work has.
    fn steps(&self, work: Work) -> usize {
        self.prepare(work);
        let ended = run_child(&self.child_variables(work), None);
        self.finish();
        let Ended::Itself { steps } = ended else { panic!("{work:?}: {ended:?}") };
        steps
    }

    fn child_variables(&self, work: Work) -> [(&'static str, String); 2] {
        [(WORK, work.name().to_owned()), (PLACE, self.dir.path().to_str().unwrap().to_owned())]
    }
}

#[test]
fn noded_killed_at_any_step_leaves_nothing_wrong_to_the_next() {
    let Some(ground) = Ground::new() else { return };
    for work in WORKS {
        let steps = ground.steps(work);
        assert!(steps > 10, "{work:?}: {steps}");
        for step in 1..=steps {
            ground.check(work, &[step]);
        }
    }
}

#[test]
fn noded_killed_again_and_again_at_random_leaves_nothing_wrong_to_the_next() {
    let Some(ground) = Ground::new() else { return };
    let given = std::env::var(SEED).ok().and_then(|seed| seed.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let since = std::time::UNIX_EPOCH.elapsed().unwrap();
        since.as_secs()
    });
    eprintln!("{RANDOM_RUNS} random kills with {SEED}={seed}");
    let steps = WORKS.map(|work| ground.steps(work));
    let mut random = Random(seed);
    for run in 0..RANDOM_RUNS {
        let which = random.below(WORKS.len());
        let kills = 1 + random.below(2);
        let kills: Vec<usize> = (0..kills).map(|_| 1 + random.below(steps[which])).collect();
        eprintln!("run {run}: {:?} killed at {kills:?} of {}", WORKS[which], steps[which]);
        ground.check(WORKS[which], &kills);
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(bound).unwrap()).unwrap()
    }
}
