//! The container runtime in memory.
//!
//! State: what the calls leave; tests move containers with `exit`, `lose_sight_of` and
//! `kill_sandbox`. Call log: `calls()`, one line per call, `method` and what it was about. Queued
//! errors: `fail_next(method, error)`. Late answers: `hold(method)` until `release(method)`.

mod exec;

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use cri_proto::runtime::v1::{ContainerConfig, NamespaceMode, PodSandboxConfig};
use tokio::sync::{mpsc, watch};

use crate::adapters::cri::RuntimeWake;
use crate::boundary::{
    CgroupDriver, Containers, ListedContainer, ListedSandbox, ListedState, RuntimeCondition,
    RuntimeError, RuntimeFacts, RuntimeStatus, RuntimeVersion, Sandboxes,
};
use crate::model::{
    Container, ContainerId, ContainerState, Exit, HandlerFeatures, PodUid, RuntimeFeatures,
    Sandbox, SandboxId, SandboxState,
};
use crate::podworker::WallClock;

/// Exit code of a container that SIGTERM ended, and of one that SIGKILL ended.
const TERMINATED: i32 = 143;
const KILLED: i32 = 137;

struct HeldSandbox {
    sandbox: Sandbox,
    pod_uid: PodUid,
    namespace: String,
    name: String,
}

#[derive(Default)]
struct State {
    sandboxes: Vec<HeldSandbox>,
    containers: Vec<Container>,
    made: u32,
    calls: Vec<String>,
    failures: HashMap<&'static str, VecDeque<RuntimeError>>,
    held: HashSet<&'static str>,
    /// Names of containers that do not end on SIGTERM.
    stubborn: HashSet<String>,
    /// By container name.
    execs: HashMap<String, exec::ExecScript>,
    /// Where the streaming server is said to be.
    stream_url: String,
    away: bool,
}

/// One fake for all runtime traits. Clones share the state.
#[derive(Clone)]
pub struct FakeRuntime {
    state: Arc<Mutex<State>>,
    /// Bumped after each change of the state.
    changed: watch::Sender<u64>,
    wakes: mpsc::Sender<RuntimeWake>,
    clock: WallClock,
}

impl FakeRuntime {
    /// The runtime and its event stream, which tells every change.
    pub fn new(clock: WallClock) -> (Self, mpsc::Receiver<RuntimeWake>) {
        let (wakes, receiver) = mpsc::channel(1024);
        let _ = wakes.try_send(RuntimeWake::Connected);
        let runtime = Self { state: Arc::default(), changed: watch::Sender::new(0), wakes, clock };
        (runtime, receiver)
    }

    /// The same runtime seen by a process that starts anew: its event stream begins again.
    pub fn reconnect(&self) -> (Self, mpsc::Receiver<RuntimeWake>) {
        let (wakes, receiver) = mpsc::channel(1024);
        let _ = wakes.try_send(RuntimeWake::Connected);
        (Self { wakes, ..self.clone() }, receiver)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this lock")
    }

    fn tell(&self, wake: RuntimeWake) {
        let _ = self.wakes.try_send(wake);
        self.changed.send_modify(|count| *count += 1);
    }

    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// How many calls of the log begin with `start`.
    pub fn count(&self, start: &str) -> usize {
        self.state().calls.iter().filter(|call| call.starts_with(start)).count()
    }

    /// The next call of `method` fails; further ones are queued behind it.
    pub fn fail_next(&self, method: &'static str, error: RuntimeError) {
        self.state().failures.entry(method).or_default().push_back(error);
    }

    /// Calls of `method` take effect and answer only after `release`.
    pub fn hold(&self, method: &'static str) {
        self.state().held.insert(method);
    }

    pub fn release(&self, method: &'static str) {
        self.state().held.remove(method);
        self.changed.send_modify(|count| *count += 1);
    }

    /// While away, every call answers `Unavailable`.
    pub fn set_away(&self, away: bool) {
        self.state().away = away;
    }

    /// Containers of this name end on SIGKILL only.
    pub fn ignore_sigterm(&self, name: &str) {
        self.state().stubborn.insert(name.to_owned());
    }

    /// The newest container of this name.
    pub fn container(&self, name: &str) -> Option<Container> {
        self.state().containers.iter().rev().find(|c| c.name == name).cloned()
    }

    pub fn containers(&self) -> Vec<Container> {
        self.state().containers.clone()
    }

    pub fn running(&self) -> Vec<String> {
        let state = self.state();
        state.containers.iter().filter(|c| c.is_running()).map(|c| c.name.clone()).collect()
    }

    pub fn sandboxes(&self) -> Vec<Sandbox> {
        self.state().sandboxes.iter().map(|held| held.sandbox.clone()).collect()
    }

    pub fn is_empty(&self) -> bool {
        let state = self.state();
        state.sandboxes.is_empty() && state.containers.is_empty()
    }

    /// The running container of this name ends by itself.
    pub fn exit(&self, name: &str, code: i32) {
        let id =
            self.state().containers.iter().rev().find(|c| c.name == name).map(|c| c.id.clone());
        self.end(&id.expect("the container exists"), code);
    }

    /// The newest container of this name becomes one of unknown state.
    pub fn lose_sight_of(&self, name: &str) {
        let mut state = self.state();
        let container = state.containers.iter_mut().rev().find(|c| c.name == name);
        let container = container.expect("the container exists");
        container.state = ContainerState::Unknown;
        let id = container.id.to_string();
        drop(state);
        self.tell(RuntimeWake::Changed(id));
    }

    /// All sandboxes die with what runs in them, as after a reboot.
    pub fn kill_sandboxes(&self) {
        let ids: Vec<SandboxId> = self.sandboxes().into_iter().map(|s| s.id).collect();
        for id in ids {
            self.end_sandbox(&id);
        }
    }

    /// Forgets all dead containers.
    pub fn forget_dead(&self) {
        self.state().containers.retain(Container::is_running);
        self.changed.send_modify(|count| *count += 1);
        let _ = self.wakes.try_send(RuntimeWake::Connected);
    }

    /// Loses everything, as when its state is deleted.
    pub fn wipe(&self) {
        let mut state = self.state();
        state.containers.clear();
        state.sandboxes.clear();
        drop(state);
        self.tell(RuntimeWake::Connected);
    }

    fn end(&self, id: &ContainerId, code: i32) {
        let now = (self.clock)();
        let mut state = self.state();
        let Some(container) = state.containers.iter_mut().find(|c| c.id == *id) else { return };
        let started_at = match container.state {
            ContainerState::Running { started_at } => Some(started_at),
            ContainerState::Exited(_) => return,
            _ => None,
        };
        container.state = ContainerState::Exited(Exit {
            started_at,
            finished_at: now,
            code,
            reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
            message: String::new(),
        });
        drop(state);
        self.tell(RuntimeWake::Exited(id.to_string()));
    }

    fn end_sandbox(&self, id: &SandboxId) {
        let mut state = self.state();
        let inside: Vec<ContainerId> = state
            .containers
            .iter()
            .filter(|c| c.sandbox == *id && c.exit().is_none())
            .map(|c| c.id.clone())
            .collect();
        if let Some(held) = state.sandboxes.iter_mut().find(|held| held.sandbox.id == *id) {
            held.sandbox.state = SandboxState::NotReady;
        }
        drop(state);
        for container in inside {
            self.end(&container, KILLED);
        }
        self.tell(RuntimeWake::Changed(id.to_string()));
    }

    /// Logs the call and takes its queued error.
    fn begin(&self, method: &'static str, about: &str) -> Result<(), RuntimeError> {
        let mut state = self.state();
        let reads = method.starts_with("list") || method.ends_with("status");
        if !reads {
            state.calls.push(format!("{method} {about}"));
        }
        if state.away {
            return Err(RuntimeError::Unavailable("socket is closed".to_owned()));
        }
        match state.failures.get_mut(method).and_then(VecDeque::pop_front) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn put_sandbox(&self, config: PodSandboxConfig) -> SandboxId {
        let host_network = has_host_network(&config);
        let metadata = config.metadata.unwrap_or_default();
        let mut state = self.state();
        state.made += 1;
        let id = SandboxId::from(format!("sandbox-{}", state.made));
        let ips = if host_network { vec![] } else { vec![IpAddr::from([10, 0, 0, 7])] };
        state.sandboxes.push(HeldSandbox {
            sandbox: Sandbox {
                id: id.clone(),
                attempt: metadata.attempt,
                state: SandboxState::Ready,
                created_at: (self.clock)(),
                ips,
                host_network,
                annotations: config.annotations,
            },
            pod_uid: PodUid::from(&metadata.uid),
            namespace: metadata.namespace,
            name: metadata.name,
        });
        id
    }

    fn put_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let metadata = config.metadata.unwrap_or_default();
        let mut state = self.state();
        let place = state.sandboxes.iter().find(|held| held.sandbox.id == *sandbox);
        if place.is_none_or(|held| held.sandbox.state != SandboxState::Ready) {
            return Err(refused("sandbox is not running"));
        }
        let taken = state.containers.iter().any(|c| {
            c.sandbox == *sandbox && c.name == metadata.name && c.attempt == metadata.attempt
        });
        if taken {
            return Err(refused(&format!("name {} is reserved", metadata.name)));
        }
        state.made += 1;
        let id = ContainerId::from(format!("container-{}", state.made));
        let image = config.image.unwrap_or_default();
        state.containers.push(Container {
            id: id.clone(),
            name: metadata.name,
            sandbox: sandbox.clone(),
            attempt: metadata.attempt,
            state: ContainerState::Created,
            created_at: (self.clock)(),
            image: image.user_specified_image,
            image_ref: image.image,
            user: None,
            stop_signal: None,
            recursive_read_only: Vec::new(),
            spec_hash: config.annotations.get("io.kubernetes.container.hash").cloned(),
            log_path: config.log_path,
            labels: config.labels,
            annotations: config.annotations,
        });
        Ok(id)
    }

    fn set_running(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        let started_at = (self.clock)();
        let mut state = self.state();
        let container = state.containers.iter_mut().find(|c| c.id == *id);
        let container =
            container.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?;
        if container.state != ContainerState::Created {
            return Err(refused("container is not in created state"));
        }
        container.state = ContainerState::Running { started_at };
        Ok(())
    }

    async fn answer(&self, method: &'static str) {
        let mut changed = self.changed.subscribe();
        while self.state().held.contains(method) {
            changed.changed().await.expect("the sender is in self");
        }
    }
}

fn refused(message: &str) -> RuntimeError {
    RuntimeError::Refused { code: "FailedPrecondition".to_owned(), message: message.to_owned() }
}

fn has_host_network(config: &PodSandboxConfig) -> bool {
    config
        .linux
        .as_ref()
        .and_then(|linux| linux.security_context.as_ref())
        .and_then(|security| security.namespace_options.as_ref())
        .is_some_and(|options| options.network == NamespaceMode::Node as i32)
}

#[async_trait]
impl Sandboxes for FakeRuntime {
    async fn run_sandbox(
        &self,
        config: PodSandboxConfig,
        _runtime_handler: &str,
    ) -> Result<SandboxId, RuntimeError> {
        let metadata = config.metadata.clone().unwrap_or_default();
        self.begin("run_sandbox", &format!("{} {}", metadata.name, metadata.attempt))?;
        let id = self.put_sandbox(config);
        self.answer("run_sandbox").await;
        self.tell(RuntimeWake::Changed(id.to_string()));
        Ok(id)
    }

    async fn stop_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        self.begin("stop_sandbox", id.as_str())?;
        self.end_sandbox(id);
        self.answer("stop_sandbox").await;
        Ok(())
    }

    async fn remove_sandbox(&self, id: &SandboxId) -> Result<(), RuntimeError> {
        self.begin("remove_sandbox", id.as_str())?;
        self.end_sandbox(id);
        let mut state = self.state();
        state.sandboxes.retain(|held| held.sandbox.id != *id);
        state.containers.retain(|container| container.sandbox != *id);
        drop(state);
        self.tell(RuntimeWake::Changed(id.to_string()));
        Ok(())
    }

    async fn list_sandboxes(
        &self,
        pod: Option<&PodUid>,
    ) -> Result<Vec<ListedSandbox>, RuntimeError> {
        self.begin("list_sandboxes", "")?;
        let state = self.state();
        let wanted =
            state.sandboxes.iter().filter(|held| pod.is_none_or(|uid| held.pod_uid == *uid));
        Ok(wanted
            .map(|held| ListedSandbox {
                id: held.sandbox.id.clone(),
                pod_uid: held.pod_uid.clone(),
                namespace: held.namespace.clone(),
                name: held.name.clone(),
                attempt: held.sandbox.attempt,
                state: held.sandbox.state,
                created_at: held.sandbox.created_at,
                annotations: held.sandbox.annotations.clone(),
            })
            .collect())
    }

    async fn sandbox_status(&self, id: &SandboxId) -> Result<Sandbox, RuntimeError> {
        self.begin("sandbox_status", id.as_str())?;
        let state = self.state();
        let held = state.sandboxes.iter().find(|held| held.sandbox.id == *id);
        held.map(|held| held.sandbox.clone())
            .ok_or_else(|| RuntimeError::NotFound(format!("sandbox {id}")))
    }
}

#[async_trait]
impl Containers for FakeRuntime {
    async fn create_container(
        &self,
        sandbox: &SandboxId,
        config: ContainerConfig,
        _sandbox_config: PodSandboxConfig,
    ) -> Result<ContainerId, RuntimeError> {
        let metadata = config.metadata.clone().unwrap_or_default();
        let name = format!("{} {}", metadata.name, metadata.attempt);
        self.begin("create_container", &name)?;
        let id = self.put_container(sandbox, config)?;
        self.answer("create_container").await;
        Ok(id)
    }

    async fn start_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.begin("start_container", id.as_str())?;
        self.set_running(id)?;
        self.answer("start_container").await;
        self.tell(RuntimeWake::Changed(id.to_string()));
        Ok(())
    }

    async fn stop_container(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        self.begin("stop_container", &format!("{id} {}", grace.as_secs()))?;
        let found = self.state().containers.iter().find(|c| c.id == *id).cloned();
        let container = found.ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))?;
        if self.state().stubborn.contains(&container.name) {
            let mut changed = self.changed.subscribe();
            let deadline = tokio::time::Instant::now() + grace;
            let is_dead = || {
                let state = self.state();
                state.containers.iter().find(|c| c.id == *id).is_none_or(|c| c.exit().is_some())
            };
            while !is_dead() {
                tokio::select! {
                    _ = changed.changed() => {}
                    () = tokio::time::sleep_until(deadline) => self.end(id, KILLED),
                }
            }
        } else {
            self.end(id, TERMINATED);
        }
        self.answer("stop_container").await;
        Ok(())
    }

    async fn remove_container(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.begin("remove_container", id.as_str())?;
        self.end(id, KILLED);
        self.state().containers.retain(|container| container.id != *id);
        self.tell(RuntimeWake::Changed(id.to_string()));
        Ok(())
    }

    async fn list_containers(
        &self,
        pod: Option<&PodUid>,
    ) -> Result<Vec<ListedContainer>, RuntimeError> {
        self.begin("list_containers", "")?;
        let state = self.state();
        let listed = state.containers.iter().filter_map(|container| {
            let place = state.sandboxes.iter().find(|held| held.sandbox.id == container.sandbox)?;
            Some(ListedContainer {
                id: container.id.clone(),
                sandbox: container.sandbox.clone(),
                pod_uid: place.pod_uid.clone(),
                namespace: place.namespace.clone(),
                pod_name: place.name.clone(),
                name: container.name.clone(),
                attempt: container.attempt,
                state: match container.state {
                    ContainerState::Created => ListedState::Created,
                    ContainerState::Running { .. } => ListedState::Running,
                    ContainerState::Exited(_) => ListedState::Exited,
                    ContainerState::Unknown => ListedState::Unknown,
                },
                created_at: container.created_at,
            })
        });
        Ok(listed.filter(|listed| pod.is_none_or(|uid| listed.pod_uid == *uid)).collect())
    }

    async fn container_status(
        &self,
        id: &ContainerId,
        _sandbox: &SandboxId,
    ) -> Result<Container, RuntimeError> {
        self.begin("container_status", id.as_str())?;
        let state = self.state();
        let container = state.containers.iter().find(|c| c.id == *id);
        container.cloned().ok_or_else(|| RuntimeError::NotFound(format!("container {id}")))
    }

    async fn reopen_log(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.begin("reopen_log", id.as_str())
    }
}

#[async_trait]
impl RuntimeFacts for FakeRuntime {
    async fn version(&self) -> Result<RuntimeVersion, RuntimeError> {
        self.begin("version", "")?;
        Ok(RuntimeVersion { name: "fake".to_owned(), version: "1.0.0".to_owned() })
    }

    async fn status(&self) -> Result<RuntimeStatus, RuntimeError> {
        self.begin("status", "")?;
        let ready = RuntimeCondition { ready: true, reason: String::new(), message: String::new() };
        let features = RuntimeFeatures {
            handlers: [(String::new(), HandlerFeatures::default())].into(),
            supplemental_groups_policy: Some(false),
        };
        Ok(RuntimeStatus { runtime: ready.clone(), network: ready, features })
    }

    async fn cgroup_driver(&self) -> Result<CgroupDriver, RuntimeError> {
        self.begin("cgroup_driver", "")?;
        Ok(CgroupDriver::Cgroupfs)
    }

    async fn update_pod_cidr(&self, pod_cidr: &str) -> Result<(), RuntimeError> {
        self.begin("update_pod_cidr", pod_cidr)
    }
}
