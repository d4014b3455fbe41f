//! Pure. Which part of a volume a mount shows.
//! Source: kubelet v1.36 `kubelet_pods.go`, `container/helpers.go`.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1 as api;

use super::container_config::ContainerConfigError;
use super::env::{Variables, expand};
use super::supplies::VolumeImage;
use crate::volumes::WantedSubPath;

/// Whether a mount of the container shows a part of its volume.
pub fn has_sub_paths(container: &api::Container) -> bool {
    let set = |path: &Option<String>| path.as_ref().is_some_and(|path| !path.is_empty());
    let mut mounts = container.volume_mounts.iter().flatten();
    mounts.any(|mount| set(&mount.sub_path) || set(&mount.sub_path_expr))
}

/// The part of its volume that a mount shows, relative and without `..`; empty for all of it.
/// `variables` are those of the container, for `subPathExpr`.
///
/// Errors for a path that leads elsewhere, and when a variable is missing or empty.
pub fn sub_path(
    mount: &api::VolumeMount,
    variables: &Variables,
) -> Result<String, ContainerConfigError> {
    let expression = mount.sub_path_expr.as_deref().unwrap_or_default();
    let path = if expression.is_empty() {
        mount.sub_path.clone().unwrap_or_default()
    } else {
        expanded(expression, variables)?
    };
    if path.starts_with('/') {
        return Err(ContainerConfigError::SubPathAbsolute(path));
    }
    if path.split('/').any(|part| part == "..") {
        return Err(ContainerConfigError::SubPathBacksteps(path));
    }
    Ok(path)
}

fn expanded(expression: &str, variables: &Variables) -> Result<String, ContainerConfigError> {
    let missing = RefCell::new(BTreeSet::new());
    let value = expand(expression, |name| {
        let value = variables.get(name).filter(|value| !value.is_empty()).cloned();
        if value.is_none() {
            missing.borrow_mut().insert(name.to_owned());
        }
        value
    });
    let missing = missing.into_inner();
    if !missing.is_empty() {
        let names: Vec<String> = missing.into_iter().collect();
        return Err(ContainerConfigError::SubPathVariables(names.join(", ")));
    }
    Ok(String::from_utf8_lossy(&value).into_owned())
}

/// The parts of volumes that noded has to make present for the container. The runtime itself takes
/// the part of an image.
pub fn wanted_sub_paths(
    container: &api::Container,
    images: &BTreeMap<String, VolumeImage>,
    variables: &Variables,
) -> Result<Vec<WantedSubPath>, ContainerConfigError> {
    let mut wanted = Vec::new();
    for (index, mount) in container.volume_mounts.iter().flatten().enumerate() {
        let path = sub_path(mount, variables)?;
        if !path.is_empty() && !images.contains_key(&mount.name) {
            wanted.push(WantedSubPath { index, volume: mount.name.clone(), path });
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests;
