//! Pure. A container of a pod as the runtime is to make it.
//! Source: kubelet v1.36 `kuberuntime/kuberuntime_container.go`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use cri_proto::runtime::v1::{
    ContainerConfig, ContainerMetadata, ImageSpec, KeyValue, LinuxContainerConfig, Mount, Signal,
    UserNamespace,
};
use k8s_openapi::api::core::v1 as api;

use super::env::{self, EnvSources, Variables};
use super::env_file::EnvFiles;
use super::field_ref::FieldFacts;
use super::labels;
use super::linux_resources::container_resources;
use super::log_paths::container_log;
use super::mounts::{PodFiles, RecursiveReadOnlyProblem, VolumeSources, container_mounts};
use super::node_facts::NodeFacts;
use super::security_context::{ImageUser, container_security, join_processes};
use super::service_env::EnvServices;
use super::sub_path::{has_sub_paths, wanted_sub_paths};
use super::supplies::VolumeImage;
use crate::model::{ContainerId, HandlerFeatures, Pod};
use crate::objects::ObjectSet;
use crate::volumes::{BoundSubPaths, MountedVolumes, WantedSubPath};

/// Why no config can be made. The text is published as message of the waiting reason
/// `CreateContainerConfigError`, in the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContainerConfigError {
    #[error("services have not yet been read at least once, cannot construct envvars")]
    ServicesNotListed,
    #[error("{kind} \"{name}\" not found")]
    ObjectMissing { kind: &'static str, namespace: String, name: String },
    #[error("couldn't find key {key} in {kind} {namespace}/{name}")]
    KeyMissing { key: String, kind: &'static str, namespace: String, name: String },
    #[error(
        "environment variable key \"{key}\" not found in file \"{path}\" of volume \"{volume}\""
    )]
    FileKeyMissing { key: String, volume: String, path: String },
    #[error("file \"{path}\" of volume \"{volume}\", line {line}: {problem}")]
    EnvFileBroken { volume: String, path: String, line: usize, problem: &'static str },
    #[error("unsupported fieldPath: {0}")]
    UnknownField(String),
    #[error("unsupported container resource: {0}")]
    UnknownResource(String),
    #[error("resource {resource} or its divisor is not a quantity: {text:?}")]
    BadQuantity { resource: String, text: String },
    #[error("container {0} not found")]
    UnknownContainer(String),
    #[error("cannot find volume \"{volume}\" to mount into container \"{container}\"")]
    VolumeNotMounted { volume: String, container: String },
    #[error("invalid MountPropagation mode: {0:?}")]
    UnknownPropagation(String),
    #[error(
        "failed to resolve recursive read-only mode: volume \"{volume}\" requested recursive \
         read-only mode, but {why}"
    )]
    RecursiveReadOnly { volume: String, why: RecursiveReadOnlyProblem },
    #[error("failed to resolve recursive read-only mode: unknown recursive read-only mode \"{0}\"")]
    UnknownRecursiveReadOnly(String),
    #[error("missing value for {0}")]
    SubPathVariables(String),
    #[error("error SubPath `{0}` must not be an absolute path")]
    SubPathAbsolute(String),
    #[error("unable to provision SubPath `{0}`: must not contain '..'")]
    SubPathBacksteps(String),
    #[error(
        "container's runAsUser breaks non-root policy (pod: \"{pod}\", container: {container})"
    )]
    RunAsUserIsRoot { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image will run as root (pod: \"{pod}\", container: \
         {container})"
    )]
    ImageRunsAsRoot { pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has non-numeric user ({username}), cannot verify \
         user is non-root (pod: \"{pod}\", container: {container})"
    )]
    ImageUserNotNumeric { username: String, pod: String, container: String },
    #[error(
        "container has runAsNonRoot and image has an invalid user id ({uid}). (Must be \
         1-(2147483647)): must be between 0 and 2147483647, inclusive (pod: \"{pod}\", container: \
         {container})"
    )]
    ImageUserInvalid { uid: i64, pod: String, container: String },
    #[error("localhostProfile must be set if seccompProfile type is Localhost.")]
    SeccompProfileMissing,
    #[error(
        "seccompProfile.localhostProfile {0:?} must be a path beneath the node's own directory"
    )]
    SeccompProfileOutside(String),
    #[error("missing localhost apparmor profile name")]
    AppArmorProfileMissing,
    #[error("unknown apparmor profile type: \"{0}\"")]
    UnknownAppArmorProfile(String),
}

/// The image as the puller made it present.
#[derive(Clone, Copy, Debug)]
pub struct ImageInput<'a> {
    /// Reference to create with, as the runtime gave it.
    pub reference: &'a str,
    pub user: &'a ImageUser,
    /// Images that are mounted as volumes.
    pub volumes: &'a BTreeMap<String, VolumeImage>,
}

/// Everything one instance depends on beside its spec.
#[derive(Clone, Copy, Debug)]
pub struct ContainerInputs<'a> {
    /// Restart count of this instance.
    pub attempt: u32,
    /// The container whose processes an ephemeral one is to see.
    pub target: Option<&'a ContainerId>,
    pub image: ImageInput<'a>,
    pub services: Option<&'a EnvServices>,
    pub objects: &'a ObjectSet,
    pub env_files: &'a EnvFiles,
    /// Addresses of the sandbox; those of the node for a host-network pod.
    pub pod_ips: &'a [IpAddr],
    pub volumes: &'a MountedVolumes,
    /// Made present as [`needed_sub_paths`] asks for.
    pub sub_paths: &'a BoundSubPaths,
    pub files: PodFiles<'a>,
    /// What the handler of the sandbox can do.
    pub handler: HandlerFeatures,
    /// The user namespace of the sandbox.
    pub users: &'a UserNamespace,
    pub node: &'a NodeFacts,
}

/// The config of one instance of `container`.
pub fn build_container_config(
    pod: &Pod,
    container: &api::Container,
    inputs: &ContainerInputs<'_>,
) -> Result<ContainerConfig, ContainerConfigError> {
    let users = inputs.users;
    let mut security = container_security(pod, container, inputs.image.user, users, inputs.node)?;
    if let Some(target) = inputs.target {
        join_processes(&mut security, target);
    }
    let variables = variables(pod, container, inputs)?;
    let mounts = container_mounts(
        container,
        VolumeSources {
            mounted: inputs.volumes,
            images: inputs.image.volumes,
            sub_paths: inputs.sub_paths,
        },
        inputs.files,
        &variables,
        inputs.handler.recursive_read_only_mounts,
    )?;
    let expand_all = |list: &Option<Vec<String>>| -> Vec<String> {
        list.iter().flatten().map(|text| env::expand_text(text, &variables)).collect()
    };
    Ok(ContainerConfig {
        metadata: Some(ContainerMetadata { name: container.name.clone(), attempt: inputs.attempt }),
        image: Some(ImageSpec {
            image: inputs.image.reference.to_owned(),
            user_specified_image: container.image.clone().unwrap_or_default(),
            ..Default::default()
        }),
        command: expand_all(&container.command),
        args: expand_all(&container.args),
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: mapped(mounts, users),
        labels: labels::container_labels(pod, container),
        annotations: labels::container_annotations(pod, container, inputs.attempt),
        log_path: container_log(&container.name, inputs.attempt),
        stdin: container.stdin.unwrap_or(false),
        stdin_once: container.stdin_once.unwrap_or(false),
        tty: container.tty.unwrap_or(false),
        linux: Some(LinuxContainerConfig {
            resources: Some(container_resources(pod, container, inputs.node)),
            security_context: Some(security),
        }),
        stop_signal: stop_signal(container) as i32,
        envs: variables.into_iter().map(|(key, value)| KeyValue { key, value }).collect(),
        ..Default::default()
    })
}

/// The mounts as the pod's users see them: in a user namespace of its own each is mapped, so that
/// root of the pod owns what root of the node owns.
fn mapped(mut mounts: Vec<Mount>, users: &UserNamespace) -> Vec<Mount> {
    for mount in &mut mounts {
        mount.uid_mappings.clone_from(&users.uids);
        mount.gid_mappings.clone_from(&users.gids);
    }
    mounts
}

/// The parts of volumes that have to be present before the container can be made.
pub fn needed_sub_paths(
    pod: &Pod,
    container: &api::Container,
    inputs: &ContainerInputs<'_>,
) -> Result<Vec<WantedSubPath>, ContainerConfigError> {
    if !has_sub_paths(container) {
        return Ok(Vec::new());
    }
    wanted_sub_paths(container, inputs.image.volumes, &variables(pod, container, inputs)?)
}

fn variables(
    pod: &Pod,
    container: &api::Container,
    inputs: &ContainerInputs<'_>,
) -> Result<Variables, ContainerConfigError> {
    let facts = FieldFacts::of(pod, &inputs.node.host_ips, inputs.node.allocatable);
    let sources = EnvSources {
        services: inputs.services,
        objects: inputs.objects,
        files: inputs.env_files,
        pod_ips: inputs.pod_ips,
    };
    env::container_env(pod, container, sources, &facts)
}

/// `lifecycle.stopSignal`; without one, or with a name the CRI lacks, the image's.
fn stop_signal(container: &api::Container) -> Signal {
    container
        .lifecycle
        .as_ref()
        .and_then(|lifecycle| lifecycle.stop_signal.as_deref())
        .and_then(Signal::from_str_name)
        .unwrap_or(Signal::RuntimeDefault)
}

#[cfg(test)]
mod tests;
