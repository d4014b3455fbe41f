//! Pure. What a pod asks for and may use.
//!
//! Source: component-helpers `resource/helpers.go`, v1.36: regular containers and sidecars add up,
//! an init container counts with the sidecars that start before it, the greater of both wins, pod
//! level figures replace the sum, and the overhead comes on top.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;

use super::is_sidecar;
use super::quantity::Quantity;

pub const CPU: &str = "cpu";
pub const MEMORY: &str = "memory";
pub const EPHEMERAL_STORAGE: &str = "ephemeral-storage";
pub const PODS: &str = "pods";
/// Prefix of the huge page resources; the page size follows (`hugepages-2Mi`).
pub const HUGE_PAGES_PREFIX: &str = "hugepages-";

/// Amounts by resource name.
pub type Resources = BTreeMap<String, Quantity>;

/// The amounts of an API list. An entry that is no quantity counts as absent; the API server lets
/// none through, and `problems` names those of a static pod.
pub fn read(list: Option<&BTreeMap<String, ApiQuantity>>) -> Resources {
    list.into_iter()
        .flatten()
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::try_from(amount).ok()?)))
        .collect()
}

/// One line for each amount in the pod that cannot be read; empty for a sound pod.
pub fn problems(spec: &api::PodSpec) -> Vec<String> {
    let of_list = |place: String, list: Option<&BTreeMap<String, ApiQuantity>>| -> Vec<String> {
        list.into_iter()
            .flatten()
            .filter_map(|(name, amount)| {
                let error = Quantity::try_from(amount).err()?;
                Some(format!("{place}[{name}]: {error}"))
            })
            .collect()
    };
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers
        .map(|container| (format!("container {}", container.name), container.resources.as_ref()))
        .chain([("pod".to_owned(), spec.resources.as_ref())])
        .filter_map(|(place, resources)| Some((place, resources?)))
        .flat_map(|(place, resources)| {
            let mut lines = of_list(format!("{place} requests"), resources.requests.as_ref());
            lines.extend(of_list(format!("{place} limits"), resources.limits.as_ref()));
            lines
        })
        .chain(of_list("overhead".to_owned(), spec.overhead.as_ref()))
        .collect()
}

/// What one container asks for; empty when it asks for nothing.
pub fn container_requests(container: &api::Container) -> Resources {
    read(container.resources.as_ref().and_then(|resources| resources.requests.as_ref()))
}

/// What one container may use at most; a resource without a limit is missing.
pub fn container_limits(container: &api::Container) -> Resources {
    read(container.resources.as_ref().and_then(|resources| resources.limits.as_ref()))
}

/// What the whole pod asks for, overhead included.
pub fn pod_requests(spec: &api::PodSpec) -> Resources {
    let mut total = aggregate(spec, container_requests);
    let pod_level = spec.resources.as_ref();
    overlay(&mut total, &read(pod_level.and_then(|resources| resources.requests.as_ref())));
    // A pod level limit without a request is the request too, where no container states one.
    for (name, limit) in read(pod_level.and_then(|resources| resources.limits.as_ref())) {
        if is_pod_level(&name) {
            total.entry(name).or_insert(limit);
        }
    }
    add(&mut total, &read(spec.overhead.as_ref()));
    total
}

/// What the whole pod may use at most: the sum of the limits there are. The overhead is added to
/// resources that have a limit. A resource some container leaves unlimited still shows the sum of
/// the others, so callers that enforce it must check with `all_containers_limit`.
pub fn pod_limits(spec: &api::PodSpec) -> Resources {
    let mut total = aggregate(spec, container_limits);
    let pod_level = spec.resources.as_ref();
    overlay(&mut total, &read(pod_level.and_then(|resources| resources.limits.as_ref())));
    for (name, amount) in read(spec.overhead.as_ref()) {
        if let Some(limit) = total.get_mut(&name).filter(|limit| !limit.is_zero()) {
            *limit = limit.plus(amount);
        }
    }
    total
}

/// True when the pod is bounded for the resource: every container, init containers too, has a
/// non-zero limit, or the pod has one itself.
pub fn all_containers_limit(spec: &api::PodSpec, resource: &str) -> bool {
    let bounded = |limits: &Resources| limits.get(resource).is_some_and(|limit| !limit.is_zero());
    if bounded(&read(spec.resources.as_ref().and_then(|resources| resources.limits.as_ref()))) {
        return true;
    }
    let mut containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    containers.all(|container| bounded(&container_limits(container)))
}

/// CPU in thousandths; 0 when there is none.
pub fn cpu_milli(resources: &Resources) -> i64 {
    resources.get(CPU).map_or(0, |amount| amount.milli_value())
}

/// Memory in bytes; 0 when there is none.
pub fn memory_bytes(resources: &Resources) -> i64 {
    resources.get(MEMORY).map_or(0, |amount| amount.value())
}

/// Adds each amount of `more` to `total`.
pub fn add(total: &mut Resources, more: &Resources) {
    for (name, amount) in more {
        let entry = total.entry(name.clone()).or_insert(Quantity::ZERO);
        *entry = entry.plus(*amount);
    }
}

fn raise(total: &mut Resources, other: &Resources) {
    for (name, amount) in other {
        let entry = total.entry(name.clone()).or_insert(*amount);
        *entry = (*entry).max(*amount);
    }
}

/// Resources that a pod may state as a whole (KEP 2837).
fn is_pod_level(name: &str) -> bool {
    name == CPU || name == MEMORY || name.starts_with(HUGE_PAGES_PREFIX)
}

fn overlay(total: &mut Resources, pod_level: &Resources) {
    for (name, amount) in pod_level.iter().filter(|(name, _)| is_pod_level(name)) {
        total.insert(name.clone(), *amount);
    }
}

fn aggregate(spec: &api::PodSpec, of: fn(&api::Container) -> Resources) -> Resources {
    let mut running = Resources::new();
    for container in &spec.containers {
        add(&mut running, &of(container));
    }
    let mut sidecars = Resources::new();
    let mut starting = Resources::new();
    for container in spec.init_containers.iter().flatten() {
        let mut step = of(container);
        if is_sidecar(container) {
            add(&mut running, &step);
            add(&mut sidecars, &step);
            raise(&mut starting, &sidecars);
        } else {
            add(&mut step, &sidecars);
            raise(&mut starting, &step);
        }
    }
    raise(&mut running, &starting);
    running
}

#[cfg(test)]
mod tests;
