//! What others hold of the object cache.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::node::v1::RuntimeClass;
use tokio::sync::{broadcast, mpsc, oneshot};

use super::references::{References, pod_references};
use super::shelf::Reply;
use super::types::{ObjectError, ObjectKind, ObjectSet, SecretObject};
use crate::model::{Pod, PodUid};

/// How long a caller waits for the first state of an object. A pod whose object is slow to come
/// tries again on its next turn.
const FIRST_STATE_DEADLINE: Duration = Duration::from_secs(10);

/// Namespace, empty for objects of the whole cluster, and name.
pub(super) type Key = (String, String);

pub(super) enum Request {
    Register { uid: PodUid, namespace: String, references: References },
    Unregister { uid: PodUid },
    ConfigMap { key: Key, reply: Reply<api::ConfigMap> },
    Secret { key: Key, reply: Reply<api::Secret> },
    RuntimeClass { key: Key, reply: Reply<RuntimeClass> },
}

/// Cheap to clone.
#[derive(Clone)]
pub struct ObjectsHandle {
    requests: mpsc::Sender<Request>,
    changes: broadcast::Sender<PodUid>,
}

impl ObjectsHandle {
    pub(super) fn new(requests: mpsc::Sender<Request>, changes: broadcast::Sender<PodUid>) -> Self {
        Self { requests, changes }
    }

    /// Where to subscribe to the pods one of whose objects has changed, appeared or gone.
    pub fn changes(&self) -> broadcast::Sender<PodUid> {
        self.changes.clone()
    }

    /// Starts watching what `pod` refers to, so that it is there when a container starts.
    /// Registering again replaces the references.
    pub async fn register(&self, pod: &Pod) {
        let request = Request::Register {
            uid: pod.uid().clone(),
            namespace: pod.namespace().to_owned(),
            references: pod_references(pod),
        };
        // Only fails when the process is ending.
        let _ = self.requests.send(request).await;
    }

    /// The pod needs its objects no more.
    pub async fn unregister(&self, uid: &PodUid) {
        let _ = self.requests.send(Request::Unregister { uid: uid.clone() }).await;
    }

    /// The newest known state; waits for the first one.
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Arc<api::ConfigMap>, ObjectError> {
        let key = (namespace.to_owned(), name.to_owned());
        let (reply, answer) = oneshot::channel();
        let request = Request::ConfigMap { key, reply };
        self.ask(request, answer, (ObjectKind::ConfigMap, namespace, name)).await
    }

    /// The newest known state; waits for the first one.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<SecretObject, ObjectError> {
        let key = (namespace.to_owned(), name.to_owned());
        let (reply, answer) = oneshot::channel();
        let request = Request::Secret { key, reply };
        let asked = self.ask(request, answer, (ObjectKind::Secret, namespace, name));
        asked.await.map(SecretObject::from)
    }

    /// The newest known state; waits for the first one.
    pub async fn runtime_class(&self, name: &str) -> Result<Arc<RuntimeClass>, ObjectError> {
        let key = (String::new(), name.to_owned());
        let (reply, answer) = oneshot::channel();
        let request = Request::RuntimeClass { key, reply };
        self.ask(request, answer, (ObjectKind::RuntimeClass, "", name)).await
    }

    async fn ask<T>(
        &self,
        request: Request,
        answer: oneshot::Receiver<Result<T, ObjectError>>,
        (kind, namespace, name): (ObjectKind, &str, &str),
    ) -> Result<T, ObjectError> {
        self.requests.send(request).await.map_err(|_| ObjectError::CacheEnded)?;
        match tokio::time::timeout(FIRST_STATE_DEADLINE, answer).await {
            Ok(answer) => answer.map_err(|_| ObjectError::CacheEnded)?,
            Err(_) => Err(ObjectError::TimedOut {
                kind,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            }),
        }
    }

    /// All of `references`, fetched side by side. An object that does not exist is in the set as
    /// `None`; any other failure is an error.
    pub async fn fetch(
        &self,
        namespace: &str,
        references: &References,
    ) -> Result<ObjectSet, ObjectError> {
        let maps = join_all(references.config_maps.iter().map(async |name| {
            Ok((name.clone(), if_exists(self.config_map(namespace, name).await)?))
        }));
        let secrets =
            join_all(references.secrets.iter().map(async |name| {
                Ok((name.clone(), if_exists(self.secret(namespace, name).await)?))
            }));
        let (maps, secrets) = futures::future::join(maps, secrets).await;
        Ok(ObjectSet {
            config_maps: maps.into_iter().collect::<Result<_, ObjectError>>()?,
            secrets: secrets.into_iter().collect::<Result<_, ObjectError>>()?,
        })
    }
}

fn if_exists<T>(result: Result<T, ObjectError>) -> Result<Option<T>, ObjectError> {
    match result {
        Ok(object) => Ok(Some(object)),
        Err(error) if error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
