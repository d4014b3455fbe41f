//! Owns the cache of ConfigMaps and Secrets.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use k8s_openapi::api::core::v1 as api;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::StreamMap;
use tokio_stream::wrappers::ReceiverStream;

use super::handle::{Key, ObjectsHandle, Request};
use super::references::References;
use super::types::{ObjectError, ObjectKind, SecretObject};
use crate::boundary::{ApiError, ObjectsApi};
use crate::model::PodUid;

/// How long an object stays after its last pod: pods of one namespace that follow each other then
/// share one watch on `kube-root-ca.crt`.
const LINGER: Duration = Duration::from_secs(60);
/// Age at which a Secret is fetched anew (kubelet v1.36: cache of 1 min where it does not watch).
const SECRET_AGE: Duration = Duration::from_secs(60);
/// How often idle objects are looked for.
const SWEEP: Duration = Duration::from_secs(30);
/// Requests in flight: more than the pods of a node that start at the same moment.
const REQUESTS: usize = 256;
/// Pods concerned by changes not yet taken up. A full channel loses a wake-up, never a change:
/// the volumes slice refreshes all pods on a timer as well.
const CHANGES: usize = 256;

type Reply<T> = oneshot::Sender<Result<T, ObjectError>>;

struct WatchedMap {
    /// `None` until the API server has said anything.
    state: Option<Option<Arc<api::ConfigMap>>>,
    waiting: Vec<Reply<Arc<api::ConfigMap>>>,
    last_used: Instant,
}

struct CachedSecret {
    /// `None` until fetched once.
    state: Option<Option<SecretObject>>,
    fetched_at: Option<Instant>,
    fetching: bool,
    waiting: Vec<Reply<SecretObject>>,
    last_used: Instant,
}

type FetchedSecret = (Key, Result<api::Secret, ApiError>);

/// Owns the cache; runs until the last handle is dropped.
pub struct ObjectsTask {
    api: Arc<dyn ObjectsApi>,
    requests: mpsc::Receiver<Request>,
    changed: mpsc::Sender<PodUid>,
    pods: HashMap<PodUid, (String, References)>,
    maps: HashMap<Key, WatchedMap>,
    watches: StreamMap<Key, ReceiverStream<Option<Arc<api::ConfigMap>>>>,
    secrets: HashMap<Key, CachedSecret>,
    fetches: FuturesUnordered<BoxFuture<'static, FetchedSecret>>,
}

/// The handle, the task to run, and the pods whose ConfigMaps have changed.
pub fn new(api: Arc<dyn ObjectsApi>) -> (ObjectsHandle, ObjectsTask, mpsc::Receiver<PodUid>) {
    let (sender, requests) = mpsc::channel(REQUESTS);
    let (changed, changes) = mpsc::channel(CHANGES);
    let task = ObjectsTask {
        api,
        requests,
        changed,
        pods: HashMap::new(),
        maps: HashMap::new(),
        watches: StreamMap::new(),
        secrets: HashMap::new(),
        fetches: FuturesUnordered::new(),
    };
    (ObjectsHandle::new(sender), task, changes)
}

impl ObjectsTask {
    pub async fn run(mut self) {
        let mut sweep = tokio::time::interval(SWEEP);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            // Every arm waits on a queue or a timer and loses nothing when another one wins.
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.handle_request(request),
                    None => return,
                },
                Some((key, state)) = self.watches.next(), if !self.watches.is_empty() => {
                    self.map_changed(key, state);
                }
                Some((key, result)) = self.fetches.next(), if !self.fetches.is_empty() => {
                    self.secret_fetched(key, result);
                }
                _ = sweep.tick() => self.forget_idle(),
            }
        }
    }

    fn handle_request(&mut self, request: Request) {
        match request {
            Request::Register { uid, namespace, references } => {
                self.register(uid, namespace, references);
            }
            Request::Unregister { uid } => {
                self.touch(&uid);
                self.pods.remove(&uid);
            }
            Request::ConfigMap { key, reply } => {
                let map = self.watched(key.clone());
                match &map.state {
                    Some(state) => answer_map(reply, &key, state.clone()),
                    None => map.waiting.push(reply),
                }
            }
            Request::Secret { key, reply } => self.secret(key, reply),
        }
    }

    fn register(&mut self, uid: PodUid, namespace: String, references: References) {
        for name in &references.config_maps {
            self.watched((namespace.clone(), name.clone()));
        }
        for name in &references.secrets {
            // A pod made after a Secret was changed must see the change.
            if let Some(secret) = self.secrets.get_mut(&(namespace.clone(), name.clone())) {
                secret.fetched_at = None;
            }
        }
        self.pods.insert(uid, (namespace, references));
    }

    /// The entry of a ConfigMap, watched from now on unless it can never change.
    fn watched(&mut self, key: Key) -> &mut WatchedMap {
        let map = self.maps.entry(key.clone()).or_insert_with(|| WatchedMap {
            state: None,
            waiting: Vec::new(),
            last_used: Instant::now(),
        });
        map.last_used = Instant::now();
        let immutable = matches!(&map.state, Some(Some(object)) if is_immutable(object));
        if !immutable && !self.watches.contains_key(&key) {
            let receiver = self.api.watch_config_map(&key.0, &key.1);
            self.watches.insert(key, ReceiverStream::new(receiver));
        }
        map
    }

    fn map_changed(&mut self, key: Key, state: Option<Arc<api::ConfigMap>>) {
        let Some(map) = self.maps.get_mut(&key) else { return };
        if state.as_deref().is_some_and(is_immutable) {
            self.watches.remove(&key);
        }
        for reply in map.waiting.drain(..) {
            answer_map(reply, &key, state.clone());
        }
        let first = map.state.is_none();
        map.state = Some(state);
        if first {
            return;
        }
        for (uid, (namespace, references)) in &self.pods {
            if *namespace == key.0 && references.config_maps.contains(&key.1) {
                let _ = self.changed.try_send(uid.clone());
            }
        }
    }

    fn secret(&mut self, key: Key, reply: Reply<SecretObject>) {
        let secret = self.secrets.entry(key.clone()).or_insert_with(|| CachedSecret {
            state: None,
            fetched_at: None,
            fetching: false,
            waiting: Vec::new(),
            last_used: Instant::now(),
        });
        secret.last_used = Instant::now();
        let fresh = secret.fetched_at.is_some_and(|at| at.elapsed() < SECRET_AGE);
        if let Some(state) = secret.state.clone().filter(|_| fresh) {
            answer_secret(reply, &key, state);
            return;
        }
        secret.waiting.push(reply);
        if !secret.fetching {
            secret.fetching = true;
            let api = Arc::clone(&self.api);
            self.fetches.push(Box::pin(async move {
                let result = api.get_secret(&key.0, &key.1).await;
                (key, result)
            }));
        }
    }

    fn secret_fetched(&mut self, key: Key, result: Result<api::Secret, ApiError>) {
        let Some(secret) = self.secrets.get_mut(&key) else { return };
        secret.fetching = false;
        let state = match result {
            Ok(object) => Some(SecretObject::new(object)),
            Err(ApiError::NotFound(_)) => None,
            Err(source) => {
                // What was known stays true until the API server says otherwise.
                for reply in secret.waiting.drain(..) {
                    match secret.state.clone() {
                        Some(state) => answer_secret(reply, &key, state),
                        None => {
                            let (namespace, name) = key.clone();
                            let kind = ObjectKind::Secret;
                            let source = source.clone();
                            let _ =
                                reply.send(Err(ObjectError::Api { kind, namespace, name, source }));
                        }
                    }
                }
                return;
            }
        };
        for reply in secret.waiting.drain(..) {
            answer_secret(reply, &key, state.clone());
        }
        secret.state = Some(state);
        secret.fetched_at = Some(Instant::now());
    }

    /// The pod's objects count as used until now.
    fn touch(&mut self, uid: &PodUid) {
        let Some((namespace, references)) = self.pods.get(uid) else { return };
        let now = Instant::now();
        for name in &references.config_maps {
            if let Some(map) = self.maps.get_mut(&(namespace.clone(), name.clone())) {
                map.last_used = now;
            }
        }
        for name in &references.secrets {
            if let Some(secret) = self.secrets.get_mut(&(namespace.clone(), name.clone())) {
                secret.last_used = now;
            }
        }
    }

    fn forget_idle(&mut self) {
        let mut used_maps = HashSet::new();
        let mut used_secrets = HashSet::new();
        for (namespace, references) in self.pods.values() {
            let key = |name: &String| (namespace.clone(), name.clone());
            used_maps.extend(references.config_maps.iter().map(key));
            used_secrets.extend(references.secrets.iter().map(key));
        }
        let watches = &mut self.watches;
        self.maps.retain(|key, map| {
            let keep = used_maps.contains(key)
                || !map.waiting.iter().all(oneshot::Sender::is_closed)
                || map.last_used.elapsed() < LINGER;
            if !keep {
                watches.remove(key);
            }
            keep
        });
        self.secrets.retain(|key, secret| {
            secret.fetching || used_secrets.contains(key) || secret.last_used.elapsed() < LINGER
        });
    }
}

fn is_immutable(map: &api::ConfigMap) -> bool {
    map.immutable == Some(true)
}

fn answer_map(
    reply: Reply<Arc<api::ConfigMap>>,
    (namespace, name): &Key,
    state: Option<Arc<api::ConfigMap>>,
) {
    // A caller that has gone needs no answer.
    let _ = reply.send(state.ok_or_else(|| ObjectError::NotFound {
        kind: ObjectKind::ConfigMap,
        namespace: namespace.clone(),
        name: name.clone(),
    }));
}

fn answer_secret(reply: Reply<SecretObject>, (namespace, name): &Key, state: Option<SecretObject>) {
    let _ = reply.send(state.ok_or_else(|| ObjectError::NotFound {
        kind: ObjectKind::Secret,
        namespace: namespace.clone(),
        name: name.clone(),
    }));
}

#[cfg(test)]
mod tests;
