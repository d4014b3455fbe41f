//! The API server in memory: pods, the Node, its Lease, ConfigMaps, Secrets, Services and events,
//! with resource versions.
//!
//! State: what the `put_*` functions and the calls leave. Call log: `calls()`. Queued errors:
//! `fail_next(call, error)`, where `call` is the name of the trait's method.

mod nodes;
mod objects;
mod pods;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::merge_patch::strategic_merge;
use crate::boundary::{ApiError, EnvService};
use crate::model::PodUid;

/// A pod as small as a pod can be.
pub fn pod_object(namespace: &str, name: &str, uid: &str, node: &str) -> api::Pod {
    serde_json::from_value(json!({
        "metadata": {"namespace": namespace, "name": name, "uid": uid},
        "spec": {"nodeName": node, "containers": [{"name": "main", "image": "image"}]},
    }))
    .expect("the literal above has the shape of a pod")
}

type Name = (String, String);

#[derive(Default)]
struct State {
    version: u64,
    pods: BTreeMap<PodUid, Arc<api::Pod>>,
    node: Option<api::Node>,
    lease: Option<Lease>,
    config_maps: BTreeMap<Name, Arc<api::ConfigMap>>,
    secrets: BTreeMap<Name, api::Secret>,
    service_accounts: BTreeMap<Name, api::ServiceAccount>,
    runtime_classes: BTreeMap<String, Arc<RuntimeClass>>,
    claims: BTreeMap<Name, api::PersistentVolumeClaim>,
    volumes: BTreeMap<String, api::PersistentVolume>,
    services: BTreeMap<String, Vec<EnvService>>,
    events: BTreeMap<Name, api::Event>,
    /// `None` hands out one that never ends.
    token_life: Option<Duration>,
    tokens: u64,
    calls: Vec<String>,
    failures: HashMap<&'static str, VecDeque<ApiError>>,
}

/// What a watch task has to know besides the state.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    Up,
    Broken,
    Ended,
}

/// One fake for `PodsApi`, `NodesApi`, `ObjectsApi` and `EventSink`. Clones share the state.
#[derive(Clone)]
pub struct FakeApi {
    node_name: String,
    state: Arc<Mutex<State>>,
    /// Bumped after each change of the state.
    changed: watch::Sender<u64>,
    line: watch::Sender<Line>,
    /// Number of calls so far.
    logged: watch::Sender<usize>,
}

impl FakeApi {
    pub fn new(node_name: &str) -> Self {
        Self {
            node_name: node_name.to_owned(),
            state: Arc::default(),
            changed: watch::Sender::new(0),
            line: watch::Sender::new(Line::Up),
            logged: watch::Sender::new(0),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this lock")
    }

    /// Changes the state and wakes the watches; gives the change a resource version.
    fn change<T>(&self, apply: impl FnOnce(&mut State, String) -> T) -> T {
        let mut state = self.state();
        state.version += 1;
        let version = state.version.to_string();
        let answer = apply(&mut state, version);
        drop(state);
        self.changed.send_modify(|count| *count += 1);
        answer
    }

    /// Notes the call; answers with the error queued for it, if any.
    fn called(&self, call: &'static str, object: &str) -> Result<(), ApiError> {
        let mut state = self.state();
        state.calls.push(format!("{call} {object}"));
        let failure = state.failures.get_mut(call).and_then(VecDeque::pop_front);
        let count = state.calls.len();
        drop(state);
        self.logged.send_replace(count);
        match failure {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Calls so far, as `method object`.
    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    /// The calls so far, as soon as there are so many.
    pub async fn wait_for_calls(&self, count: usize) -> Vec<String> {
        let mut logged = self.logged.subscribe();
        logged.wait_for(|logged| *logged >= count).await.expect("this fake holds the sender");
        self.calls()
    }

    /// The next call of that method answers with the error; several are answered in order.
    pub fn fail_next(&self, call: &'static str, error: ApiError) {
        self.state().failures.entry(call).or_default().push_back(error);
    }

    /// Adds or replaces a pod, as a scheduler or a user would.
    pub fn put_pod(&self, mut pod: api::Pod) {
        let uid = PodUid::from(pod.metadata.uid.as_deref().unwrap_or_default());
        self.change(|state, version| {
            pod.metadata.resource_version = Some(version);
            state.pods.insert(uid, Arc::new(pod));
        });
    }

    /// Asks for the deletion of a pod, as `kubectl delete` does.
    pub fn request_deletion(&self, uid: &PodUid, at: jiff::Timestamp, grace_seconds: i64) {
        self.change(|state, version| {
            if let Some(pod) = state.pods.get_mut(uid) {
                let meta = &mut Arc::make_mut(pod).metadata;
                meta.resource_version = Some(version);
                meta.deletion_timestamp = Some(Time(at));
                meta.deletion_grace_period_seconds = Some(grace_seconds);
            }
        });
    }

    /// Removes a pod at once, as a forced deletion does.
    pub fn remove_pod(&self, uid: &PodUid) {
        self.change(|state, _| state.pods.remove(uid));
    }

    pub fn pod(&self, uid: &PodUid) -> Option<Arc<api::Pod>> {
        self.state().pods.get(uid).cloned()
    }

    pub fn put_node(&self, mut node: api::Node) {
        self.change(|state, version| {
            node.metadata.resource_version = Some(version);
            state.node = Some(node);
        });
    }

    pub fn node(&self) -> Option<api::Node> {
        self.state().node.clone()
    }

    pub fn lease(&self) -> Option<Lease> {
        self.state().lease.clone()
    }

    pub fn put_config_map(&self, mut object: api::ConfigMap) {
        self.change(|state, version| {
            object.metadata.resource_version = Some(version);
            state.config_maps.insert(name_of(&object.metadata), Arc::new(object));
        });
    }

    pub fn remove_config_map(&self, namespace: &str, name: &str) {
        self.change(|state, _| state.config_maps.remove(&key(namespace, name)));
    }

    pub fn put_secret(&self, mut object: api::Secret) {
        self.change(|state, version| {
            object.metadata.resource_version = Some(version);
            state.secrets.insert(name_of(&object.metadata), object);
        });
    }

    pub fn put_runtime_class(&self, object: RuntimeClass) {
        let name = object.metadata.name.clone().unwrap_or_default();
        self.change(|state, _| state.runtime_classes.insert(name, Arc::new(object)));
    }

    pub fn put_service_account(&self, object: api::ServiceAccount) {
        self.change(|state, _| state.service_accounts.insert(name_of(&object.metadata), object));
    }

    pub fn put_claim(&self, object: api::PersistentVolumeClaim) {
        self.change(|state, _| state.claims.insert(name_of(&object.metadata), object));
    }

    pub fn put_persistent_volume(&self, object: api::PersistentVolume) {
        let name = object.metadata.name.clone().unwrap_or_default();
        self.change(|state, _| state.volumes.insert(name, object));
    }

    /// Services of a namespace; until the first call `services_in` answers `None`.
    pub fn put_services(&self, namespace: &str, services: Vec<EnvService>) {
        self.change(|state, _| state.services.insert(namespace.to_owned(), services));
    }

    /// Events as stored, oldest name first.
    pub fn events(&self) -> Vec<api::Event> {
        self.state().events.values().cloned().collect()
    }

    /// Forgets all events, as the server does after an hour.
    pub fn expire_events(&self) {
        self.change(|state, _| state.events.clear());
    }

    /// Cuts all watches; changes are not seen until `mend_watches`.
    pub fn break_watches(&self) {
        self.line.send_replace(Line::Broken);
    }

    /// Lets the watches go on, each with a new list.
    pub fn mend_watches(&self) {
        self.line.send_replace(Line::Up);
    }

    /// Ends all watches for good, which the real ones never do.
    pub fn end_watches(&self) {
        self.line.send_replace(Line::Ended);
    }

    /// Runs a watch: `step` sends what changed and is told whether the line broke before.
    fn spawn_watch<T, S>(&self, sender: mpsc::Sender<T>, mut step: S)
    where
        T: Send + 'static,
        S: FnMut(&State, bool) -> Vec<T> + Send + 'static,
    {
        let this = self.clone();
        let (mut changed, mut line) = (self.changed.subscribe(), self.line.subscribe());
        tokio::spawn(async move {
            let mut restart = true;
            loop {
                let now = *line.borrow_and_update();
                match now {
                    Line::Ended => return,
                    Line::Broken => restart = true,
                    Line::Up => {
                        changed.borrow_and_update();
                        let messages = step(&this.state(), std::mem::take(&mut restart));
                        for message in messages {
                            if sender.send(message).await.is_err() {
                                return;
                            }
                        }
                    }
                }
                tokio::select! {
                    () = sender.closed() => return,
                    _ = line.changed() => {}
                    _ = changed.changed(), if now == Line::Up => {}
                }
            }
        });
    }

    fn patch_pod_status(
        &self,
        namespace: &str,
        name: &str,
        patch: &serde_json::Value,
    ) -> Result<api::Pod, ApiError> {
        let wanted_uid = patch["metadata"]["uid"].as_str().map(PodUid::from);
        self.change(|state, version| {
            let uid = find_pod(state, namespace, name)?;
            if wanted_uid.is_some_and(|wanted| wanted != uid) {
                return Err(ApiError::Conflict(format!("pod {namespace}/{name}")));
            }
            let pod = state.pods.get_mut(&uid).expect("found above under the same lock");
            let pod = Arc::make_mut(pod);
            pod.status = merged(&pod.status.clone().unwrap_or_default(), &patch["status"])?;
            pod.metadata.resource_version = Some(version);
            Ok(pod.clone())
        })
    }

    fn patch_stored_node(
        &self,
        patch: &serde_json::Value,
        status_only: bool,
    ) -> Result<api::Node, ApiError> {
        let subject = format!("node {}", self.node_name);
        self.change(|state, version| {
            let node = state.node.as_mut().ok_or(ApiError::NotFound(subject))?;
            let mut next: api::Node = merged(&*node, patch)?;
            if status_only {
                next.spec.clone_from(&node.spec);
            } else {
                next.status.clone_from(&node.status);
            }
            next.metadata.resource_version = Some(version);
            *node = next;
            Ok(node.clone())
        })
    }
}

fn key(namespace: &str, name: &str) -> Name {
    (namespace.to_owned(), name.to_owned())
}

fn name_of(meta: &ObjectMeta) -> Name {
    key(meta.namespace.as_deref().unwrap_or("default"), meta.name.as_deref().unwrap_or_default())
}

fn find_pod(state: &State, namespace: &str, name: &str) -> Result<PodUid, ApiError> {
    let mut found = state
        .pods
        .iter()
        .filter(|(_, pod)| name_of(&pod.metadata) == (namespace.to_owned(), name.to_owned()));
    let (uid, _) =
        found.next().ok_or_else(|| ApiError::NotFound(format!("pod {namespace}/{name}")))?;
    Ok(uid.clone())
}

/// The object with a strategic merge patch applied.
fn merged<T: serde::Serialize, U: serde::de::DeserializeOwned>(
    object: &T,
    patch: &serde_json::Value,
) -> Result<U, ApiError> {
    let mut value = serde_json::to_value(object).expect("API objects are maps with string keys");
    strategic_merge(&mut value, patch);
    serde_json::from_value(value).map_err(|error| ApiError::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests;
