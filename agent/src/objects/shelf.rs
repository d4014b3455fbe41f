//! The watched objects of one kind.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::node::v1::RuntimeClass;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{StreamExt, StreamMap};

use super::handle::Key;
use super::types::{ObjectError, ObjectKind};
use crate::boundary::ObjectsApi;

/// How long an object stays after its last pod: pods of one namespace that follow each other then
/// share one watch on `kube-root-ca.crt`.
const LINGER: Duration = Duration::from_secs(60);

/// `None` is an object that does not exist.
type State<T> = Option<Arc<T>>;
pub(super) type Reply<T> = oneshot::Sender<Result<Arc<T>, ObjectError>>;

/// A kind of object that is watched by name.
pub(super) trait Kind: Send + Sync + 'static {
    const KIND: ObjectKind;

    fn watch(api: &dyn ObjectsApi, key: &Key) -> mpsc::Receiver<State<Self>>;
    /// The object can never change again.
    fn is_immutable(&self) -> bool;
    fn version(&self) -> Option<&str>;
}

impl Kind for api::ConfigMap {
    const KIND: ObjectKind = ObjectKind::ConfigMap;

    fn watch(api: &dyn ObjectsApi, (namespace, name): &Key) -> mpsc::Receiver<State<Self>> {
        api.watch_config_map(namespace, name)
    }

    fn is_immutable(&self) -> bool {
        self.immutable == Some(true)
    }

    fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

impl Kind for api::Secret {
    const KIND: ObjectKind = ObjectKind::Secret;

    fn watch(api: &dyn ObjectsApi, (namespace, name): &Key) -> mpsc::Receiver<State<Self>> {
        api.watch_secret(namespace, name)
    }

    fn is_immutable(&self) -> bool {
        self.immutable == Some(true)
    }

    fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

/// Its namespace is empty.
impl Kind for RuntimeClass {
    const KIND: ObjectKind = ObjectKind::RuntimeClass;

    fn watch(api: &dyn ObjectsApi, (_, name): &Key) -> mpsc::Receiver<State<Self>> {
        api.watch_runtime_class(name)
    }

    /// Its handler is, but a class can be deleted and made anew.
    fn is_immutable(&self) -> bool {
        false
    }

    fn version(&self) -> Option<&str> {
        self.metadata.resource_version.as_deref()
    }
}

struct Entry<T> {
    /// `None` until the API server has said anything.
    state: Option<State<T>>,
    waiting: Vec<Reply<T>>,
    last_used: Instant,
}

pub(super) struct Shelf<T: Kind> {
    api: Arc<dyn ObjectsApi>,
    entries: HashMap<Key, Entry<T>>,
    watches: StreamMap<Key, ReceiverStream<State<T>>>,
}

impl<T: Kind> Shelf<T> {
    pub fn new(api: Arc<dyn ObjectsApi>) -> Self {
        Self { api, entries: HashMap::new(), watches: StreamMap::new() }
    }

    /// The object is watched from now on, unless it can never change.
    pub fn keep(&mut self, key: Key) {
        self.entry(key);
    }

    fn entry(&mut self, key: Key) -> &mut Entry<T> {
        let entry = self.entries.entry(key.clone()).or_insert_with(|| Entry {
            state: None,
            waiting: Vec::new(),
            last_used: Instant::now(),
        });
        entry.last_used = Instant::now();
        let immutable = matches!(&entry.state, Some(Some(object)) if object.is_immutable());
        if !immutable && !self.watches.contains_key(&key) {
            let receiver = T::watch(self.api.as_ref(), &key);
            self.watches.insert(key, ReceiverStream::new(receiver));
        }
        entry
    }

    /// Answers with the newest known state, or once the first one is there.
    pub fn ask(&mut self, key: Key, reply: Reply<T>) {
        let entry = self.entry(key.clone());
        match &entry.state {
            Some(state) => answer(reply, &key, state.clone()),
            None => entry.waiting.push(reply),
        }
    }

    /// The next object whose users need to hear of it: it has changed, or its first state has come
    /// too late for somebody who asked. Cancel safe; pending while nothing is watched.
    pub async fn changed(&mut self) -> Key {
        loop {
            let Some((key, state)) = self.watches.next().await else {
                return std::future::pending().await;
            };
            if self.take(&key, state) {
                return key;
            }
        }
    }

    /// Stores what a watch says; whether that is news for users.
    fn take(&mut self, key: &Key, state: State<T>) -> bool {
        let Some(entry) = self.entries.get_mut(key) else { return false };
        if state.as_deref().is_some_and(T::is_immutable) {
            self.watches.remove(key);
        }
        // A watch that begins anew says first what is known already.
        let mut is_news = entry.state.as_ref().is_some_and(|known| !is_same(known, &state));
        for reply in entry.waiting.drain(..) {
            is_news |= reply.is_closed();
            answer(reply, key, state.clone());
        }
        entry.state = Some(state);
        is_news
    }

    /// The object counts as used until now.
    pub fn touch(&mut self, key: &Key) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.last_used = Instant::now();
        }
    }

    /// Drops the objects, and their watches, that no pod uses and nobody has used for a minute.
    pub fn forget_idle(&mut self, used: &HashSet<Key>) {
        let watches = &mut self.watches;
        self.entries.retain(|key, entry| {
            let keep = used.contains(key)
                || !entry.waiting.iter().all(oneshot::Sender::is_closed)
                || entry.last_used.elapsed() < LINGER;
            if !keep {
                watches.remove(key);
            }
            keep
        });
    }
}

fn is_same<T: Kind>(a: &State<T>, b: &State<T>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => a.version().is_some() && a.version() == b.version(),
        (None, None) => true,
        _ => false,
    }
}

fn answer<T: Kind>(reply: Reply<T>, (namespace, name): &Key, state: State<T>) {
    let missing = || ObjectError::NotFound {
        kind: T::KIND,
        namespace: namespace.clone(),
        name: name.clone(),
    };
    // A caller that has gone needs no answer.
    let _ = reply.send(state.ok_or_else(missing));
}

#[cfg(test)]
mod tests;
