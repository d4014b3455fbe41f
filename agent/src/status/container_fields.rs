//! Pure. Fields of a container status that repeat what the spec asks for and the runtime grants.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::model::{Container, ContainerUser};

#[cfg(test)]
mod tests;

/// `resources` and `allocatedResources`: what the container got, which is what it asked for.
pub(super) fn allocated(
    spec: &api::Container,
) -> (Option<api::ResourceRequirements>, Option<BTreeMap<String, Quantity>>) {
    let resources = spec.resources.clone().unwrap_or_default();
    let requests = resources.requests.clone();
    (Some(api::ResourceRequirements { claims: None, ..resources }), requests)
}

pub(super) fn user(user: &ContainerUser) -> api::ContainerUser {
    let groups = &user.supplemental_groups;
    let linux = api::LinuxContainerUser {
        uid: user.uid,
        gid: user.gid,
        supplemental_groups: (!groups.is_empty()).then(|| groups.clone()),
    };
    api::ContainerUser { linux: Some(linux) }
}

pub(super) fn stop_signal(instance: &Container) -> Option<String> {
    instance.stop_signal.clone()
}

/// One entry for each mount of the spec. `recursiveReadOnly` is told of read-only mounts only, as
/// the runtime made them; before there is an instance, as the spec asks for it.
pub(super) fn volume_mounts(
    spec: &api::Container,
    instance: Option<&Container>,
) -> Option<Vec<api::VolumeMountStatus>> {
    let is_recursive = |mount: &api::VolumeMount| match instance {
        Some(instance) => instance.recursive_read_only.contains(&mount.mount_path),
        None => mount.recursive_read_only.as_deref() == Some("Enabled"),
    };
    let mounts: Vec<_> = spec
        .volume_mounts
        .iter()
        .flatten()
        .map(|mount| api::VolumeMountStatus {
            name: mount.name.clone(),
            mount_path: mount.mount_path.clone(),
            read_only: mount.read_only,
            recursive_read_only: mount
                .read_only
                .filter(|read_only| *read_only)
                .map(|_| if is_recursive(mount) { "Enabled" } else { "Disabled" }.to_owned()),
            ..api::VolumeMountStatus::default()
        })
        .collect();
    (!mounts.is_empty()).then_some(mounts)
}
