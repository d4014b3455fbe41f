//! What pods need from their node, always at hand unless a test says otherwise.
//!
//! State: which pods hold volumes and cgroups. Call log: `calls()`. Queued errors:
//! `fail_next(method, message)`; `image` fails with `ErrImagePull`. Late answers: `hold(method)`
//! until `release(method)`.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use cri_proto::runtime::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, LinuxPodSandboxConfig,
    LinuxSandboxSecurityContext, NamespaceMode, NamespaceOption, PodSandboxConfig,
    PodSandboxMetadata,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use tokio::sync::watch;

use crate::images::PullNews;
use crate::model::{Container, ContainerId, Pod, PodFullName, PodUid};
use crate::podexec::labels::container_annotations;
use crate::podexec::{
    ImageFailure, ImageSupply, Instance, PodSupplies, SandboxSupply, SupplyError,
};
use crate::reason;

#[derive(Default)]
struct State {
    volumes: BTreeSet<PodUid>,
    cgroups: BTreeSet<PodUid>,
    calls: Vec<String>,
    failures: HashMap<&'static str, VecDeque<String>>,
    held: HashSet<&'static str>,
    /// Logs of containers that the runtime has forgotten: the newest restart count by name.
    logged: HashMap<String, u32>,
    pull_news: Option<String>,
}

/// Clones share the state.
#[derive(Clone)]
pub struct FakeSupplies {
    state: Arc<Mutex<State>>,
    changed: watch::Sender<u64>,
}

impl Default for FakeSupplies {
    fn default() -> Self {
        Self { state: Arc::default(), changed: watch::Sender::new(0) }
    }
}

impl FakeSupplies {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds this lock")
    }

    pub fn calls(&self) -> Vec<String> {
        self.state().calls.clone()
    }

    pub fn fail_next(&self, method: &'static str, message: &str) {
        self.state().failures.entry(method).or_default().push_back(message.to_owned());
    }

    /// Queued failures of this method are dropped.
    pub fn forgive(&self, method: &'static str) {
        self.state().failures.remove(method);
    }

    pub fn hold(&self, method: &'static str) {
        self.state().held.insert(method);
    }

    pub fn release(&self, method: &'static str) {
        self.state().held.remove(method);
        self.changed.send_modify(|count| *count += 1);
    }

    /// From now on `image` tells this at its begin.
    pub fn tell_of_pulls(&self, message: &str) {
        self.state().pull_news = Some(message.to_owned());
    }

    /// Logs of the container up to this restart count are there.
    pub fn set_logged(&self, container: &str, attempt: u32) {
        self.state().logged.insert(container.to_owned(), attempt);
    }

    /// No pod holds a volume or a cgroup.
    pub fn is_clear(&self) -> bool {
        let state = self.state();
        state.volumes.is_empty() && state.cgroups.is_empty()
    }

    async fn begin(&self, method: &'static str, about: &str) -> Result<(), SupplyError> {
        let mut changed = self.changed.subscribe();
        self.state().calls.push(format!("{method} {about}"));
        while self.state().held.contains(method) {
            changed.changed().await.expect("the sender is in self");
        }
        match self.state().failures.get_mut(method).and_then(VecDeque::pop_front) {
            Some(message) => Err(SupplyError(message)),
            None => Ok(()),
        }
    }
}

#[async_trait]
impl PodSupplies for FakeSupplies {
    async fn sandbox(
        &self,
        pod: &Pod,
        attempt: u32,
        _seen: Timestamp,
    ) -> Result<SandboxSupply, SupplyError> {
        self.begin("sandbox", pod.name()).await?;
        self.state().cgroups.insert(pod.uid().clone());
        let network = if pod.host_network() { NamespaceMode::Node } else { NamespaceMode::Pod };
        let options = NamespaceOption { network: network as i32, ..Default::default() };
        let security =
            LinuxSandboxSecurityContext { namespace_options: Some(options), ..Default::default() };
        let config = PodSandboxConfig {
            metadata: Some(PodSandboxMetadata {
                name: pod.name().to_owned(),
                uid: pod.uid().to_string(),
                namespace: pod.namespace().to_owned(),
                attempt,
            }),
            linux: Some(LinuxPodSandboxConfig {
                security_context: Some(security),
                ..Default::default()
            }),
            ..Default::default()
        };
        Ok(SandboxSupply { config, runtime_handler: String::new() })
    }

    async fn volumes(&self, pod: &Pod) -> Result<(), SupplyError> {
        self.begin("volumes", pod.name()).await?;
        self.state().volumes.insert(pod.uid().clone());
        Ok(())
    }

    async fn image(
        &self,
        _pod: &Pod,
        spec: &api::Container,
        news: &PullNews,
    ) -> Result<ImageSupply, ImageFailure> {
        let image = spec.image.clone().unwrap_or_default();
        let told = self.state().pull_news.clone();
        if told.is_some() {
            news.send_replace(told);
        }
        self.begin("image", &image).await.map_err(|error| ImageFailure {
            reason: reason::ERR_IMAGE_PULL,
            message: error.to_string(),
            retry_at: None,
        })?;
        Ok(ImageSupply { reference: format!("sha256:{image}"), ..ImageSupply::default() })
    }

    async fn container(
        &self,
        pod: &Pod,
        instance: Instance<'_>,
    ) -> Result<ContainerConfig, SupplyError> {
        self.begin("container", &instance.spec.name).await?;
        let annotations = container_annotations(pod, instance.spec, instance.attempt);
        assert!(self.state().volumes.contains(pod.uid()), "volumes come before containers");
        Ok(ContainerConfig {
            metadata: Some(ContainerMetadata {
                name: instance.spec.name.clone(),
                attempt: instance.attempt,
            }),
            image: Some(ImageSpec {
                image: instance.image.reference.clone(),
                user_specified_image: instance.spec.image.clone().unwrap_or_default(),
                ..Default::default()
            }),
            annotations,
            ..Default::default()
        })
    }

    async fn attempt_after_logs(&self, _pod: &Pod, container: &str) -> u32 {
        self.state().logged.get(container).map_or(0, |newest| newest + 1)
    }

    async fn created(&self, _pod: &Pod, instance: Instance<'_>, _id: &ContainerId) {
        self.state().calls.push(format!("created {}", instance.spec.name));
    }

    async fn remove_log(&self, _pod: &PodFullName, _uid: &PodUid, container: &Container) {
        self.state().calls.push(format!("remove_log {} {}", container.name, container.attempt));
    }

    async fn release_volumes(&self, uid: &PodUid) -> Result<(), SupplyError> {
        self.begin("release_volumes", uid.as_str()).await?;
        self.state().volumes.remove(uid);
        Ok(())
    }

    async fn remove_cgroup(&self, uid: &PodUid) -> Result<(), SupplyError> {
        self.begin("remove_cgroup", uid.as_str()).await?;
        self.state().cgroups.remove(uid);
        Ok(())
    }

    async fn forget(&self, _pod: &PodFullName, uid: &PodUid) {
        self.state().calls.push(format!("forget {uid}"));
    }
}
