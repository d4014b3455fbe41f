//! Pure. CRI's messages to our model.

use std::collections::HashMap;
use std::net::IpAddr;

use cri_proto::runtime::v1 as cri;
use jiff::Timestamp;

use crate::boundary::{
    ListedContainer, ListedSandbox, ListedState, LocalImage, RuntimeCondition, RuntimeStatus,
};
use crate::model::{
    Container, ContainerId, ContainerState, ContainerUser, Exit, HandlerFeatures, PodUid,
    RuntimeFeatures, Sandbox, SandboxId, SandboxState,
};

#[cfg(test)]
mod tests;

/// Labels every object of a pod carries (kubelet v1.36, `pkg/kubelet/types/labels.go`).
pub(super) const POD_UID: &str = "io.kubernetes.pod.uid";
const POD_NAME: &str = "io.kubernetes.pod.name";
const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
const CONTAINER_HASH: &str = "io.kubernetes.container.hash";

/// Nanoseconds since the epoch; 0 and what lies outside the calendar is `None`.
pub(super) fn time(nanos: i64) -> Option<Timestamp> {
    (nanos != 0).then(|| Timestamp::from_nanosecond(nanos.into()).ok()).flatten()
}

fn time_or_epoch(nanos: i64) -> Timestamp {
    time(nanos).unwrap_or(Timestamp::UNIX_EPOCH)
}

fn label(labels: &HashMap<String, String>, key: &str) -> String {
    labels.get(key).cloned().unwrap_or_default()
}

fn sandbox_state(state: i32) -> SandboxState {
    match cri::PodSandboxState::try_from(state) {
        Ok(cri::PodSandboxState::SandboxReady) => SandboxState::Ready,
        _ => SandboxState::NotReady,
    }
}

/// `None` for a sandbox without the pod UID label: it is not ours.
pub(super) fn listed_sandbox(item: cri::PodSandbox) -> Option<ListedSandbox> {
    let uid = item.labels.get(POD_UID).filter(|uid| !uid.is_empty())?;
    Some(ListedSandbox {
        pod_uid: PodUid::from(uid),
        namespace: label(&item.labels, POD_NAMESPACE),
        name: label(&item.labels, POD_NAME),
        attempt: item.metadata.as_ref().map_or(0, |metadata| metadata.attempt),
        state: sandbox_state(item.state),
        created_at: time_or_epoch(item.created_at),
        id: SandboxId::from(&item.id),
        annotations: item.annotations,
    })
}

/// `None` for a container without the pod UID label: it is not ours.
pub(super) fn listed_container(item: cri::Container) -> Option<ListedContainer> {
    let uid = item.labels.get(POD_UID).filter(|uid| !uid.is_empty())?;
    let metadata = item.metadata.unwrap_or_default();
    Some(ListedContainer {
        pod_uid: PodUid::from(uid),
        namespace: label(&item.labels, POD_NAMESPACE),
        pod_name: label(&item.labels, POD_NAME),
        id: ContainerId::from(&item.id),
        sandbox: SandboxId::from(&item.pod_sandbox_id),
        name: metadata.name,
        attempt: metadata.attempt,
        state: match cri::ContainerState::try_from(item.state) {
            Ok(cri::ContainerState::ContainerCreated) => ListedState::Created,
            Ok(cri::ContainerState::ContainerRunning) => ListedState::Running,
            Ok(cri::ContainerState::ContainerExited) => ListedState::Exited,
            _ => ListedState::Unknown,
        },
        created_at: time_or_epoch(item.created_at),
    })
}

pub(super) fn sandbox(status: cri::PodSandboxStatus) -> Sandbox {
    let network_mode = status
        .linux
        .as_ref()
        .and_then(|linux| linux.namespaces.as_ref())
        .and_then(|namespaces| namespaces.options.as_ref())
        .map_or(0, |options| options.network);
    let network = status.network.unwrap_or_default();
    let texts =
        std::iter::once(network.ip).chain(network.additional_ips.into_iter().map(|ip| ip.ip));
    Sandbox {
        id: SandboxId::from(&status.id),
        attempt: status.metadata.map_or(0, |metadata| metadata.attempt),
        state: sandbox_state(status.state),
        created_at: time_or_epoch(status.created_at),
        ips: texts.filter_map(|text| text.parse::<IpAddr>().ok()).collect(),
        host_network: network_mode == cri::NamespaceMode::Node as i32,
        annotations: status.annotations,
    }
}

/// The container as the runtime knows it. `sandbox` comes from the list, because a status does not
/// name it.
pub(super) fn container(status: cri::ContainerStatus, sandbox: SandboxId) -> Container {
    let state = match cri::ContainerState::try_from(status.state) {
        Ok(cri::ContainerState::ContainerCreated) => ContainerState::Created,
        Ok(cri::ContainerState::ContainerRunning) => {
            ContainerState::Running { started_at: time_or_epoch(status.started_at) }
        }
        Ok(cri::ContainerState::ContainerExited) => ContainerState::Exited(Exit {
            started_at: time(status.started_at),
            finished_at: time_or_epoch(status.finished_at),
            code: status.exit_code,
            reason: status.reason,
            message: status.message,
        }),
        _ => ContainerState::Unknown,
    };
    let metadata = status.metadata.unwrap_or_default();
    let stop_signal = stop_signal(status.stop_signal);
    let recursive = status.mounts.into_iter().filter(|mount| mount.recursive_read_only);
    Container {
        id: ContainerId::from(&status.id),
        name: metadata.name,
        sandbox,
        attempt: metadata.attempt,
        state,
        created_at: time_or_epoch(status.created_at),
        image: status.image.map(|image| image.image).unwrap_or_default(),
        image_ref: status.image_ref,
        user: status.user.and_then(|user| user.linux).map(user),
        stop_signal,
        recursive_read_only: recursive.map(|mount| mount.container_path).collect(),
        spec_hash: status.annotations.get(CONTAINER_HASH).cloned(),
        log_path: status.log_path,
        labels: status.labels,
        annotations: status.annotations,
    }
}

fn user(user: cri::LinuxContainerUser) -> ContainerUser {
    ContainerUser { uid: user.uid, gid: user.gid, supplemental_groups: user.supplemental_groups }
}

/// `None` for a runtime that does not report it, and for a number the contract does not have.
fn stop_signal(number: i32) -> Option<String> {
    match cri::Signal::try_from(number) {
        Ok(cri::Signal::RuntimeDefault) | Err(_) => None,
        Ok(signal) => Some(signal.as_str_name().to_owned()),
    }
}

/// A condition that is not reported is not ready, with a reason that says so.
pub(super) fn runtime_status(response: cri::StatusResponse) -> RuntimeStatus {
    let conditions = response.status.unwrap_or_default().conditions;
    let condition = |kind: &str| {
        conditions.iter().find(|condition| condition.r#type == kind).map_or_else(
            || RuntimeCondition {
                ready: false,
                reason: "NotReported".to_owned(),
                message: format!("the runtime does not report {kind}"),
            },
            |condition| RuntimeCondition {
                ready: condition.status,
                reason: condition.reason.clone(),
                message: condition.message.clone(),
            },
        )
    };
    let handlers = response.runtime_handlers.into_iter().map(|handler| {
        let can = handler.features.unwrap_or_default();
        let features = HandlerFeatures {
            recursive_read_only_mounts: can.recursive_read_only_mounts,
            user_namespaces: can.user_namespaces,
        };
        (handler.name, features)
    });
    let policy = response.features.map(|features| features.supplemental_groups_policy);
    RuntimeStatus {
        runtime: condition("RuntimeReady"),
        network: condition("NetworkReady"),
        features: RuntimeFeatures {
            handlers: handlers.collect(),
            supplemental_groups_policy: policy,
        },
    }
}

pub(super) fn image(image: cri::Image) -> LocalImage {
    LocalImage {
        id: image.id,
        tags: image.repo_tags,
        digests: image.repo_digests,
        size_bytes: image.size,
        uid: image.uid.map(|uid| uid.value),
        username: image.username,
        pinned: image.pinned,
    }
}
