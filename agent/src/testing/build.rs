//! Builders of pods and of what the runtime holds of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use crate::model::{
    Container, ContainerId, ContainerState, Exit, Pod, PodSource, RuntimePod, Sandbox, SandboxId,
    SandboxState, container_hash,
};
use crate::podplan::RESTART_WAIT_ANNOTATION;

/// A fixed day; `at(n)` is n seconds into it.
pub fn at(second: i64) -> Timestamp {
    let start: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
    start + SignedDuration::from_secs(second)
}

/// Starts a pod on the node `node`; `name` is `namespace/name`, its UID is `uid-` and the name.
pub fn pod(name: &str) -> PodBuilder {
    let (namespace, name) = name.split_once('/').unwrap();
    PodBuilder {
        object: api::Pod {
            metadata: ObjectMeta {
                namespace: Some(namespace.to_owned()),
                name: Some(name.to_owned()),
                uid: Some(format!("uid-{name}")),
                creation_timestamp: Some(Time(at(0))),
                generation: Some(1),
                ..ObjectMeta::default()
            },
            spec: Some(api::PodSpec {
                node_name: Some("node".to_owned()),
                ..api::PodSpec::default()
            }),
            status: None,
        },
        source: PodSource::Api,
    }
}

#[derive(Clone, Debug)]
pub struct PodBuilder {
    object: api::Pod,
    source: PodSource,
}

impl PodBuilder {
    fn spec(&mut self) -> &mut api::PodSpec {
        self.object.spec.as_mut().unwrap()
    }

    pub fn uid(mut self, uid: &str) -> Self {
        self.object.metadata.uid = Some(uid.to_owned());
        self
    }

    /// A regular container whose image is `image-` and the name.
    pub fn container(self, name: &str) -> Self {
        self.container_of(name, &format!("image-{name}"))
    }

    pub fn container_of(mut self, name: &str, image: &str) -> Self {
        self.spec().containers.push(container(name, image));
        self
    }

    /// An init container that is to end.
    pub fn init(self, name: &str) -> Self {
        self.init_with(name, |_| {})
    }

    /// An init container that runs beside the regular ones.
    pub fn sidecar(self, name: &str) -> Self {
        self.init_with(name, |spec| spec.restart_policy = Some("Always".to_owned()))
    }

    pub fn init_with(mut self, name: &str, change: impl FnOnce(&mut api::Container)) -> Self {
        let mut init = container(name, &format!("image-{name}"));
        change(&mut init);
        self.spec().init_containers.get_or_insert_default().push(init);
        self
    }

    pub fn ephemeral(mut self, name: &str, target: Option<&str>) -> Self {
        let ephemeral = api::EphemeralContainer {
            name: name.to_owned(),
            image: Some(format!("image-{name}")),
            target_container_name: target.map(ToOwned::to_owned),
            ..api::EphemeralContainer::default()
        };
        self.spec().ephemeral_containers.get_or_insert_default().push(ephemeral);
        self
    }

    /// Changes a regular or init container that was added before.
    pub fn changed(mut self, name: &str, change: impl FnOnce(&mut api::Container)) -> Self {
        let spec = self.spec();
        let init = spec.init_containers.iter_mut().flatten();
        let found = spec.containers.iter_mut().chain(init).find(|spec| spec.name == name);
        change(found.unwrap());
        self
    }

    /// The container has a preStop hook.
    pub fn pre_stop(self, name: &str) -> Self {
        self.changed(name, |spec| hooks(spec).pre_stop = Some(api::LifecycleHandler::default()))
    }

    /// The container has a postStart hook.
    pub fn post_start(self, name: &str) -> Self {
        self.changed(name, |spec| hooks(spec).post_start = Some(api::LifecycleHandler::default()))
    }

    /// Requests of the last container, by resource.
    pub fn requests(mut self, amounts: &[(&str, &str)]) -> Self {
        let quantity = |text: &str| Quantity(text.to_owned());
        let requests = amounts.iter().map(|(name, text)| ((*name).to_owned(), quantity(text)));
        self.spec().containers.last_mut().unwrap().resources = Some(api::ResourceRequirements {
            requests: Some(requests.collect()),
            ..api::ResourceRequirements::default()
        });
        self
    }

    pub fn priority(mut self, priority: i32) -> Self {
        self.spec().priority = Some(priority);
        self
    }

    pub fn node_selector(mut self, label: &str, value: &str) -> Self {
        let wanted = (label.to_owned(), value.to_owned());
        self.spec().node_selector.get_or_insert_default().extend([wanted]);
        self
    }

    pub fn groups_policy(mut self, policy: &str) -> Self {
        let security = self.spec().security_context.get_or_insert_default();
        security.supplemental_groups_policy = Some(policy.to_owned());
        self
    }

    pub fn restart(mut self, policy: &str) -> Self {
        self.spec().restart_policy = Some(policy.to_owned());
        self
    }

    pub fn host_network(mut self) -> Self {
        self.spec().host_network = Some(true);
        self
    }

    pub fn grace(mut self, seconds: i64) -> Self {
        self.spec().termination_grace_period_seconds = Some(seconds);
        self
    }

    pub fn active_deadline(mut self, seconds: i64) -> Self {
        self.spec().active_deadline_seconds = Some(seconds);
        self
    }

    pub fn created_at(mut self, second: i64) -> Self {
        self.object.metadata.creation_timestamp = Some(Time(at(second)));
        self
    }

    /// Deletion was asked for at `second`, with this grace; the API dates it to the end of it.
    pub fn deleted(mut self, second: i64, grace: i64) -> Self {
        self.object.metadata.deletion_timestamp = Some(Time(at(second + grace)));
        self.object.metadata.deletion_grace_period_seconds = Some(grace);
        self
    }

    pub fn source(mut self, source: PodSource) -> Self {
        self.source = source;
        self
    }

    pub fn status(mut self, status: api::PodStatus) -> Self {
        self.object.status = Some(status);
        self
    }

    pub fn build(self) -> Pod {
        Pod::new(Arc::new(self.object), self.source).unwrap()
    }
}

fn container(name: &str, image: &str) -> api::Container {
    api::Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        ..api::Container::default()
    }
}

fn hooks(spec: &mut api::Container) -> &mut api::Lifecycle {
    spec.lifecycle.get_or_insert_default()
}

/// Starts what the runtime holds of `pod`: nothing.
pub fn runtime(pod: &Pod) -> RuntimeBuilder {
    let held = RuntimePod::empty(pod.uid().clone(), pod.full_name().clone());
    RuntimeBuilder { pod: pod.clone(), held }
}

#[derive(Clone)]
pub struct RuntimeBuilder {
    pod: Pod,
    held: RuntimePod,
}

impl RuntimeBuilder {
    /// A ready sandbox `sandbox-N` with an address, newer than those before.
    pub fn sandbox(self, attempt: u32) -> Self {
        let host_network = self.pod.host_network();
        self.sandbox_with(attempt, |sandbox| sandbox.host_network = host_network)
    }

    pub fn sandbox_with(mut self, attempt: u32, change: impl FnOnce(&mut Sandbox)) -> Self {
        let mut sandbox = Sandbox {
            id: SandboxId::from(format!("sandbox-{attempt}")),
            attempt,
            state: SandboxState::Ready,
            created_at: at(i64::from(attempt)),
            ips: vec![IpAddr::from([10, 0, 0, 7])],
            host_network: false,
            annotations: HashMap::new(),
        };
        change(&mut sandbox);
        self.held.sandboxes.insert(0, sandbox);
        self
    }

    /// An instance `NAME-N` in the newest sandbox, newer than those before.
    pub fn container(self, name: &str, attempt: u32, state: ContainerState) -> Self {
        self.container_with(name, attempt, |container| container.state = state)
    }

    pub fn running(self, name: &str, attempt: u32) -> Self {
        self.container(name, attempt, ContainerState::Running { started_at: at(1) })
    }

    /// An instance that started at second 1 and ended at `finished`.
    pub fn exited(self, name: &str, attempt: u32, code: i32, finished: i64) -> Self {
        self.container(name, attempt, exited(code, finished))
    }

    /// The last added container hands this wait to its successor.
    pub fn handing_on(mut self, wait: Duration) -> Self {
        let newest = self.held.containers.first_mut().unwrap();
        newest.annotations.insert(RESTART_WAIT_ANNOTATION.to_owned(), wait.as_secs().to_string());
        self
    }

    pub fn container_with(
        mut self,
        name: &str,
        attempt: u32,
        change: impl FnOnce(&mut Container),
    ) -> Self {
        let spec_hash = self.pod.container(name).map(|(_, spec)| container_hash(spec));
        let sandbox = self.held.sandboxes.first().map_or(SandboxId::from("none"), |s| s.id.clone());
        let mut container = Container {
            id: ContainerId::from(format!("{name}-{attempt}")),
            name: name.to_owned(),
            sandbox,
            attempt,
            state: ContainerState::Created,
            created_at: at(1),
            image: format!("image-{name}"),
            image_ref: format!("sha256:{name}"),
            user: None,
            stop_signal: None,
            recursive_read_only: Vec::new(),
            spec_hash,
            log_path: String::new(),
            labels: HashMap::new(),
            annotations: HashMap::new(),
        };
        change(&mut container);
        self.held.containers.insert(0, container);
        self
    }

    pub fn build(self) -> RuntimePod {
        self.held
    }
}

/// Started at second 1, ended at `finished`.
pub fn exited(code: i32, finished: i64) -> ContainerState {
    ContainerState::Exited(Exit {
        started_at: Some(at(1)),
        finished_at: at(finished),
        code,
        reason: if code == 0 { "Completed" } else { "Error" }.to_owned(),
        message: String::new(),
    })
}

/// The published status of a container that runs as instance number `restarts`.
pub fn published_running(name: &str, restarts: i32) -> api::ContainerStatus {
    api::ContainerStatus {
        name: name.to_owned(),
        restart_count: restarts,
        container_id: Some(format!("containerd://{name}-{restarts}")),
        state: Some(api::ContainerState {
            running: Some(api::ContainerStateRunning::default()),
            ..api::ContainerState::default()
        }),
        ..api::ContainerStatus::default()
    }
}
