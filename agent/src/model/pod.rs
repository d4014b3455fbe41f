//! Pure. A pod this node should run.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::BoundObjectReference;
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
    /// Ephemeral containers in the shape of the others.
    ephemeral: Arc<[api::Container]>,
}

impl Pod {
    /// The pod of an API object. `None` when it lacks a uid, a name or a spec, which the API
    /// server never sends; the namespace falls back to `default`.
    pub fn new(object: Arc<api::Pod>, source: PodSource) -> Option<Self> {
        let meta = &object.metadata;
        let uid = PodUid::from(meta.uid.as_deref().filter(|uid| !uid.is_empty())?);
        let name = meta.name.as_deref().filter(|name| !name.is_empty())?;
        let full_name = PodFullName::new(meta.namespace.as_deref().unwrap_or("default"), name);
        let ephemeral = object.spec.as_ref()?.ephemeral_containers.iter().flatten();
        let ephemeral = ephemeral.map(ephemeral_as_container).collect();
        Some(Self { uid, full_name, source, object, ephemeral })
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

    /// Whether the API server last showed a terminal phase.
    pub fn has_ended(&self) -> bool {
        let phase = self.api_status().and_then(|status| status.phase.as_deref());
        matches!(phase, Some("Succeeded" | "Failed"))
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

    /// What binds a token to the pod: it stops to hold when the pod is deleted.
    pub fn token_binding(&self) -> BoundObjectReference {
        BoundObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            name: Some(self.name().to_owned()),
            uid: Some(self.uid().as_str().to_owned()),
        }
    }

    pub fn host_network(&self) -> bool {
        self.spec().host_network.unwrap_or(false)
    }

    /// `spec.restartPolicy`, `Always` when absent (API v1 default).
    pub fn restart_policy(&self) -> &str {
        self.spec().restart_policy.as_deref().unwrap_or("Always")
    }

    /// Whether the pod comes from a manifest of this node and not from the API server.
    pub fn is_static(&self) -> bool {
        self.source != PodSource::Api
    }

    /// An annotation of the pod.
    pub fn annotation(&self, name: &str) -> Option<&str> {
        self.object.metadata.annotations.as_ref()?.get(name).map(String::as_str)
    }

    /// The hash of a static pod's manifest (`kubernetes.io/config.hash`), by which its mirror pod
    /// is recognised; `None` for a pod of the API server.
    pub fn config_hash(&self) -> Option<&str> {
        self.annotation("kubernetes.io/config.hash").filter(|_| self.is_static())
    }

    /// Whether the node must run the pod whatever it takes: a static pod, or one whose priority is
    /// among those kept for the system (2 000 000 000 and above, v1.36 `SystemCriticalPriority`).
    pub fn is_critical(&self) -> bool {
        const SYSTEM_CRITICAL: i32 = 2_000_000_000;
        self.is_static() || self.spec().priority.is_some_and(|priority| priority >= SYSTEM_CRITICAL)
    }

    /// The pod's ephemeral containers, in the order they were added.
    pub fn ephemeral_containers(&self) -> &[api::Container] {
        &self.ephemeral
    }

    /// `runtimeClassName`; `None` for the runtime's default handler.
    pub fn runtime_class(&self) -> Option<&str> {
        self.spec().runtime_class_name.as_deref().filter(|name| !name.is_empty())
    }

    /// The container whose processes an ephemeral container is to see; `None` when it names none.
    pub fn ephemeral_target(&self, name: &str) -> Option<&str> {
        let mut listed = self.spec().ephemeral_containers.iter().flatten();
        listed.find(|container| container.name == name)?.target_container_name.as_deref()
    }

    /// A container of the pod by its name, with the list it stands in.
    pub fn container(&self, name: &str) -> Option<(ContainerKind, &api::Container)> {
        self.all_containers().find(|(_, container)| container.name == name)
    }

    /// All containers of the pod, each with the list it stands in.
    pub fn all_containers(&self) -> impl Iterator<Item = (ContainerKind, &api::Container)> {
        let spec = self.spec();
        let regular = spec.containers.iter().map(|c| (ContainerKind::Regular, c));
        let init = spec.init_containers.iter().flatten().map(|c| (ContainerKind::Init, c));
        let ephemeral = self.ephemeral.iter().map(|c| (ContainerKind::Ephemeral, c));
        regular.chain(init).chain(ephemeral)
    }

    /// Whether an init container of that name runs beside the regular ones (`restartPolicy`
    /// `Always`, a sidecar).
    pub fn is_sidecar(&self, name: &str) -> bool {
        let mut init = self.spec().init_containers.iter().flatten();
        init.any(|container| container.name == name && is_sidecar(container))
    }
}

/// Whether an init container is a sidecar.
pub fn is_sidecar(init: &api::Container) -> bool {
    init.restart_policy.as_deref() == Some("Always")
}

/// An ephemeral container as one of the others; all fields but the target have a counterpart.
fn ephemeral_as_container(ephemeral: &api::EphemeralContainer) -> api::Container {
    let from = ephemeral.clone();
    api::Container {
        args: from.args,
        command: from.command,
        env: from.env,
        env_from: from.env_from,
        image: from.image,
        image_pull_policy: from.image_pull_policy,
        lifecycle: from.lifecycle,
        liveness_probe: from.liveness_probe,
        name: from.name,
        ports: from.ports,
        readiness_probe: from.readiness_probe,
        resize_policy: from.resize_policy,
        resources: from.resources,
        restart_policy: from.restart_policy,
        restart_policy_rules: from.restart_policy_rules,
        security_context: from.security_context,
        startup_probe: from.startup_probe,
        stdin: from.stdin,
        stdin_once: from.stdin_once,
        termination_message_path: from.termination_message_path,
        termination_message_policy: from.termination_message_policy,
        tty: from.tty,
        volume_devices: from.volume_devices,
        volume_mounts: from.volume_mounts,
        working_dir: from.working_dir,
    }
}
