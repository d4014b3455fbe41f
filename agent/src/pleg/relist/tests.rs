use std::sync::Mutex;

use async_trait::async_trait;
use cri_proto::runtime::v1::{ContainerConfig, PodSandboxConfig};
use jiff::Timestamp;

use super::*;
use crate::boundary::ListedState;
use crate::model::{ContainerState, Exit, SandboxId};

/// One container in one pod, whose state the test sets.
struct Runtime {
    state: Mutex<Option<ListedState>>,
    away: Mutex<bool>,
    statuses: Mutex<u32>,
}

impl Runtime {
    fn new(state: Option<ListedState>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(state),
            away: Mutex::new(false),
            statuses: Mutex::new(0),
        })
    }

    fn reader(self: &Arc<Self>) -> RuntimeReader {
        RuntimeReader { sandboxes: self.clone(), containers: self.clone() }
    }

    fn answer<T>(&self, value: T) -> Result<T, RuntimeError> {
        if *self.away.lock().unwrap() {
            return Err(RuntimeError::Unavailable("away".to_owned()));
        }
        Ok(value)
    }
}

fn unused<T>() -> Result<T, RuntimeError> {
    Err(RuntimeError::Unimplemented("not in this test".to_owned()))
}

#[async_trait]
impl Sandboxes for Runtime {
    async fn run_sandbox(&self, _: PodSandboxConfig, _: &str) -> Result<SandboxId, RuntimeError> {
        unused()
    }
    async fn stop_sandbox(&self, _: &SandboxId) -> Result<(), RuntimeError> {
        unused()
    }
    async fn remove_sandbox(&self, _: &SandboxId) -> Result<(), RuntimeError> {
        unused()
    }
    async fn list_sandboxes(&self, _: Option<&PodUid>) -> Result<Vec<ListedSandbox>, RuntimeError> {
        self.answer(Vec::new())
    }
    async fn sandbox_status(&self, _: &SandboxId) -> Result<Sandbox, RuntimeError> {
        unused()
    }
}

#[async_trait]
impl Containers for Runtime {
    async fn create_container(
        &self,
        _: &SandboxId,
        _: ContainerConfig,
        _: PodSandboxConfig,
    ) -> Result<ContainerId, RuntimeError> {
        unused()
    }
    async fn start_container(&self, _: &ContainerId) -> Result<(), RuntimeError> {
        unused()
    }
    async fn stop_container(&self, _: &ContainerId, _: Duration) -> Result<(), RuntimeError> {
        unused()
    }
    async fn remove_container(&self, _: &ContainerId) -> Result<(), RuntimeError> {
        unused()
    }
    async fn list_containers(
        &self,
        _: Option<&PodUid>,
    ) -> Result<Vec<ListedContainer>, RuntimeError> {
        let state = *self.state.lock().unwrap();
        let item = state.map(|state| ListedContainer {
            id: "c1".into(),
            sandbox: "s".into(),
            pod_uid: "u".into(),
            namespace: "ns".to_owned(),
            pod_name: "p".to_owned(),
            name: "c".to_owned(),
            attempt: 0,
            state,
            created_at: Timestamp::UNIX_EPOCH,
        });
        self.answer(item.into_iter().collect())
    }
    async fn container_status(
        &self,
        id: &ContainerId,
        sandbox: &SandboxId,
    ) -> Result<Container, RuntimeError> {
        *self.statuses.lock().unwrap() += 1;
        let state = match *self.state.lock().unwrap() {
            Some(ListedState::Exited) => ContainerState::Exited(Exit {
                started_at: None,
                finished_at: Timestamp::UNIX_EPOCH,
                code: 0,
                reason: String::new(),
                message: String::new(),
            }),
            _ => ContainerState::Running { started_at: Timestamp::UNIX_EPOCH },
        };
        self.answer(Container {
            id: id.clone(),
            name: "c".to_owned(),
            sandbox: sandbox.clone(),
            attempt: 0,
            state,
            created_at: Timestamp::UNIX_EPOCH,
            image: String::new(),
            image_ref: String::new(),
            user: None,
            stop_signal: None,
            recursive_read_only: Vec::new(),
            spec_hash: None,
            log_path: String::new(),
            labels: HashMap::new(),
            annotations: HashMap::new(),
        })
    }
    async fn reopen_log(&self, _: &ContainerId) -> Result<(), RuntimeError> {
        unused()
    }
}

struct Pleg {
    handle: PlegHandle,
    wakes: mpsc::Sender<RuntimeWake>,
}

fn start(runtime: &Arc<Runtime>) -> Pleg {
    let (wakes, receiver) = mpsc::channel(8);
    let (task, handle) = PlegTask::new(runtime.reader(), receiver);
    tokio::spawn(task.run());
    Pleg { handle, wakes }
}

async fn snapshot(handle: &PlegHandle) -> Arc<RuntimePods> {
    let mut cache = handle.subscribe();
    cache.wait_for(Option::is_some).await.unwrap().clone().unwrap()
}

fn is_running(handle: &PlegHandle) -> bool {
    handle.cached(&"u".into()).is_some_and(|pod| pod.containers[0].is_running())
}

#[tokio::test(start_paused = true)]
async fn first_snapshot_holds_what_was_running() {
    let runtime = Runtime::new(Some(ListedState::Running));
    let pleg = start(&runtime);
    assert_eq!(snapshot(&pleg.handle).await.len(), 1);
    assert!(is_running(&pleg.handle));
}

#[tokio::test(start_paused = true)]
async fn runtime_without_pods_gives_an_empty_snapshot() {
    let pleg = start(&Runtime::new(None));
    assert!(snapshot(&pleg.handle).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn runtime_that_goes_away_leaves_the_cache_as_it_was() {
    let runtime = Runtime::new(Some(ListedState::Running));
    let pleg = start(&runtime);
    snapshot(&pleg.handle).await;
    *runtime.away.lock().unwrap() = true;
    let error = pleg.handle.refresh(&"u".into(), &PodFullName::new("ns", "p")).await;
    assert!(error.is_err());
    assert!(is_running(&pleg.handle));
    let mut health = pleg.handle.health();
    let message = health.wait_for(Option::is_some).await.unwrap().clone().unwrap();
    assert!(message.starts_with("PLEG is not healthy"), "{message}");
    *runtime.away.lock().unwrap() = false;
    health.wait_for(Option::is_none).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn exit_event_is_followed_until_the_runtime_shows_the_end() {
    let runtime = Runtime::new(Some(ListedState::Running));
    let pleg = start(&runtime);
    pleg.wakes.send(RuntimeWake::Connected).await.unwrap();
    snapshot(&pleg.handle).await;
    let begun = Instant::now();
    pleg.wakes.send(RuntimeWake::Exited("c1".to_owned())).await.unwrap();
    // The first look finds it running; the end shows a moment later.
    pleg.handle.refresh(&"u".into(), &PodFullName::new("ns", "p")).await.unwrap();
    assert!(is_running(&pleg.handle));
    *runtime.state.lock().unwrap() = Some(ListedState::Exited);
    let mut cache = pleg.handle.subscribe();
    let ended = |pods: &Option<Arc<RuntimePods>>| {
        pods.as_ref().is_some_and(|pods| pods[&"u".into()].containers[0].exit().is_some())
    };
    cache.wait_for(ended).await.unwrap();
    assert!(begun.elapsed() < FAST_RELIST);
}

#[tokio::test(start_paused = true)]
async fn unchanged_container_is_not_asked_for_again() {
    let runtime = Runtime::new(Some(ListedState::Running));
    let pleg = start(&runtime);
    snapshot(&pleg.handle).await;
    for _ in 0..5 {
        pleg.handle.refresh(&"u".into(), &PodFullName::new("ns", "p")).await.unwrap();
    }
    assert_eq!(*runtime.statuses.lock().unwrap(), 1);
}

#[tokio::test(start_paused = true)]
async fn pod_without_anything_left_is_dropped_from_the_cache() {
    let runtime = Runtime::new(Some(ListedState::Running));
    let pleg = start(&runtime);
    snapshot(&pleg.handle).await;
    *runtime.state.lock().unwrap() = None;
    let pod = pleg.handle.refresh(&"u".into(), &PodFullName::new("ns", "p")).await.unwrap();
    assert!(pod.is_empty());
    assert!(pleg.handle.cached(&"u".into()).is_none());
}

#[tokio::test(start_paused = true)]
async fn list_finds_what_no_event_told() {
    let runtime = Runtime::new(Some(ListedState::Running));
    let pleg = start(&runtime);
    pleg.wakes.send(RuntimeWake::Connected).await.unwrap();
    snapshot(&pleg.handle).await;
    *runtime.state.lock().unwrap() = Some(ListedState::Exited);
    let begun = Instant::now();
    let mut cache = pleg.handle.subscribe();
    cache
        .wait_for(|pods| {
            pods.as_ref().is_some_and(|pods| pods[&"u".into()].containers[0].exit().is_some())
        })
        .await
        .unwrap();
    assert!(begun.elapsed() > FAST_RELIST && begun.elapsed() <= SLOW_RELIST);
}

#[tokio::test(start_paused = true)]
async fn exit_of_a_container_that_nobody_has_read_yet_is_followed_too() {
    let runtime = Runtime::new(None);
    let pleg = start(&runtime);
    pleg.wakes.send(RuntimeWake::Connected).await.unwrap();
    snapshot(&pleg.handle).await;
    let begun = Instant::now();
    pleg.wakes.send(RuntimeWake::Exited("c1".to_owned())).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    // Its maker reads it while CRI still shows it alive.
    *runtime.state.lock().unwrap() = Some(ListedState::Running);
    pleg.handle.refresh(&"u".into(), &PodFullName::new("ns", "p")).await.unwrap();
    tokio::time::sleep(FAST_RELIST * 2).await;
    assert!(is_running(&pleg.handle));
    *runtime.state.lock().unwrap() = Some(ListedState::Exited);
    let mut cache = pleg.handle.subscribe();
    let ended = |pods: &Option<Arc<RuntimePods>>| {
        pods.as_ref().is_some_and(|pods| pods[&"u".into()].containers[0].exit().is_some())
    };
    cache.wait_for(ended).await.unwrap();
    assert!(begun.elapsed() < SLOW_RELIST);
}
