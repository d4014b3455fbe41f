//! Pure. What the API server fills into a pod that leaves fields out, for pods that never pass it.
//! Source of every value: API v1 defaults, Kubernetes v1.36 `pkg/apis/core/v1/defaults.go`.
//!
//! | field | default |
//! |---|---|
//! | restartPolicy, dnsPolicy, schedulerName | `Always`, `ClusterFirst`, `default-scheduler` |
//! | terminationGracePeriodSeconds, enableServiceLinks | 30, true |
//! | ports: protocol; hostPort on the host network | `TCP`; the container port |
//! | imagePullPolicy | `Always` for the tag `latest` or none, else `IfNotPresent` |
//! | terminationMessagePath, -Policy | `/dev/termination-log`, `File` |
//! | probes: timeout, period, success, failure | 1 s, 10 s, 1, 3 |
//! | HTTP actions: path, scheme | `/`, `HTTP` |
//! | volumes: source; defaultMode; hostPath type | emptyDir; 0644; empty |
//! | fieldRef apiVersion | `v1` |
//! | requests | the limit, where there is one |

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::images::ImageReference;

#[cfg(test)]
mod tests;

/// Mode of files in volumes made from API data, `rw-r--r--`.
const FILE_MODE: i32 = 0o644;

/// Fills in every default noded reads. Fields that are set are left alone.
pub fn apply_defaults(spec: &mut api::PodSpec) {
    set(&mut spec.restart_policy, "Always");
    set(&mut spec.dns_policy, "ClusterFirst");
    set(&mut spec.scheduler_name, "default-scheduler");
    spec.termination_grace_period_seconds.get_or_insert(30);
    spec.enable_service_links.get_or_insert(true);
    spec.security_context.get_or_insert_default();
    if let Some(resources) = &mut spec.resources {
        requests_from_limits(resources);
    }
    let host_network = spec.host_network == Some(true);
    let init = spec.init_containers.iter_mut().flatten();
    for container in spec.containers.iter_mut().chain(init) {
        container_defaults(container, host_network);
    }
    for volume in spec.volumes.iter_mut().flatten() {
        volume_defaults(volume);
    }
}

/// An absent text, and an empty one, which means absent in this API.
fn set(field: &mut Option<String>, value: &str) {
    if field.as_deref().is_none_or(str::is_empty) {
        *field = Some(value.to_owned());
    }
}

fn container_defaults(container: &mut api::Container, host_network: bool) {
    let image = container.image.as_deref().unwrap_or_default();
    set(&mut container.image_pull_policy, pull_policy(image));
    set(&mut container.termination_message_path, "/dev/termination-log");
    set(&mut container.termination_message_policy, "File");
    for port in container.ports.iter_mut().flatten() {
        set(&mut port.protocol, "TCP");
        if host_network && port.host_port.unwrap_or(0) == 0 {
            port.host_port = Some(port.container_port);
        }
    }
    for variable in container.env.iter_mut().flatten() {
        let from = variable.value_from.as_mut();
        if let Some(field) = from.and_then(|from| from.field_ref.as_mut()) {
            set(&mut field.api_version, "v1");
        }
    }
    requests_from_limits(container.resources.get_or_insert_default());
    let probes = [
        &mut container.startup_probe,
        &mut container.liveness_probe,
        &mut container.readiness_probe,
    ];
    probes.into_iter().flatten().for_each(probe_defaults);
    if let Some(hooks) = &mut container.lifecycle {
        let handlers = [&mut hooks.post_start, &mut hooks.pre_stop];
        for handler in handlers.into_iter().flatten() {
            handler.http_get.as_mut().map(http_defaults);
        }
    }
}

/// The policy for an image whose container names none.
fn pull_policy(image: &str) -> &'static str {
    let latest = ImageReference::parse(image)
        .is_ok_and(|image| image.with_default_tag().tag.as_deref() == Some("latest"));
    if latest { "Always" } else { "IfNotPresent" }
}

fn requests_from_limits(resources: &mut api::ResourceRequirements) {
    let Some(limits) = &resources.limits else { return };
    let requests: &mut BTreeMap<String, Quantity> = resources.requests.get_or_insert_default();
    for (name, limit) in limits {
        requests.entry(name.clone()).or_insert_with(|| limit.clone());
    }
}

fn probe_defaults(probe: &mut api::Probe) {
    let numbers = [
        (&mut probe.timeout_seconds, 1),
        (&mut probe.period_seconds, 10),
        (&mut probe.success_threshold, 1),
        (&mut probe.failure_threshold, 3),
    ];
    for (field, value) in numbers {
        // Zero stands for "not set" in this API.
        if field.unwrap_or(0) == 0 {
            *field = Some(value);
        }
    }
    probe.http_get.as_mut().map(http_defaults);
    if let Some(grpc) = &mut probe.grpc {
        grpc.service.get_or_insert_default();
    }
}

fn http_defaults(action: &mut api::HTTPGetAction) {
    set(&mut action.path, "/");
    set(&mut action.scheme, "HTTP");
}

fn volume_defaults(volume: &mut api::Volume) {
    if volume_sources(volume) == 0 {
        volume.empty_dir = Some(api::EmptyDirVolumeSource::default());
    }
    if let Some(path) = &mut volume.host_path {
        path.type_.get_or_insert_default();
    }
    if let Some(image) = &mut volume.image {
        let reference = image.reference.clone().unwrap_or_default();
        set(&mut image.pull_policy, pull_policy(&reference));
    }
    if let Some(downward) = &mut volume.downward_api {
        downward.default_mode.get_or_insert(FILE_MODE);
        downward.items.iter_mut().flatten().for_each(file_defaults);
    }
    if let Some(projected) = &mut volume.projected {
        projected.default_mode.get_or_insert(FILE_MODE);
        for source in projected.sources.iter_mut().flatten() {
            let items = source.downward_api.iter_mut().flat_map(|d| &mut d.items).flatten();
            items.for_each(file_defaults);
        }
    }
}

fn file_defaults(file: &mut api::DownwardAPIVolumeFile) {
    if let Some(field) = &mut file.field_ref {
        set(&mut field.api_version, "v1");
    }
}

/// How many sources a volume names; one is right.
pub(super) fn volume_sources(volume: &api::Volume) -> usize {
    // Every field of a volume but its name is a source.
    match serde_json::to_value(volume) {
        Ok(serde_json::Value::Object(fields)) => fields.len().saturating_sub(1),
        _ => 0,
    }
}
