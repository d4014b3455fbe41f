//! Pure. Users, capabilities, profiles, namespaces and hidden paths of a sandbox or container.
//! Source: kubelet v1.36 `kuberuntime/security_context.go`, `securitycontext/util.go`,
//! `kuberuntime/util/util.go`.

use cri_proto::runtime::v1::security_profile::ProfileType;
use cri_proto::runtime::v1::{
    Capability, IdMapping, Int64Value, LinuxContainerSecurityContext, LinuxSandboxSecurityContext,
    NamespaceMode, NamespaceOption, PodSandboxConfig, SeLinuxOption, SupplementalGroupsPolicy,
    UserNamespace,
};
use k8s_openapi::api::core::v1 as api;

use super::container_config::ContainerConfigError;
use super::node_facts::NodeFacts;
use super::security_profiles::{app_armor, profile, seccomp};
use crate::model::{ContainerId, Pod};
use crate::user_namespaces::IdBlock;

/// Hidden from a container by default (kubelet v1.36), beside the CPUs' thermal counters.
pub const MASKED_PATHS: [&str; 12] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

/// Read-only for a container by default (kubelet v1.36).
pub const READONLY_PATHS: [&str; 5] =
    ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Highest number of a user (API validation, v1.36).
const MAX_USER: i64 = i32::MAX as i64;

/// User of an image's configuration; neither set means root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageUser {
    pub uid: Option<i64>,
    /// Empty when the image names none or a number.
    pub username: String,
}

/// The container's security settings laid over the pod's.
struct Effective<'a> {
    run_as_user: Option<i64>,
    run_as_group: Option<i64>,
    run_as_non_root: Option<bool>,
    se_linux: Option<&'a api::SELinuxOptions>,
    own: Option<&'a api::SecurityContext>,
}

impl<'a> Effective<'a> {
    fn of(pod: &'a Pod, container: &'a api::Container) -> Self {
        let own = container.security_context.as_ref();
        let pod = pod.spec().security_context.as_ref();
        Self {
            run_as_user: own.and_then(|s| s.run_as_user).or(pod.and_then(|s| s.run_as_user)),
            run_as_group: own.and_then(|s| s.run_as_group).or(pod.and_then(|s| s.run_as_group)),
            run_as_non_root: own
                .and_then(|s| s.run_as_non_root)
                .or(pod.and_then(|s| s.run_as_non_root)),
            se_linux: own
                .and_then(|s| s.se_linux_options.as_ref())
                .or(pod.and_then(|s| s.se_linux_options.as_ref())),
            own,
        }
    }
}

/// `runAsUser` that holds for the container: its own, else the pod's.
pub fn effective_run_as_user(pod: &Pod, container: &api::Container) -> Option<i64> {
    Effective::of(pod, container).run_as_user
}

/// Whether any of the pod's containers is privileged; the sandbox then is too.
fn has_privileged_container(pod: &Pod) -> bool {
    let spec = pod.spec();
    let inits = spec.init_containers.iter().flatten();
    let listed = spec.containers.iter().chain(inits);
    listed
        .chain(pod.ephemeral_containers())
        .any(|c| c.security_context.as_ref().and_then(|s| s.privileged).unwrap_or(false))
}

/// The sandbox's security context in the user namespace `users`. Its own process always runs under the runtime's seccomp
/// profile, whatever the pod asks for its containers.
pub fn sandbox_security(pod: &Pod, users: &UserNamespace) -> LinuxSandboxSecurityContext {
    let security = pod.spec().security_context.as_ref();
    LinuxSandboxSecurityContext {
        namespace_options: Some(namespaces(pod, users)),
        selinux_options: security.and_then(|s| s.se_linux_options.as_ref()).map(se_linux),
        run_as_user: security.and_then(|s| s.run_as_user).map(int64),
        run_as_group: security.and_then(|s| s.run_as_group).map(int64),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: supplemental_groups_policy(pod) as i32,
        privileged: has_privileged_container(pod),
        seccomp: Some(profile(ProfileType::RuntimeDefault)),
        ..Default::default()
    }
}

/// The container's security context in the user namespace `users`. Errors when `runAsNonRoot` does not hold or cannot be
/// verified, and when a profile is not a usable one.
#[expect(deprecated, reason = "runtimes before CRI's structured field read this one alone")]
pub fn container_security(
    pod: &Pod,
    container: &api::Container,
    image_user: &ImageUser,
    users: &UserNamespace,
    node: &NodeFacts,
) -> Result<LinuxContainerSecurityContext, ContainerConfigError> {
    let effective = Effective::of(pod, container);
    verify_non_root(pod, container, &effective, image_user)?;
    let own = effective.own;
    let flag = |read: fn(&api::SecurityContext) -> Option<bool>| own.and_then(read);
    let unmasked = own.and_then(|s| s.proc_mount.as_deref()) == Some("Unmasked");
    let from_image = effective.run_as_user.is_none();
    let (apparmor, apparmor_profile) = app_armor(pod, container)?;
    Ok(LinuxContainerSecurityContext {
        capabilities: own.and_then(|s| s.capabilities.as_ref()).map(capabilities),
        privileged: flag(|s| s.privileged).unwrap_or(false),
        namespace_options: Some(namespaces(pod, users)),
        selinux_options: effective.se_linux.map(se_linux),
        run_as_user: effective.run_as_user.or(image_uid(image_user)).map(int64),
        run_as_group: effective.run_as_group.map(int64),
        run_as_username: if from_image { image_user.username.clone() } else { String::new() },
        readonly_rootfs: flag(|s| s.read_only_root_filesystem).unwrap_or(false),
        supplemental_groups: supplemental_groups(pod),
        supplemental_groups_policy: supplemental_groups_policy(pod) as i32,
        no_new_privs: flag(|s| s.allow_privilege_escalation).is_some_and(|allowed| !allowed),
        masked_paths: if unmasked { Vec::new() } else { masked_paths(node) },
        readonly_paths: if unmasked { Vec::new() } else { READONLY_PATHS.map(Into::into).into() },
        seccomp: Some(seccomp(pod, container, node)?),
        apparmor,
        apparmor_profile,
        ..Default::default()
    })
}

/// An image that names no user at all runs as root.
fn image_uid(image: &ImageUser) -> Option<i64> {
    if image.uid.is_none() && image.username.is_empty() { Some(0) } else { image.uid }
}

fn verify_non_root(
    pod: &Pod,
    container: &api::Container,
    effective: &Effective<'_>,
    image: &ImageUser,
) -> Result<(), ContainerConfigError> {
    if effective.run_as_non_root != Some(true) {
        return Ok(());
    }
    let names =
        || (format!("{}_{}({})", pod.name(), pod.namespace(), pod.uid()), container.name.clone());
    match (effective.run_as_user, image_uid(image)) {
        (Some(0), _) => {
            let (pod, container) = names();
            Err(ContainerConfigError::RunAsUserIsRoot { pod, container })
        }
        (Some(_), _) => Ok(()),
        (None, Some(0)) => {
            let (pod, container) = names();
            Err(ContainerConfigError::ImageRunsAsRoot { pod, container })
        }
        (None, None) => {
            let (pod, container) = names();
            let username = image.username.clone();
            Err(ContainerConfigError::ImageUserNotNumeric { username, pod, container })
        }
        (None, Some(uid)) if !(0..=MAX_USER).contains(&uid) => {
            let (pod, container) = names();
            Err(ContainerConfigError::ImageUserInvalid { uid, pod, container })
        }
        (None, Some(_)) => Ok(()),
    }
}

fn masked_paths(node: &NodeFacts) -> Vec<String> {
    let fixed = MASKED_PATHS.iter().map(|&path| path.to_owned());
    fixed.chain(node.thermal_throttle_paths.iter().cloned()).collect()
}

/// The node's users: the user namespace of pods that do not ask for one of their own.
pub fn node_users() -> UserNamespace {
    UserNamespace { mode: NamespaceMode::Node as i32, ..Default::default() }
}

/// The user namespace of a pod with these ids; the node's users without.
pub fn pod_users(ids: Option<IdBlock>) -> UserNamespace {
    let Some(IdBlock { first, length }) = ids else { return node_users() };
    let mapping = IdMapping { host_id: first, container_id: 0, length };
    UserNamespace { mode: NamespaceMode::Pod as i32, uids: vec![mapping], gids: vec![mapping] }
}

/// The user namespace that a sandbox was made with, for its containers.
pub fn sandbox_users(sandbox: &PodSandboxConfig) -> UserNamespace {
    let security = sandbox.linux.as_ref().and_then(|linux| linux.security_context.as_ref());
    let options = security.and_then(|security| security.namespace_options.as_ref());
    options.and_then(|options| options.userns_options.clone()).unwrap_or_else(node_users)
}

fn namespaces(pod: &Pod, users: &UserNamespace) -> NamespaceOption {
    let spec = pod.spec();
    let node_or_pod = |host: Option<bool>| match host {
        Some(true) => NamespaceMode::Node,
        _ => NamespaceMode::Pod,
    };
    let pid = match (spec.host_pid, spec.share_process_namespace) {
        (Some(true), _) => NamespaceMode::Node,
        (_, Some(true)) => NamespaceMode::Pod,
        _ => NamespaceMode::Container,
    };
    NamespaceOption {
        network: node_or_pod(spec.host_network) as i32,
        pid: pid as i32,
        ipc: node_or_pod(spec.host_ipc) as i32,
        target_id: String::new(),
        userns_options: Some(users.clone()),
    }
}

/// Puts the container into the process namespace of `target`. In a pod whose containers share one
/// already, with each other or with the node, it sees the target anyway.
pub fn join_processes(security: &mut LinuxContainerSecurityContext, target: &ContainerId) {
    let Some(options) = &mut security.namespace_options else { return };
    if options.pid == NamespaceMode::Container as i32 {
        options.pid = NamespaceMode::Target as i32;
        options.target_id = target.as_str().to_owned();
    }
}

/// `fsGroup` first, then the pod's supplemental groups.
fn supplemental_groups(pod: &Pod) -> Vec<i64> {
    let Some(security) = &pod.spec().security_context else { return Vec::new() };
    let listed = security.supplemental_groups.iter().flatten().copied();
    security.fs_group.into_iter().chain(listed).collect()
}

fn supplemental_groups_policy(pod: &Pod) -> SupplementalGroupsPolicy {
    let security = pod.spec().security_context.as_ref();
    match security.and_then(|s| s.supplemental_groups_policy.as_deref()) {
        Some("Strict") => SupplementalGroupsPolicy::Strict,
        _ => SupplementalGroupsPolicy::Merge,
    }
}

fn capabilities(wanted: &api::Capabilities) -> Capability {
    Capability {
        add_capabilities: wanted.add.clone().unwrap_or_default(),
        drop_capabilities: wanted.drop.clone().unwrap_or_default(),
        ..Default::default()
    }
}

fn se_linux(options: &api::SELinuxOptions) -> SeLinuxOption {
    SeLinuxOption {
        user: options.user.clone().unwrap_or_default(),
        role: options.role.clone().unwrap_or_default(),
        r#type: options.type_.clone().unwrap_or_default(),
        level: options.level.clone().unwrap_or_default(),
    }
}

fn int64(value: i64) -> Int64Value {
    Int64Value { value }
}

#[cfg(test)]
mod tests;
