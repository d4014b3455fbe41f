//! Pure. Environment of a container: service variables, `envFrom`, `env`, in that order, later
//! ones winning; and the expansion of `$(NAME)`.
//!
//! Values are bytes: a Secret may hold anything and reaches the container unchanged.
//! Source: kubelet v1.36 `kubelet_pods.go`, `envvars/envvars.go`,
//! `third_party/forked/golang/expansion`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;

use super::container_config::ContainerConfigError;
use super::env_file::EnvFiles;
use super::field_ref::{self, FieldFacts};
use super::service_env::{EnvServices, service_variables};
use crate::model::{Pod, PodSource};
use crate::objects::ObjectSet;

/// What the variables come from, beside the pod itself.
#[derive(Clone, Copy, Debug)]
pub struct EnvSources<'a> {
    /// `None` until the Services have been listed once.
    pub services: Option<&'a EnvServices>,
    pub objects: &'a ObjectSet,
    pub files: &'a EnvFiles,
    /// Addresses of the sandbox, of the node for a host-network pod.
    pub pod_ips: &'a [IpAddr],
}

/// Variables by name. Their order in the container is by name, which no reader may rely on.
pub type Variables = BTreeMap<String, Vec<u8>>;

/// All variables of a container.
///
/// Errors when the Services of a pod that is not static are not known yet (it would start without
/// them for ever), and when something it refers to without `optional` is missing.
pub fn container_env(
    pod: &Pod,
    container: &api::Container,
    sources: EnvSources<'_>,
    facts: &FieldFacts<'_>,
) -> Result<Variables, ContainerConfigError> {
    let services = match sources.services {
        Some(services) => {
            service_variables(services, pod.spec().enable_service_links.unwrap_or(true))
        }
        None if pod.source() == PodSource::Api => {
            return Err(ContainerConfigError::ServicesNotListed);
        }
        None => BTreeMap::new(),
    };
    let mut own = Variables::new();
    for source in container.env_from.iter().flatten() {
        add_all_of(&mut own, pod, source, sources.objects)?;
    }
    for variable in container.env.iter().flatten() {
        let written = variable.value.as_deref().unwrap_or_default();
        let value = if !written.is_empty() {
            let known = |name: &str| {
                own.get(name).cloned().or_else(|| services.get(name).map(|v| v.clone().into()))
            };
            Some(expand(written, known))
        } else if let Some(from) = &variable.value_from {
            resolve(pod, container, from, sources, facts)?
        } else {
            Some(Vec::new())
        };
        if let Some(value) = value {
            own.insert(variable.name.clone(), value);
        }
    }
    for (name, value) in services {
        own.entry(name).or_insert_with(|| value.into());
    }
    Ok(own)
}

fn add_all_of(
    own: &mut Variables,
    pod: &Pod,
    source: &api::EnvFromSource,
    objects: &ObjectSet,
) -> Result<(), ContainerConfigError> {
    let prefix = source.prefix.as_deref().unwrap_or_default();
    if let Some(wanted) = &source.config_map_ref {
        match objects.config_maps.get(&wanted.name) {
            Some(Some(map)) => {
                for (key, value) in map.data.iter().flatten() {
                    own.insert(format!("{prefix}{key}"), value.clone().into_bytes());
                }
            }
            _ if wanted.optional.unwrap_or(false) => {}
            _ => return Err(missing(pod, "configmap", &wanted.name)),
        }
    }
    if let Some(wanted) = &source.secret_ref {
        match objects.secrets.get(&wanted.name) {
            Some(Some(secret)) => {
                for (key, value) in secret.entries() {
                    own.insert(format!("{prefix}{key}"), value.to_vec());
                }
            }
            _ if wanted.optional.unwrap_or(false) => {}
            _ => return Err(missing(pod, "secret", &wanted.name)),
        }
    }
    Ok(())
}

fn missing(pod: &Pod, kind: &'static str, name: &str) -> ContainerConfigError {
    let namespace = pod.namespace().to_owned();
    ContainerConfigError::ObjectMissing { kind, namespace, name: name.to_owned() }
}

/// The value a reference stands for; `None` for an optional one that is missing, whose variable is
/// then left out.
fn resolve(
    pod: &Pod,
    container: &api::Container,
    from: &api::EnvVarSource,
    sources: EnvSources<'_>,
    facts: &FieldFacts<'_>,
) -> Result<Option<Vec<u8>>, ContainerConfigError> {
    if let Some(field) = &from.field_ref {
        let value = field_ref::pod_field(pod, &field.field_path, sources.pod_ips, facts)?;
        return Ok(Some(value.into_bytes()));
    }
    if let Some(resource) = &from.resource_field_ref {
        // Its own container's, unless the reference names another of the pod.
        let named = resource.container_name.as_deref().filter(|name| !name.is_empty());
        let of = match named {
            Some(name) => pod.container(name).map(|(_, named)| named),
            None => Some(container),
        };
        let of = of.ok_or_else(|| {
            ContainerConfigError::UnknownContainer(named.unwrap_or_default().to_owned())
        })?;
        let value = field_ref::resource_field(of, resource, facts)?;
        return Ok(Some(value.into_bytes()));
    }
    if let Some(wanted) = &from.file_key_ref {
        return sources.files.value(wanted);
    }
    if let Some(wanted) = &from.config_map_key_ref {
        let map = sources.objects.config_maps.get(&wanted.name).and_then(Option::as_ref);
        let value = map.and_then(|map| map.data.as_ref()?.get(&wanted.key));
        return match (value, map) {
            (Some(value), _) => Ok(Some(value.clone().into_bytes())),
            _ if wanted.optional.unwrap_or(false) => Ok(None),
            (None, Some(_)) => Err(key_missing(pod, "ConfigMap", &wanted.name, &wanted.key)),
            (None, None) => Err(missing(pod, "configmap", &wanted.name)),
        };
    }
    if let Some(wanted) = &from.secret_key_ref {
        let secret = sources.objects.secrets.get(&wanted.name).and_then(Option::as_ref);
        return match (secret.and_then(|secret| secret.get(&wanted.key)), secret) {
            (Some(value), _) => Ok(Some(value.to_vec())),
            _ if wanted.optional.unwrap_or(false) => Ok(None),
            (None, Some(_)) => Err(key_missing(pod, "Secret", &wanted.name, &wanted.key)),
            (None, None) => Err(missing(pod, "secret", &wanted.name)),
        };
    }
    Ok(Some(Vec::new()))
}

fn key_missing(pod: &Pod, kind: &'static str, name: &str, key: &str) -> ContainerConfigError {
    ContainerConfigError::KeyMissing {
        key: key.to_owned(),
        kind,
        namespace: pod.namespace().to_owned(),
        name: name.to_owned(),
    }
}

/// Replaces every `$(NAME)` that `known` has a value for. `$$` stands for one `$`, so `$$(NAME)`
/// comes out as `$(NAME)`; an unknown name and an unfinished reference stay as they are.
pub fn expand(text: &str, known: impl Fn(&str) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut result = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        result.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            result.push(b'$');
            rest = after;
        } else if let Some((name, after)) =
            rest.strip_prefix('(').and_then(|inside| inside.split_once(')'))
        {
            match known(name) {
                Some(value) => result.extend_from_slice(&value),
                None => result.extend_from_slice(format!("$({name})").as_bytes()),
            }
            rest = after;
        } else {
            result.push(b'$');
        }
    }
    result.extend_from_slice(rest.as_bytes());
    result
}

/// [`expand`] for a command line, which is text: bytes that are not UTF-8 are replaced.
pub fn expand_text(text: &str, variables: &Variables) -> String {
    let expanded = expand(text, |name| variables.get(name).cloned());
    String::from_utf8_lossy(&expanded).into_owned()
}

#[cfg(test)]
mod tests;
