//! Pure. Which ConfigMaps, Secrets and RuntimeClass a pod refers to.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as api;

use crate::model::Pod;

/// Names in the pod's namespace, and of its RuntimeClass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct References {
    pub config_maps: BTreeSet<String>,
    pub secrets: BTreeSet<String>,
    pub runtime_class: Option<String>,
}

/// Everything the pod's volumes and environments refer to, its pull secrets and its class. Volumes that no
/// container mounts are left out, for they are not mounted either.
pub fn pod_references(pod: &Pod) -> References {
    let spec = pod.spec();
    let mut found =
        References { runtime_class: pod.runtime_class().map(str::to_owned), ..Default::default() };
    for secret in spec.image_pull_secrets.iter().flatten() {
        add_name(&mut found.secrets, &secret.name);
    }
    let mut mounted = BTreeSet::new();
    let listed = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    for container in listed.chain(pod.ephemeral_containers()) {
        add_env(&mut found, container);
        mounted.extend(container.volume_mounts.iter().flatten().map(|mount| mount.name.as_str()));
    }
    for volume in spec.volumes.iter().flatten().filter(|v| mounted.contains(v.name.as_str())) {
        add_volume(&mut found, volume);
    }
    found
}

/// What the environment of one container refers to.
pub fn container_references(container: &api::Container) -> References {
    let mut found = References::default();
    add_env(&mut found, container);
    found
}

fn add_env(found: &mut References, container: &api::Container) {
    for source in container.env_from.iter().flatten() {
        if let Some(map) = &source.config_map_ref {
            add_name(&mut found.config_maps, &map.name);
        }
        if let Some(secret) = &source.secret_ref {
            add_name(&mut found.secrets, &secret.name);
        }
    }
    for from in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
        if let Some(map) = &from.config_map_key_ref {
            add_name(&mut found.config_maps, &map.name);
        }
        if let Some(secret) = &from.secret_key_ref {
            add_name(&mut found.secrets, &secret.name);
        }
    }
}

fn add_volume(found: &mut References, volume: &api::Volume) {
    if let Some(map) = &volume.config_map {
        add_name(&mut found.config_maps, &map.name);
    }
    if let Some(name) = volume.secret.as_ref().and_then(|secret| secret.secret_name.as_ref()) {
        add_name(&mut found.secrets, name);
    }
    let projected = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
    for source in projected.into_iter().flatten() {
        if let Some(map) = &source.config_map {
            add_name(&mut found.config_maps, &map.name);
        }
        if let Some(secret) = &source.secret {
            add_name(&mut found.secrets, &secret.name);
        }
    }
}

fn add_name(names: &mut BTreeSet<String>, name: &str) {
    if !name.is_empty() {
        names.insert(name.to_owned());
    }
}

#[cfg(test)]
mod tests;
