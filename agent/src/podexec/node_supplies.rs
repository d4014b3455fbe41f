//! The real surroundings of pods: cgroups, volumes, images, names, logs, each from its slice.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cri_proto::runtime::v1::{ContainerConfig, UserNamespace};
use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use tokio::sync::watch;

use super::container_config::{
    ContainerInputs, ImageInput, build_container_config, needed_sub_paths,
};
use super::dns::{PodDns, parse_resolv_conf, pod_dns};
use super::env_file::{EnvFiles, MAX_FILE, env_file_names};
use super::hostname::{host_network_hosts_file, hosts_file, pod_names};
use super::log_paths::{attempt_of_log, container_log, container_log_link, pod_log_dir};
use super::mounts::{PodFiles, image_volumes};
use super::node_facts::NodeFacts;
use super::sandbox_config::{SandboxInputs, build_sandbox_config};
use super::security_context::{ImageUser, pod_users, sandbox_users};
use super::service_env::EnvServices;
use super::supplies::{
    ImageFailure, ImageSupply, Instance, PodSupplies, SandboxSupply, SupplyError, VolumeImage,
};
use crate::adapters::linux::log_files;
use crate::boundary::{ApiEvent, ObjectsApi};
use crate::cm::CmHandle;
use crate::config::DnsConfig;
use crate::events::{EventsHandle, pod_reference};
use crate::images::{EnsureImage, ImageTarget, ImagesHandle, PullNews};
use crate::model::{Container, ContainerId, Pod, PodFullName, PodUid};
use crate::node::NodeView;
use crate::objects::{ObjectsHandle, container_references};
use crate::podworker::WallClock;
use crate::telemetry::Causes;
use crate::user_namespaces::UserNamespaces;
use crate::volumes::{BoundSubPaths, MountedVolumes, VolumesHandle};

/// How long a static pod waits for the Services to be listed; it may itself be the API server that
/// is to list them. One that is up answers in this time.
const STATIC_SERVICES_WAIT: Duration = Duration::from_millis(250);

/// What the surroundings are made from.
pub struct NodeSupplies {
    pub cm: CmHandle,
    pub volumes: VolumesHandle,
    pub images: ImagesHandle,
    pub objects: ObjectsHandle,
    pub api: Arc<dyn ObjectsApi>,
    pub events: EventsHandle,
    pub node: Arc<NodeFacts>,
    pub user_namespaces: UserNamespaces,
    /// What the runtime can do.
    pub view: watch::Receiver<NodeView>,
    pub dns: DnsConfig,
    /// Directory of the flat links to container logs.
    pub container_logs_dir: PathBuf,
    pub clock: WallClock,
}

/// An error and its causes as one text for users.
fn supply_error(error: &(dyn std::error::Error + 'static)) -> SupplyError {
    SupplyError(Causes(error).to_string())
}

/// Reads the files that the environment of a container refers to, never outside their volumes.
async fn env_files(
    container: &api::Container,
    mounted: &MountedVolumes,
) -> Result<EnvFiles, SupplyError> {
    let mut files = EnvFiles::default();
    for (volume, path) in env_file_names(container) {
        let place = mounted.get(&volume).ok_or_else(|| {
            SupplyError(format!("cannot find the volume \"{volume}\" referenced by FileKeyRef"))
        })?;
        let (root, file) = (place.host_path.clone(), PathBuf::from(&path));
        let content = log_files::read_beneath(root, file, MAX_FILE).await.map_err(|error| {
            SupplyError(format!("cannot read file \"{path}\" of volume \"{volume}\": {error}"))
        })?;
        files.0.insert((volume, path), content);
    }
    Ok(files)
}

impl NodeSupplies {
    /// The pod's resolver configuration; what had to be cut is told as events.
    async fn dns(&self, pod: &Pod) -> Result<PodDns, SupplyError> {
        let host = match &self.dns.resolv_conf {
            None => None,
            Some(path) => {
                let text = log_files::read_text(path.clone()).await.map_err(|error| {
                    SupplyError(format!("cannot read resolvConf {}: {error}", path.display()))
                })?;
                Some(parse_resolv_conf(&text))
            }
        };
        let dns = pod_dns(pod, &self.dns, host.as_ref(), &self.node.host_ips);
        for warning in &dns.warnings {
            self.events.publish(ApiEvent {
                object: pod_reference(pod, None),
                warning: true,
                reason: warning.reason(),
                message: warning.message(pod),
                at: (self.clock)(),
            });
        }
        Ok(dns)
    }

    /// The pod's hosts file, written; `None` while a pod with a network of its own has no address.
    async fn hosts(
        &self,
        pod: &Pod,
        instance: &Instance<'_>,
    ) -> Result<Option<PathBuf>, SupplyError> {
        let aliases = pod.spec().host_aliases.as_deref().unwrap_or_default();
        let text = if pod.host_network() {
            let node = self.volumes.node_hosts_file().await.map_err(|e| supply_error(&e))?;
            host_network_hosts_file(&node, aliases)
        } else if instance.sandbox.ips.is_empty() {
            return Ok(None);
        } else {
            let names = pod_names(pod, &self.node.cluster_domain).map_err(|e| supply_error(&e))?;
            hosts_file(&instance.sandbox.ips, &names, aliases)
        };
        let written = self.volumes.write_hosts_file(pod.uid(), text).await;
        written.map(Some).map_err(|error| supply_error(&error))
    }

    async fn services(&self, pod: &Pod) -> Option<EnvServices> {
        let listed = async {
            let (own, default) = tokio::join!(
                self.api.services_in(pod.namespace()),
                self.api.services_in("default")
            );
            Some(EnvServices { own: own?, default: default? })
        };
        if pod.is_static() {
            return tokio::time::timeout(STATIC_SERVICES_WAIT, listed).await.ok()?;
        }
        listed.await
    }

    /// The handler that the pod's class names; empty for the runtime's default.
    async fn runtime_handler(&self, pod: &Pod) -> Result<String, SupplyError> {
        let Some(name) = pod.runtime_class() else { return Ok(String::new()) };
        match self.objects.runtime_class(name).await {
            Ok(class) => Ok(class.handler.clone()),
            Err(error) if error.is_not_found() => Err(supply_error(&error)),
            Err(error) => {
                let why = Causes(&error);
                Err(SupplyError(format!("failed to lookup RuntimeClass {name}: {why}")))
            }
        }
    }

    async fn users(&self, pod: &Pod, handler: &str) -> Result<UserNamespace, SupplyError> {
        let runtime = self.view.borrow().features.clone();
        let ids = self.user_namespaces.ensure(pod, handler, runtime.as_ref()).await;
        ids.map(pod_users).map_err(|error| supply_error(&error))
    }

    fn log_dir(&self, pod: &PodFullName, uid: &PodUid) -> PathBuf {
        pod_log_dir(&self.node.pod_logs_dir, pod, uid)
    }
}

#[async_trait]
impl PodSupplies for NodeSupplies {
    async fn sandbox(
        &self,
        pod: &Pod,
        attempt: u32,
        seen: Timestamp,
    ) -> Result<SandboxSupply, SupplyError> {
        let runtime_handler = self.runtime_handler(pod).await?;
        let users = self.users(pod, &runtime_handler).await?;
        let logs = self.log_dir(pod.full_name(), pod.uid());
        let (cgroup, dns, made) =
            tokio::join!(self.cm.ensure_pod(pod), self.dns(pod), log_files::create_dir(logs));
        made.map_err(|error| SupplyError(format!("cannot make the pod's log directory: {error}")))?;
        let cgroup = cgroup.map_err(|error| supply_error(&error))?;
        let config = build_sandbox_config(
            pod,
            &SandboxInputs {
                attempt,
                cgroup_parent: &cgroup.to_string_lossy(),
                dns: &dns?,
                seen,
                users: &users,
                node: &self.node,
            },
        )
        .map_err(|error| supply_error(&error))?;
        Ok(SandboxSupply { config, runtime_handler })
    }

    async fn volumes(&self, pod: &Pod) -> Result<(), SupplyError> {
        match self.volumes.ensure_mounted(pod).await {
            Ok(_) => Ok(()),
            Err(error) => Err(SupplyError(error.event_messages().join("; "))),
        }
    }

    async fn image(
        &self,
        pod: &Pod,
        spec: &api::Container,
        news: &PullNews,
    ) -> Result<ImageSupply, ImageFailure> {
        let ensure = |target| async move {
            let wish = EnsureImage { pod, target, news: Some(news) };
            self.images.ensure(&wish).await.map_err(|error| ImageFailure {
                reason: error.reason,
                message: error.message,
                retry_at: error.retry_at,
            })
        };
        let volumes = image_volumes(pod, spec).map(async |(name, source)| {
            let present = ensure(ImageTarget::Volume(source)).await?;
            let named = source.reference.clone().unwrap_or_default();
            Ok((name.to_owned(), VolumeImage { reference: present.image_ref, named }))
        });
        let (volumes, image) =
            tokio::join!(join_all(volumes), ensure(ImageTarget::Container(spec)));
        let (volumes, image) = (volumes.into_iter().collect::<Result<_, _>>()?, image?);
        Ok(ImageSupply {
            reference: image.image_ref,
            uid: image.image.uid,
            username: image.image.username,
            volumes,
        })
    }

    async fn container(
        &self,
        pod: &Pod,
        instance: Instance<'_>,
    ) -> Result<ContainerConfig, SupplyError> {
        let name = &instance.spec.name;
        let log = container_log(name, instance.attempt);
        let log = self.log_dir(pod.full_name(), pod.uid()).join(log);
        let log_parent = log.parent().map(PathBuf::from).unwrap_or_default();
        let references = container_references(instance.spec);
        let (mounted, hosts, termination, objects, services, made) = tokio::join!(
            self.volumes.ensure_mounted(pod),
            self.hosts(pod, &instance),
            self.volumes.create_termination_log(pod.uid(), name),
            self.objects.fetch(pod.namespace(), &references),
            self.services(pod),
            log_files::create_dir(log_parent),
        );
        made.map_err(|error| {
            SupplyError(format!("cannot make the log directory of container {name}: {error}"))
        })?;
        let mounted = mounted.map_err(|error| supply_error(&error))?;
        let termination = termination.map_err(|error| supply_error(&error))?;
        let objects = objects.map_err(|error| supply_error(&error))?;
        let hosts = hosts?;
        let env_files = env_files(instance.spec, &mounted).await?;
        let user = ImageUser { uid: instance.image.uid, username: instance.image.username.clone() };
        let pod_ips = if pod.host_network() { &self.node.host_ips } else { &instance.sandbox.ips };
        let features = self.view.borrow().features.clone().unwrap_or_default();
        let users = sandbox_users(&instance.supply.config);
        let none = BoundSubPaths::new();
        let inputs = ContainerInputs {
            attempt: instance.attempt,
            target: instance.target,
            image: ImageInput {
                reference: &instance.image.reference,
                user: &user,
                volumes: &instance.image.volumes,
            },
            services: services.as_ref(),
            objects: &objects,
            env_files: &env_files,
            pod_ips,
            volumes: &mounted,
            sub_paths: &none,
            files: PodFiles { hosts: hosts.as_deref(), termination_log: Some(&termination) },
            handler: features.of_handler(&instance.supply.runtime_handler),
            users: &users,
            node: &self.node,
        };
        let wanted =
            needed_sub_paths(pod, instance.spec, &inputs).map_err(|error| supply_error(&error))?;
        let sub_paths = &self.volumes.bind_sub_paths(pod, name, wanted).await;
        let sub_paths = sub_paths.as_ref().map_err(|error| supply_error(error))?;
        build_container_config(pod, instance.spec, &ContainerInputs { sub_paths, ..inputs })
            .map_err(|error| supply_error(&error))
    }

    async fn attempt_after_logs(&self, pod: &Pod, container: &str) -> u32 {
        let dir = self.log_dir(pod.full_name(), pod.uid()).join(container);
        match log_files::files(dir).await {
            Ok(names) => {
                let attempts = names.iter().filter_map(|name| attempt_of_log(name));
                attempts.max().map_or(0, |newest| newest.saturating_add(1))
            }
            Err(error) => {
                tracing::warn!(pod = %pod.full_name(), container, %error, "cannot list the container's logs");
                0
            }
        }
    }

    async fn created(&self, pod: &Pod, instance: Instance<'_>, id: &ContainerId) {
        let name = &instance.spec.name;
        let log =
            self.log_dir(pod.full_name(), pod.uid()).join(container_log(name, instance.attempt));
        let link = container_log_link(&self.container_logs_dir, pod.full_name(), name, id);
        if let Err(error) = log_files::link(log, link).await {
            tracing::warn!(pod = %pod.full_name(), container = name, %error, "cannot link the container's log");
        }
    }

    async fn remove_log(&self, pod: &PodFullName, uid: &PodUid, container: &Container) {
        let log = self.log_dir(pod, uid).join(container_log(&container.name, container.attempt));
        let link =
            container_log_link(&self.container_logs_dir, pod, &container.name, &container.id);
        for path in [log, link] {
            if let Err(error) = log_files::remove(path).await {
                tracing::warn!(pod = %pod, container = container.name, %error, "cannot remove the container's log");
            }
        }
    }

    async fn release_volumes(&self, uid: &PodUid) -> Result<(), SupplyError> {
        self.images.forget_pod(uid);
        self.volumes.release(uid).await.map_err(|error| supply_error(&error))
    }

    async fn remove_cgroup(&self, uid: &PodUid) -> Result<(), SupplyError> {
        self.cm.remove_pod(uid).await.map_err(|error| supply_error(&error))?;
        // No process of the pod is left.
        self.user_namespaces.release(uid).await;
        Ok(())
    }

    async fn forget(&self, pod: &PodFullName, uid: &PodUid) {
        let dir = self.log_dir(pod, uid);
        if let Err(error) = log_files::remove_dir(dir).await {
            tracing::warn!(pod = %pod, %error, "cannot remove the pod's log directory");
        }
    }
}
