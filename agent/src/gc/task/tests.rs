use std::collections::HashSet;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::task::JoinSet;

use super::*;
use crate::config::Limits;
use crate::events::EventsTask;
use crate::model::PodUid;
use crate::podworker::{EndCause, Lifecycle, WorkerState};
use crate::testing::build::{PodBuilder, exited, pod, runtime};
use crate::testing::clock::paused_clock;
use crate::testing::fake_api::FakeApi;

/// What lies about on a node, by name; removals that fail, with their message.
#[derive(Default)]
struct State {
    cgroups: BTreeSet<String>,
    pod_dirs: BTreeSet<String>,
    log_dirs: BTreeSet<String>,
    links: BTreeSet<String>,
    dead: BTreeSet<String>,
    failing: BTreeMap<String, String>,
    looks: usize,
}

impl State {
    fn fail(&self, name: &str) -> Result<(), LeftoverError> {
        match self.failing.get(name) {
            Some(message) => Err(LeftoverError(message.clone())),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Default)]
struct FakeRemains(Arc<Mutex<State>>);

#[async_trait]
impl Remains for FakeRemains {
    async fn pod_dirs(&self) -> Result<Vec<PodUid>, LeftoverError> {
        let mut state = self.0.lock().unwrap();
        state.looks += 1;
        Ok(state.pod_dirs.iter().map(PodUid::from).collect())
    }

    async fn remove_pod_dir(&self, uid: &PodUid) -> Result<(), LeftoverError> {
        let mut state = self.0.lock().unwrap();
        state.fail(uid.as_str())?;
        state.pod_dirs.remove(uid.as_str());
        Ok(())
    }

    async fn remove_cgroups(
        &self,
        known: HashSet<PodUid>,
    ) -> Result<(Vec<PodUid>, Vec<LeftoverError>), LeftoverError> {
        let mut state = self.0.lock().unwrap();
        let is_known = |uid: &String| known.contains(&PodUid::from(uid));
        let (kept, gone): (BTreeSet<String>, BTreeSet<String>) =
            state.cgroups.iter().cloned().partition(is_known);
        state.cgroups = kept;
        Ok((gone.iter().map(PodUid::from).collect(), Vec::new()))
    }

    async fn log_dirs(&self) -> Result<Vec<String>, LeftoverError> {
        Ok(self.0.lock().unwrap().log_dirs.iter().cloned().collect())
    }

    async fn remove_log_dir(&self, name: &str) -> Result<(), LeftoverError> {
        let mut state = self.0.lock().unwrap();
        state.fail(name)?;
        state.log_dirs.remove(name);
        Ok(())
    }

    async fn broken_links(&self) -> Result<Vec<String>, LeftoverError> {
        Ok(self.0.lock().unwrap().links.iter().cloned().collect())
    }

    async fn remove_link(&self, name: &str) -> Result<(), LeftoverError> {
        self.0.lock().unwrap().links.remove(name);
        Ok(())
    }

    async fn remove_dead(&self, excess: &Excess) -> Result<(), LeftoverError> {
        let mut state = self.0.lock().unwrap();
        state.dead.extend(excess.containers.iter().map(|container| container.id.to_string()));
        state.fail("dead")
    }
}

struct World {
    remains: FakeRemains,
    desired: watch::Sender<Arc<DesiredPods>>,
    workers: watch::Sender<Arc<WorkerStates>>,
    runtime: watch::Sender<Option<Arc<RuntimePods>>>,
    api: FakeApi,
    tasks: JoinSet<()>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            remains: FakeRemains::default(),
            desired: watch::Sender::default(),
            workers: watch::Sender::default(),
            runtime: watch::Sender::new(None),
            api: FakeApi::new("node"),
            tasks: JoinSet::new(),
        };
        let limits =
            Limits { event_qps: 50, event_burst: 100, registry_qps: 5, registry_burst: 10 };
        let (events, events_task) = EventsTask::new(Arc::new(world.api.clone()), "node", &limits);
        world.tasks.spawn(events_task.run());
        let task = GcTask::new(GcParts {
            node_name: "node".to_owned(),
            limits: DeadContainers::default(),
            desired: world.desired.subscribe(),
            workers: world.workers.subscribe(),
            runtime: world.runtime.subscribe(),
            remains: Arc::new(world.remains.clone()),
            events,
            clock: paused_clock(),
        });
        world.tasks.spawn(task.run());
        world
    }

    /// The sources want these pods.
    fn want(&self, pods: Vec<PodBuilder>, all_synced: bool) {
        let pods = pods.into_iter().map(PodBuilder::build);
        let pods = pods.map(|pod| (pod.uid().clone(), pod)).collect();
        let desired = DesiredPods { pods, all_synced, ..DesiredPods::default() };
        self.desired.send_replace(Arc::new(desired));
    }

    /// These pods have a worker.
    fn work_on(&self, names: &[&str]) {
        let worker = |name: &&str| {
            let pod = pod(&format!("ns/{name}")).build();
            let (full_name, lifecycle) = (pod.full_name().clone(), Lifecycle::Syncing);
            (pod.uid().clone(), WorkerState { full_name, pod: None, lifecycle })
        };
        self.workers.send_replace(Arc::new(names.iter().map(worker).collect()));
    }

    fn list_runtime(&self) {
        self.runtime.send_replace(Some(Arc::default()));
    }

    /// Every kind of thing a pod leaves.
    fn leave(&self, name: &str) {
        let mut state = self.remains.0.lock().unwrap();
        let uid = format!("uid-{name}");
        state.cgroups.insert(uid.clone());
        state.pod_dirs.insert(uid.clone());
        state.log_dirs.insert(format!("ns_{name}_{uid}"));
    }

    fn left(&self) -> Vec<String> {
        let state = self.remains.0.lock().unwrap();
        let all = state.cgroups.iter().chain(&state.pod_dirs).chain(&state.log_dirs);
        all.chain(&state.links).cloned().collect()
    }

    fn looks(&self) -> usize {
        self.remains.0.lock().unwrap().looks
    }

    fn fail(&self, name: &str, message: &str) {
        let mut state = self.remains.0.lock().unwrap();
        state.failing.insert(name.to_owned(), message.to_owned());
    }

    fn failures_told(&self) -> Vec<String> {
        let events = self.api.events().into_iter();
        let failed = events.filter(|event| event.reason.as_deref() == Some("ContainerGCFailed"));
        failed.filter_map(|event| event.message).collect()
    }
}

async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn nothing_goes_before_all_sources_have_spoken_and_the_runtime_was_listed() {
    let world = World::new();
    world.leave("old");
    world.want(vec![], false);
    world.list_runtime();
    pass(300).await;
    assert_eq!(world.left().len(), 3);
    world.want(vec![], true);
    pass(1).await;
    assert!(world.left().is_empty());

    let world = World::new();
    world.leave("old");
    world.want(vec![], true);
    pass(300).await;
    assert_eq!(world.left().len(), 3);
    world.list_runtime();
    pass(1).await;
    assert!(world.left().is_empty());
}

#[tokio::test(start_paused = true)]
async fn pods_that_anybody_knows_keep_everything() {
    let world = World::new();
    for name in ["wanted", "working", "held", "gone"] {
        world.leave(name);
    }
    let held = runtime(&pod("ns/held").build()).sandbox(0).build();
    world.runtime.send_replace(Some(Arc::new([(held.uid.clone(), Arc::new(held))].into())));
    world.work_on(&["working"]);
    world.want(vec![pod("ns/wanted")], true);
    pass(1).await;
    let left = world.left();
    assert_eq!(left.len(), 9, "{left:?}");
    assert!(!left.iter().any(|name| name.contains("gone")));
}

#[tokio::test(start_paused = true)]
async fn quiet_node_is_not_looked_at() {
    let world = World::new();
    world.want(vec![pod("ns/a")], true);
    world.list_runtime();
    pass(600).await;
    assert_eq!(world.looks(), 1);
    world.want(vec![], true);
    world.leave("a");
    pass(61).await;
    assert_eq!(world.looks(), 2);
    assert!(world.left().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_a_pod_left_goes_soon_after_the_pod() {
    let world = World::new();
    world.want(vec![], true);
    world.list_runtime();
    world.work_on(&["a", "b", "c"]);
    pass(10).await;
    let links = ["a_ns_app-1.log".to_owned()];
    world.remains.0.lock().unwrap().links.extend(links);
    world.work_on(&["b", "c"]);
    pass(1).await;
    world.work_on(&["c"]);
    pass(5).await;
    assert!(world.left().is_empty());
    assert_eq!(world.looks(), 2);
}

#[tokio::test(start_paused = true)]
async fn leftover_is_tried_again_and_told_once() {
    let world = World::new();
    world.leave("old");
    world.fail("uid-old", "/pods/uid-old/x is still mounted");
    world.fail("ns_old_uid-old", "cannot remove ns_old_uid-old: busy");
    world.want(vec![], true);
    world.list_runtime();
    pass(301).await;
    assert_eq!(world.left(), ["uid-old", "ns_old_uid-old"]);
    assert_eq!(world.looks(), 6);
    assert_eq!(world.failures_told(), ["cannot remove ns_old_uid-old: busy"]);
    world.remains.0.lock().unwrap().failing.clear();
    pass(61).await;
    assert!(world.left().is_empty());
    pass(300).await;
    assert_eq!(world.looks(), 7);
}

#[tokio::test(start_paused = true)]
async fn links_of_containers_that_are_gone_go() {
    let world = World::new();
    let names = ["web_ns_app-123.log".to_owned(), "notes".to_owned()];
    world.remains.0.lock().unwrap().links.extend(names);
    world.want(vec![], true);
    world.list_runtime();
    pass(1).await;
    assert_eq!(world.left(), ["notes"]);
}

#[tokio::test(start_paused = true)]
async fn dead_containers_of_an_evicted_pod_go_and_failure_is_told_on_the_node() {
    let world = World::new();
    let evicted = pod("ns/web").container("app").build();
    let held = runtime(&evicted).sandbox(0).container("app", 0, exited(137, 5)).build();
    let lifecycle = Lifecycle::Finished { cause: EndCause::Preempted { message: String::new() } };
    let state = WorkerState { full_name: held.full_name.clone(), pod: Some(evicted), lifecycle };
    world.workers.send_replace(Arc::new([(held.uid.clone(), state)].into()));
    world.runtime.send_replace(Some(Arc::new([(held.uid.clone(), Arc::new(held))].into())));
    world.fail("dead", "cannot remove dead containers of pod ns/web: no");
    world.want(vec![pod("ns/web")], true);
    pass(130).await;
    assert!(world.remains.0.lock().unwrap().dead.contains("app-0"));
    assert_eq!(world.failures_told(), ["cannot remove dead containers of pod ns/web: no"]);
}
