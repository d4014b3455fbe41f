//! Pure. A pod this node should run.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::{PodFullName, PodUid};

/// Where the wish for a pod comes from; published as annotation `kubernetes.io/config.source`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PodSource {
    Api,
    File,
    Http,
}

/// Which of a pod's three container lists a container stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ContainerKind {
    Init,
    Regular,
    Ephemeral,
}

/// One desired pod: the API object and its source. Cheap to clone.
#[derive(Clone, Debug, PartialEq)]
pub struct Pod {
    uid: PodUid,
    full_name: PodFullName,
    source: PodSource,
    object: Arc<api::Pod>,
}

impl Pod {
    /// The pod of an API object. `None` when it lacks a uid, a name or a spec, which the API
    /// server never sends; the namespace falls back to `default`.
    pub fn new(object: Arc<api::Pod>, source: PodSource) -> Option<Self> {
        let meta = &object.metadata;
        let uid = PodUid::from(meta.uid.as_deref().filter(|uid| !uid.is_empty())?);
        let name = meta.name.as_deref().filter(|name| !name.is_empty())?;
        let full_name = PodFullName::new(meta.namespace.as_deref().unwrap_or("default"), name);
        object.spec.as_ref()?;
        Some(Self { uid, full_name, source, object })
    }

    pub fn uid(&self) -> &PodUid {
        &self.uid
    }

    pub fn full_name(&self) -> &PodFullName {
        &self.full_name
    }

    pub fn namespace(&self) -> &str {
        &self.full_name.namespace
    }

    pub fn name(&self) -> &str {
        &self.full_name.name
    }

    pub fn source(&self) -> PodSource {
        self.source
    }

    pub fn object(&self) -> &Arc<api::Pod> {
        &self.object
    }

    pub fn spec(&self) -> &api::PodSpec {
        self.object.spec.as_ref().expect("Pod::new refuses an object without a spec")
    }

    /// The status the API server last showed; `None` when it shows none.
    pub fn api_status(&self) -> Option<&api::PodStatus> {
        self.object.status.as_ref()
    }

    /// `metadata.generation`, 0 when absent.
    pub fn generation(&self) -> i64 {
        self.object.metadata.generation.unwrap_or(0)
    }

    /// When the API server was asked to delete the pod.
    pub fn deletion_requested(&self) -> Option<Timestamp> {
        self.object.metadata.deletion_timestamp.as_ref().map(|time| time.0)
    }

    /// Seconds the pod gets to end: the deletion's own figure, else the spec's, else 30
    /// (`terminationGracePeriodSeconds` default, API v1). Never negative.
    pub fn grace_seconds(&self) -> u64 {
        let asked = match self.deletion_requested() {
            Some(_) => self.object.metadata.deletion_grace_period_seconds,
            None => None,
        };
        let seconds = asked.or(self.spec().termination_grace_period_seconds).unwrap_or(30);
        u64::try_from(seconds).unwrap_or(0)
    }

    pub fn host_network(&self) -> bool {
        self.spec().host_network.unwrap_or(false)
    }

    /// `spec.restartPolicy`, `Always` when absent (API v1 default).
    pub fn restart_policy(&self) -> &str {
        self.spec().restart_policy.as_deref().unwrap_or("Always")
    }

    /// A container of the pod by its name, regular ones first, with the list it stands in.
    /// Ephemeral containers are another type and not found here.
    pub fn container(&self, name: &str) -> Option<(ContainerKind, &api::Container)> {
        let spec = self.spec();
        let regular = spec.containers.iter().map(|c| (ContainerKind::Regular, c));
        let init = spec.init_containers.iter().flatten().map(|c| (ContainerKind::Init, c));
        regular.chain(init).find(|(_, container)| container.name == name)
    }
}
