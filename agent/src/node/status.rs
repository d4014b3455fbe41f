//! Pure. The whole status of the Node from what is known of machine and runtime.
//!
//! Source: kubelet v1.36 `pkg/kubelet/nodestatus/setters.go`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::addresses::{node_addresses, published_ips};
use super::conditions::{self, Pressure};
use crate::boundary::{LocalImage, MachineIdentity, RuntimeVersion};
use crate::model::resources::{CPU, EPHEMERAL_STORAGE, HUGE_PAGES_PREFIX, MEMORY, PODS, Resources};
use crate::model::{HandlerFeatures, RuntimeFeatures};

/// At most so many names of one image are published (kubelet v1.36).
const NAMES_PER_IMAGE: usize = 5;

/// What API servers and schedulers may count on here, sorted (Kubernetes v1.36,
/// `component-helpers/nodedeclaredfeatures`). Only what works is declared: that WebSockets of exec,
/// attach and port-forward may be passed on to the node as they are.
const DECLARED_FEATURES: [&str; 1] = ["ExtendWebSocketsToKubelet"];

/// Everything a status is made from.
#[derive(Clone, Debug)]
pub struct StatusInputs<'a> {
    pub node_name: &'a str,
    pub now: Timestamp,
    pub identity: &'a MachineIdentity,
    pub swap_bytes: u64,
    /// Empty when the machine could not be read.
    pub capacity: &'a Resources,
    pub allocatable: &'a Resources,
    /// Empty when none could be chosen; the published ones then stay.
    pub ips: &'a [IpAddr],
    /// Addresses that are published already come from a cloud provider and stay.
    pub keep_addresses: bool,
    pub runtime: Option<&'a RuntimeVersion>,
    /// `None` while the runtime has not told any; the published ones then stay.
    pub features: Option<&'a RuntimeFeatures>,
    /// `None` while the runtime has not listed any; the published ones then stay.
    pub images: Option<&'a [LocalImage]>,
    /// `nodeStatusMaxImages`; negative is all.
    pub max_images: i32,
    pub kubelet_version: &'a str,
    pub port: u16,
    pub pressures: [Pressure; 3],
    /// Why the node is not ready, besides a missing capacity; empty when it is.
    pub problems: Vec<String>,
}

/// The status to publish after `existing`. What others write (their conditions, extended
/// resources, attached volumes) is kept.
pub fn node_status(existing: &api::NodeStatus, inputs: &StatusInputs<'_>) -> api::NodeStatus {
    let mut status = existing.clone();
    status.capacity = Some(merged_resources(existing.capacity.as_ref(), inputs.capacity));
    status.allocatable = Some(merged_resources(existing.allocatable.as_ref(), inputs.allocatable));
    let mut problems = inputs.problems.clone();
    problems.extend(missing_capacity(inputs.capacity));
    let before = existing.conditions.as_deref().unwrap_or_default();
    status.conditions =
        Some(conditions::conditions(before, inputs.pressures, &problems, inputs.now));
    let published = existing.addresses.as_deref().unwrap_or_default();
    let kept = inputs.keep_addresses && !published.is_empty();
    if !kept && !inputs.ips.is_empty() {
        status.addresses = Some(node_addresses(inputs.ips, inputs.node_name));
    }
    status.node_info = Some(node_info(existing.node_info.as_ref(), inputs));
    status.daemon_endpoints = Some(api::NodeDaemonEndpoints {
        kubelet_endpoint: Some(api::DaemonEndpoint { port: i32::from(inputs.port) }),
    });
    status.declared_features = Some(DECLARED_FEATURES.map(str::to_owned).to_vec());
    if let Some(images) = inputs.images {
        status.images = Some(published_images(images, inputs.max_images));
    }
    if let Some(features) = inputs.features {
        status.runtime_handlers = runtime_handlers(features);
        if let Some(policy) = features.supplemental_groups_policy {
            status.features = Some(api::NodeFeatures { supplemental_groups_policy: Some(policy) });
        }
    }
    status
}

/// The IPs the node is known by after this status.
pub fn status_ips(status: &api::NodeStatus) -> Vec<IpAddr> {
    published_ips(status.addresses.as_deref().unwrap_or_default())
}

/// Ours over the published ones. Huge page sizes the machine no longer has go; extended resources
/// belong to whoever advertised them.
fn merged_resources(
    existing: Option<&BTreeMap<String, ApiQuantity>>,
    ours: &Resources,
) -> BTreeMap<String, ApiQuantity> {
    let of_others = existing.into_iter().flatten().filter(|(name, _)| !is_native(name));
    let mut merged: BTreeMap<String, ApiQuantity> =
        of_others.map(|(name, amount)| (name.clone(), amount.clone())).collect();
    merged.extend(ours.iter().map(|(name, amount)| (name.clone(), (*amount).into())));
    merged
}

fn is_native(name: &str) -> bool {
    [CPU, MEMORY, PODS, EPHEMERAL_STORAGE].contains(&name) || name.starts_with(HUGE_PAGES_PREFIX)
}

fn missing_capacity(capacity: &Resources) -> Option<String> {
    let required = [CPU, MEMORY, PODS, EPHEMERAL_STORAGE];
    let missing: Vec<&str> =
        required.into_iter().filter(|name| !capacity.contains_key(*name)).collect();
    let list = missing.join(", ");
    (!missing.is_empty()).then(|| format!("missing node capacity for resources: {list}"))
}

/// A runtime's version as the kubelet publishes it: without a leading `v`, and cut after its
/// numbers unless it is a semantic version (`2.1.0-rc.1` stays, Debian's `1.6.20~ds1` is cut).
fn published_version(version: &str) -> &str {
    let version = version.trim().trim_start_matches('v');
    let is_number = |c: char| c.is_ascii_digit() || c == '.';
    let numbers = version.find(|c| !is_number(c)).map_or(version, |end| &version[..end]);
    let rest = &version[numbers.len()..];
    let is_semantic = numbers.split('.').count() == 3 && rest.starts_with(['-', '+']);
    if is_semantic || numbers.is_empty() { version } else { numbers }
}

/// While the runtime is away its version stays as published.
fn node_info(
    existing: Option<&api::NodeSystemInfo>,
    inputs: &StatusInputs<'_>,
) -> api::NodeSystemInfo {
    let published = existing.map(|info| info.container_runtime_version.clone());
    let version = |runtime: &RuntimeVersion| published_version(&runtime.version).to_owned();
    let runtime = inputs.runtime.map(|runtime| format!("{}://{}", runtime.name, version(runtime)));
    let swap = i64::try_from(inputs.swap_bytes).ok().filter(|bytes| *bytes > 0);
    let identity = inputs.identity;
    api::NodeSystemInfo {
        architecture: identity.architecture.clone(),
        boot_id: identity.boot_id.clone(),
        container_runtime_version: runtime.or(published).unwrap_or_default(),
        kernel_version: identity.kernel_version.clone(),
        // Not published any more since v1.33; the field stays for old readers.
        kube_proxy_version: String::new(),
        kubelet_version: inputs.kubelet_version.to_owned(),
        machine_id: identity.machine_id.clone(),
        operating_system: "linux".to_owned(),
        os_image: identity.os_image.clone(),
        swap: swap.map(|capacity| api::NodeSwapStatus { capacity: Some(capacity) }),
        system_uuid: identity.system_uuid.clone(),
        ..api::NodeSystemInfo::default()
    }
}

/// The greatest images first, equal ones by name so that the order does not wander; digests before
/// tags.
fn published_images(images: &[LocalImage], limit: i32) -> Vec<api::ContainerImage> {
    let mut sorted: Vec<&LocalImage> = images.iter().collect();
    sorted.sort_by(|a, b| {
        let names = |image: &LocalImage| (image.digests.clone(), image.tags.clone());
        b.size_bytes.cmp(&a.size_bytes).then_with(|| names(a).cmp(&names(b)))
    });
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let publish = |image: &LocalImage| {
        let names = image.digests.iter().chain(&image.tags).take(NAMES_PER_IMAGE).cloned();
        api::ContainerImage {
            names: Some(names.collect()),
            size_bytes: Some(i64::try_from(image.size_bytes).unwrap_or(i64::MAX)),
        }
    };
    sorted.into_iter().take(limit).map(publish).collect()
}

/// By name.
fn runtime_handlers(features: &RuntimeFeatures) -> Option<Vec<api::NodeRuntimeHandler>> {
    let publish = |(name, can): (&String, &HandlerFeatures)| api::NodeRuntimeHandler {
        name: Some(name.clone()),
        features: Some(api::NodeRuntimeHandlerFeatures {
            recursive_read_only_mounts: Some(can.recursive_read_only_mounts),
            user_namespaces: Some(can.user_namespaces),
        }),
    };
    let handlers: Vec<_> = features.handlers.iter().map(publish).collect();
    (!handlers.is_empty()).then_some(handlers)
}

#[cfg(test)]
mod tests;
