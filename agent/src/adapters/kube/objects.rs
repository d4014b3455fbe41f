//! ConfigMaps, Secrets, Services and tokens, as the pods of this node need them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::Metadata;
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::api::{GetParams, PostParams, Request};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch as state};
use tokio::time::Instant;

use super::KubeApi;
use super::client::Connections;
use super::error::{LAG_PAUSES, is_authorizer_lag};
use super::outage::Trouble;
use super::pods::encode;
use super::watch::{WatchScope, WatchStep, Watched, watch};
use crate::boundary::{ApiError, EnvService, EnvServicePort, ObjectsApi};

/// One state is being read while the next waits.
const PENDING_STATES: usize = 1;
/// A namespace whose services nobody asked for during so long is watched no more. Pods ask at
/// least once a minute (sync frequency, kubelet default v1.36) while containers start.
const SERVICES_UNASKED: Duration = Duration::from_secs(30 * 60);
/// Steps between the watch and the store; the store only inserts into a map.
const PENDING_SERVICES: usize = 64;
/// How long the first list of a namespace's services is waited for; after that the container is
/// tried again later.
const SERVICES_DEADLINE: Duration = Duration::from_secs(10);

#[async_trait]
impl ObjectsApi for KubeApi {
    async fn get_config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<api::ConfigMap, ApiError> {
        let request = Request::new(api::ConfigMap::url_path(&(), Some(namespace)))
            .get(name, &GetParams::default());
        let subject = format!("configmap {namespace}/{name}");
        let mut object: api::ConfigMap = self.connections.call(&subject, request).await?;
        object.metadata.managed_fields = None;
        Ok(object)
    }

    async fn get_secret(&self, namespace: &str, name: &str) -> Result<api::Secret, ApiError> {
        let request = Request::new(api::Secret::url_path(&(), Some(namespace)))
            .get(name, &GetParams::default());
        let subject = format!("secret {namespace}/{name}");
        let mut object: api::Secret = self.connections.call(&subject, request).await?;
        object.metadata.managed_fields = None;
        Ok(object)
    }

    async fn get_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<api::ServiceAccount, ApiError> {
        let request = Request::new(api::ServiceAccount::url_path(&(), Some(namespace)))
            .get(name, &GetParams::default());
        let subject = format!("service account {namespace}/{name}");
        self.connections.call(&subject, request).await
    }

    async fn get_claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<api::PersistentVolumeClaim, ApiError> {
        let path = api::PersistentVolumeClaim::url_path(&(), Some(namespace));
        // The server's own words for an object that is not there.
        let subject = format!("persistentvolumeclaims \"{name}\"");
        let mut claim: api::PersistentVolumeClaim =
            self.get_patiently(&subject, path, name).await?;
        claim.metadata.managed_fields = None;
        Ok(claim)
    }

    async fn get_persistent_volume(&self, name: &str) -> Result<api::PersistentVolume, ApiError> {
        let path = api::PersistentVolume::url_path(&(), None);
        let subject = format!("persistentvolumes \"{name}\"");
        let mut volume: api::PersistentVolume = self.get_patiently(&subject, path, name).await?;
        volume.metadata.managed_fields = None;
        Ok(volume)
    }

    fn watch_config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> mpsc::Receiver<Option<Arc<api::ConfigMap>>> {
        self.watch_one("configmap", Some(namespace), name)
    }

    fn watch_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> mpsc::Receiver<Option<Arc<api::Secret>>> {
        self.watch_one("secret", Some(namespace), name)
    }

    fn watch_runtime_class(&self, name: &str) -> mpsc::Receiver<Option<Arc<RuntimeClass>>> {
        self.watch_one("runtimeclass", None, name)
    }

    async fn services_in(&self, namespace: &str) -> Option<Vec<EnvService>> {
        let mut services = self.services.in_namespace(namespace);
        let listed = services.wait_for(|services| services.synced);
        let listed = tokio::time::timeout(SERVICES_DEADLINE, listed).await.ok()?.ok()?;
        Some(listed.services.values().cloned().collect())
    }

    async fn request_token(
        &self,
        namespace: &str,
        service_account: &str,
        request: &TokenRequest,
    ) -> Result<TokenRequest, ApiError> {
        // As the server names it when there is no such account.
        let subject = format!("serviceaccounts {service_account:?}");
        let text = encode(&subject, request)?;
        let mut pauses = LAG_PAUSES.iter();
        loop {
            let request = Request::new(api::ServiceAccount::url_path(&(), Some(namespace)))
                .create_subresource("token", service_account, &PostParams::default(), text.clone());
            match (self.connections.call(&subject, request).await, pauses.next()) {
                (Err(ApiError::Forbidden(refusal)), Some(pause)) if is_authorizer_lag(&refusal) => {
                    tokio::time::sleep(*pause).await;
                }
                // The server looks the pod up that the token is bound to, in a cache that may not
                // have a new pod yet; a service account may come a moment after its namespace.
                (Err(ApiError::NotFound(_)), Some(pause)) => tokio::time::sleep(*pause).await,
                (answer, _) => return answer,
            }
        }
    }
}

impl KubeApi {
    /// One object, asked for again while the Node authorizer may not know yet that it is ours.
    async fn get_patiently<T: DeserializeOwned + Send + 'static>(
        &self,
        subject: &str,
        path: String,
        name: &str,
    ) -> Result<T, ApiError> {
        let mut pauses = LAG_PAUSES.iter();
        loop {
            let request = Request::new(path.clone()).get(name, &GetParams::default());
            match (self.connections.call(subject, request).await, pauses.next()) {
                (Err(ApiError::Forbidden(refusal)), Some(pause)) if is_authorizer_lag(&refusal) => {
                    tokio::time::sleep(*pause).await;
                }
                (answer, _) => return answer,
            }
        }
    }

    fn watch_one<T>(
        &self,
        kind: &str,
        namespace: Option<&str>,
        name: &str,
    ) -> mpsc::Receiver<Option<Arc<T>>>
    where
        T: Watched + Sync + Resource<DynamicType = ()> + Metadata<Ty = ObjectMeta>,
    {
        let (sender, receiver) = mpsc::channel(PENDING_STATES);
        let scope = WatchScope {
            path: T::url_path(&(), namespace),
            subject: match namespace {
                Some(namespace) => format!("{kind} {namespace}/{name}"),
                None => format!("{kind} {name}"),
            },
            fields: Some(format!("metadata.name={name}")),
            labels: None,
            trouble: Trouble::Debug,
        };
        tokio::spawn(watch(Arc::clone(&self.connections), scope, sender, single_state()));
        receiver
    }
}

/// Turns the watch of one name into its states: the object, or `None` once it is sure that there
/// is none.
fn single_state<T: Metadata<Ty = ObjectMeta>>()
-> impl FnMut(WatchStep<T>) -> Option<Option<Arc<T>>> + Send {
    let mut listed = false;
    move |step| match step {
        WatchStep::Restarted => {
            listed = false;
            None
        }
        WatchStep::Applied(mut object) => {
            listed = true;
            object.metadata_mut().managed_fields = None;
            Some(Some(Arc::new(object)))
        }
        WatchStep::Deleted(_) => Some(None),
        WatchStep::Synced => (!listed).then_some(None),
    }
}

/// A Service without all that environment variables do not need.
#[derive(Clone, Deserialize)]
struct SlimService {
    metadata: SlimMeta,
    #[serde(default)]
    spec: SlimSpec,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMeta {
    name: String,
    #[serde(default)]
    resource_version: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SlimSpec {
    #[serde(rename = "clusterIP")]
    cluster_ip: String,
    ports: Vec<SlimPort>,
}

#[derive(Clone, Deserialize)]
struct SlimPort {
    #[serde(default)]
    name: String,
    #[serde(default = "tcp")]
    protocol: String,
    port: u16,
}

/// API default of `ports[].protocol`.
fn tcp() -> String {
    "TCP".to_owned()
}

impl Watched for SlimService {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl SlimService {
    /// The service for environment variables; `None` for one without a cluster IP (headless,
    /// ExternalName).
    fn env_service(self) -> Option<EnvService> {
        let cluster_ip = self.spec.cluster_ip;
        if cluster_ip.is_empty() || cluster_ip == "None" {
            return None;
        }
        let ports = self.spec.ports.into_iter().map(|port| EnvServicePort {
            name: port.name,
            protocol: port.protocol,
            port: port.port,
        });
        Some(EnvService { name: self.metadata.name, cluster_ip, ports: ports.collect() })
    }
}

/// Services of one namespace, by name, and the list that is still coming in.
#[derive(Default)]
struct NamespaceServices {
    services: BTreeMap<String, EnvService>,
    incoming: Option<BTreeMap<String, EnvService>>,
    synced: bool,
}

impl NamespaceServices {
    fn step(&mut self, step: WatchStep<SlimService>) {
        let target = self.incoming.as_mut().unwrap_or(&mut self.services);
        match step {
            WatchStep::Restarted => self.incoming = Some(BTreeMap::new()),
            WatchStep::Applied(service) => {
                let name = service.metadata.name.clone();
                match service.env_service() {
                    Some(service) => target.insert(name, service),
                    None => target.remove(&name),
                };
            }
            WatchStep::Deleted(service) => {
                target.remove(&service.metadata.name);
            }
            WatchStep::Synced => {
                if let Some(incoming) = self.incoming.take() {
                    self.services = incoming;
                }
                self.synced = true;
            }
        }
    }
}

struct Watching {
    asked_at: Instant,
    state: Arc<state::Sender<NamespaceServices>>,
}

/// Services by namespace; a namespace is watched from the first question on.
pub(super) struct ServiceStore {
    connections: Arc<Connections>,
    namespaces: Arc<Mutex<HashMap<String, Watching>>>,
}

impl ServiceStore {
    pub(super) fn new(connections: Arc<Connections>) -> Self {
        Self { connections, namespaces: Arc::default() }
    }

    fn in_namespace(&self, namespace: &str) -> state::Receiver<NamespaceServices> {
        let now = Instant::now();
        let mut namespaces = self.namespaces.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(watching) = namespaces.get_mut(namespace) {
            watching.asked_at = now;
            return watching.state.subscribe();
        }
        let known = Arc::new(state::Sender::new(NamespaceServices::default()));
        let watching = Watching { asked_at: now, state: Arc::clone(&known) };
        namespaces.insert(namespace.to_owned(), watching);
        let receiver = known.subscribe();
        self.begin(namespace.to_owned(), known);
        receiver
    }

    fn begin(&self, namespace: String, state: Arc<state::Sender<NamespaceServices>>) {
        let (sender, receiver) = mpsc::channel(PENDING_SERVICES);
        let scope = WatchScope {
            path: api::Service::url_path(&(), Some(&namespace)),
            subject: format!("services of namespace {namespace}"),
            fields: None,
            labels: None,
            trouble: Trouble::Warn,
        };
        tokio::spawn(watch(Arc::clone(&self.connections), scope, sender, Some));
        tokio::spawn(keep(Arc::clone(&self.namespaces), namespace, state, receiver));
    }
}

/// Stores what the watch says until nobody has asked for long; the end of this future drops the
/// receiver and so ends the watch.
async fn keep(
    namespaces: Arc<Mutex<HashMap<String, Watching>>>,
    namespace: String,
    state: Arc<state::Sender<NamespaceServices>>,
    mut receiver: mpsc::Receiver<WatchStep<SlimService>>,
) {
    let mut idle_check = Instant::now() + SERVICES_UNASKED;
    loop {
        // Both arms are cancel-safe: a step not yet received stays in the channel.
        tokio::select! {
            step = receiver.recv() => match step {
                Some(step) => state.send_modify(|services| services.step(step)),
                None => return,
            },
            () = tokio::time::sleep_until(idle_check) => {
                let mut namespaces = namespaces.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(watching) = namespaces.get(&namespace) else { return };
                idle_check = watching.asked_at + SERVICES_UNASKED;
                if idle_check <= Instant::now() {
                    namespaces.remove(&namespace);
                    return;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
