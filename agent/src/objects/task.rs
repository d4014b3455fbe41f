//! Owns the cache of objects.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::node::v1::RuntimeClass;
use tokio::sync::{broadcast, mpsc};

use super::handle::{Key, ObjectsHandle, Request};
use super::references::References;
use super::shelf::Shelf;
use super::types::ObjectKind;
use crate::boundary::ObjectsApi;
use crate::model::PodUid;

/// How often idle objects are looked for.
const SWEEP: Duration = Duration::from_secs(30);
/// Requests in flight: more than the pods of a node that start at the same moment.
const REQUESTS: usize = 256;
/// Pods concerned by changes not yet taken up. Whoever has missed one takes it that all pods are
/// concerned.
const CHANGES: usize = 256;

/// Owns the cache; runs until the last handle is dropped.
pub struct ObjectsTask {
    requests: mpsc::Receiver<Request>,
    changes: broadcast::Sender<PodUid>,
    pods: HashMap<PodUid, (String, References)>,
    maps: Shelf<api::ConfigMap>,
    secrets: Shelf<api::Secret>,
    classes: Shelf<RuntimeClass>,
}

/// The handle, the task to run, and the pods whose objects have changed. Others subscribe to those
/// at the handle.
pub fn new(api: Arc<dyn ObjectsApi>) -> (ObjectsHandle, ObjectsTask, broadcast::Receiver<PodUid>) {
    let (sender, requests) = mpsc::channel(REQUESTS);
    let (changes, changed) = broadcast::channel(CHANGES);
    let task = ObjectsTask {
        requests,
        changes: changes.clone(),
        pods: HashMap::new(),
        maps: Shelf::new(Arc::clone(&api)),
        secrets: Shelf::new(Arc::clone(&api)),
        classes: Shelf::new(api),
    };
    (ObjectsHandle::new(sender, changes), task, changed)
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
                key = self.maps.changed() => self.tell(ObjectKind::ConfigMap, &key),
                key = self.secrets.changed() => self.tell(ObjectKind::Secret, &key),
                key = self.classes.changed() => self.tell(ObjectKind::RuntimeClass, &key),
                _ = sweep.tick() => self.forget_idle(),
            }
        }
    }

    fn handle_request(&mut self, request: Request) {
        match request {
            Request::Register { uid, namespace, references } => {
                for key in keys(&namespace, &references.config_maps) {
                    self.maps.keep(key);
                }
                for key in keys(&namespace, &references.secrets) {
                    self.secrets.keep(key);
                }
                references.runtime_class.iter().for_each(|name| self.classes.keep(class_key(name)));
                self.pods.insert(uid, (namespace, references));
            }
            Request::Unregister { uid } => {
                let Some((namespace, references)) = self.pods.remove(&uid) else { return };
                keys(&namespace, &references.config_maps).for_each(|key| self.maps.touch(&key));
                keys(&namespace, &references.secrets).for_each(|key| self.secrets.touch(&key));
                references
                    .runtime_class
                    .iter()
                    .for_each(|name| self.classes.touch(&class_key(name)));
            }
            Request::ConfigMap { key, reply } => self.maps.ask(key, reply),
            Request::Secret { key, reply } => self.secrets.ask(key, reply),
            Request::RuntimeClass { key, reply } => self.classes.ask(key, reply),
        }
    }

    /// Tells the pods that refer to a changed object.
    fn tell(&self, kind: ObjectKind, key: &Key) {
        for (uid, (namespace, references)) in &self.pods {
            let (place, name) = key;
            let concerned = match kind {
                ObjectKind::ConfigMap => {
                    namespace == place && references.config_maps.contains(name)
                }
                ObjectKind::Secret => namespace == place && references.secrets.contains(name),
                ObjectKind::RuntimeClass => references.runtime_class.as_ref() == Some(name),
            };
            if concerned {
                // Fails only while nobody listens.
                let _ = self.changes.send(uid.clone());
            }
        }
    }

    fn forget_idle(&mut self) {
        let (mut maps, mut secrets) = (HashSet::new(), HashSet::new());
        let mut classes = HashSet::new();
        for (namespace, references) in self.pods.values() {
            maps.extend(keys(namespace, &references.config_maps));
            secrets.extend(keys(namespace, &references.secrets));
            classes.extend(references.runtime_class.as_deref().map(class_key));
        }
        self.maps.forget_idle(&maps);
        self.secrets.forget_idle(&secrets);
        self.classes.forget_idle(&classes);
    }
}

fn class_key(name: &str) -> Key {
    (String::new(), name.to_owned())
}

fn keys<'a>(namespace: &'a str, names: &'a BTreeSet<String>) -> impl Iterator<Item = Key> + 'a {
    names.iter().map(move |name| (namespace.to_owned(), name.clone()))
}

#[cfg(test)]
mod tests;
