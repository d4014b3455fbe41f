//! Pure. CPU, memory, huge page and OOM figures of sandboxes and containers.
//!
//! | wanted | given |
//! |---|---|
//! | CPU request, else CPU limit | shares, 1024 for a CPU, 2 to 262144 |
//! | CPU limit | quota in each period, at least 1 ms |
//! | memory limit | limit in bytes |
//! | no limit | 0, which the runtime reads as none |
//!
//! Source: kubelet v1.36 `kuberuntime_container_linux.go`, `cm/helpers_linux.go`, `qos/policy.go`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::time::Duration;

use cri_proto::runtime::v1::{HugepageLimit, LinuxContainerResources};
use k8s_openapi::api::core::v1 as api;

use super::node_facts::NodeFacts;
use crate::model::qos::{self, QosClass};
use crate::model::resources::{self, Resources};
use crate::model::{Pod, is_sidecar};

const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;
const SHARES_PER_CPU: i64 = 1024;
/// The kernel takes no shorter quota.
const MIN_QUOTA_US: i64 = 1000;

/// OOM score adjustments (kubelet v1.36).
const OOM_GUARANTEED: i64 = -997;
const OOM_BEST_EFFORT: i64 = 1000;

/// Shares for thousandths of a CPU.
pub fn cpu_shares(milli: i64) -> i64 {
    (milli * SHARES_PER_CPU / 1000).clamp(MIN_SHARES, MAX_SHARES)
}

/// Microseconds in each period for thousandths of a CPU; 0 for no limit.
pub fn cpu_quota_us(milli: i64, period: Duration) -> i64 {
    if milli == 0 {
        return 0;
    }
    let period = i64::try_from(period.as_micros()).unwrap_or(i64::MAX);
    (milli.saturating_mul(period) / 1000).max(MIN_QUOTA_US)
}

/// Resources of one container.
pub fn container_resources(
    pod: &Pod,
    container: &api::Container,
    node: &NodeFacts,
) -> LinuxContainerResources {
    let requests = resources::container_requests(container);
    let limits = limits_within_pod(pod, container);
    let mut linux = calculate(&requests, &limits, node);
    linux.oom_score_adj = oom_score_adj(pod, container, node.memory_capacity_bytes);
    linux.hugepage_limits = huge_page_limits(&limits, node);
    if node.cgroup.version == 2 {
        // Without it the kernel kills one process and leaves a crippled container.
        linux.unified.insert("memory.oom.group".to_owned(), "1".to_owned());
    }
    forbid_swap(&mut linux, node);
    linux
}

/// What the containers of the pod get together, the overhead left out.
pub fn sandbox_resources(pod: &Pod, node: &NodeFacts) -> LinuxContainerResources {
    let spec = without_overhead(pod.spec());
    let mut linux = calculate(&resources::pod_requests(&spec), &resources::pod_limits(&spec), node);
    linux.unified = oom_group(node);
    linux
}

/// What the runtime class takes beside the containers; `None` when the pod has no overhead.
pub fn overhead_resources(pod: &Pod, node: &NodeFacts) -> Option<LinuxContainerResources> {
    let overhead = resources::read(Some(pod.spec().overhead.as_ref()?));
    let mut linux = calculate(&overhead, &overhead, node);
    linux.unified = oom_group(node);
    Some(linux)
}

fn oom_group(node: &NodeFacts) -> HashMap<String, String> {
    let group = ("memory.oom.group".to_owned(), "1".to_owned());
    if node.cgroup.version == 2 { HashMap::from([group]) } else { HashMap::new() }
}

fn calculate(
    requests: &Resources,
    limits: &Resources,
    node: &NodeFacts,
) -> LinuxContainerResources {
    let cpu_limit = resources::cpu_milli(limits);
    let asked = if requests.contains_key(resources::CPU) {
        resources::cpu_milli(requests)
    } else {
        cpu_limit
    };
    let mut linux = LinuxContainerResources {
        cpu_shares: cpu_shares(asked),
        memory_limit_in_bytes: resources::memory_bytes(limits),
        ..Default::default()
    };
    if let Some(period) = node.cfs_quota_period {
        linux.cpu_quota = cpu_quota_us(cpu_limit, period);
        linux.cpu_period = i64::try_from(period.as_micros()).unwrap_or(i64::MAX);
    }
    linux
}

/// The container's limits; CPU and memory without one are bound by the pod's own.
fn limits_within_pod(pod: &Pod, container: &api::Container) -> Resources {
    let mut limits = resources::container_limits(container);
    let own = pod.spec().resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let own = resources::read(own);
    for name in [resources::CPU, resources::MEMORY] {
        let unset = limits.get(name).is_none_or(|limit| limit.is_zero());
        if let Some(limit) = own.get(name).filter(|_| unset) {
            limits.insert(name.to_owned(), *limit);
        }
    }
    limits
}

fn without_overhead(spec: &api::PodSpec) -> Cow<'_, api::PodSpec> {
    if spec.overhead.is_none() {
        return Cow::Borrowed(spec);
    }
    Cow::Owned(api::PodSpec { overhead: None, ..spec.clone() })
}

/// Every page size of the kernel is limited, to 0 where the container asks for none.
fn huge_page_limits(limits: &Resources, node: &NodeFacts) -> Vec<HugepageLimit> {
    let mut sizes: Vec<(u64, u64)> = node.huge_page_sizes.iter().map(|size| (*size, 0)).collect();
    for (name, amount) in limits {
        let Some(text) = name.strip_prefix(resources::HUGE_PAGES_PREFIX) else { continue };
        let Ok(size) = crate::model::quantity::Quantity::parse(text) else { continue };
        let size = u64::try_from(size.value()).unwrap_or(0);
        if let Some((_, limit)) = sizes.iter_mut().find(|(known, _)| *known == size) {
            *limit = u64::try_from(amount.value()).unwrap_or(0);
        }
    }
    let named = |(size, limit)| HugepageLimit { page_size: page_size_name(size), limit };
    sizes.into_iter().map(named).collect()
}

/// The page size as the kernel's file names spell it: `2MB`, `1GB`, `64KB`.
fn page_size_name(bytes: u64) -> String {
    const UNITS: [(u64, &str); 3] = [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")];
    match UNITS.iter().find(|(unit, _)| bytes >= *unit && bytes.is_multiple_of(*unit)) {
        Some((unit, suffix)) => format!("{}{suffix}", bytes / unit),
        None => format!("{bytes}B"),
    }
}

/// `swapBehavior: NoSwap`, the default: no container swaps.
fn forbid_swap(linux: &mut LinuxContainerResources, node: &NodeFacts) {
    if !node.cgroup.swap_controller {
        return;
    }
    if node.cgroup.version == 2 {
        linux.unified.insert("memory.swap.max".to_owned(), "0".to_owned());
    } else {
        // Version 1 limits memory and swap together.
        linux.memory_swap_limit_in_bytes = linux.memory_limit_in_bytes;
    }
}

/// How readily the kernel kills the container when memory runs out: -997 for guaranteed and
/// node-critical pods, 1000 for best effort, between 3 and 999 for the rest, the lower the more
/// of the node's memory it requests.
pub fn oom_score_adj(pod: &Pod, container: &api::Container, memory_capacity: u64) -> i64 {
    if is_node_critical(pod) {
        return OOM_GUARANTEED;
    }
    match qos::pod_qos_class(pod) {
        QosClass::Guaranteed => return OOM_GUARANTEED,
        QosClass::BestEffort => return OOM_BEST_EFFORT,
        QosClass::Burstable => {}
    }
    let spec = pod.spec();
    let share = unassigned_memory_share(spec);
    let request = |c: &api::Container| {
        resources::memory_bytes(&resources::container_requests(c)).saturating_add(share)
    };
    let mut requested = request(container);
    let inits = || spec.init_containers.iter().flatten();
    if is_sidecar(container) && inits().any(|c| c.name == container.name) {
        // A sidecar must not die before the containers it serves.
        requested = requested.max(spec.containers.iter().map(request).min().unwrap_or(0));
    }
    let capacity = i64::try_from(memory_capacity).unwrap_or(i64::MAX).max(1);
    let score = 1000 - i128::from(requested) * 1000 / i128::from(capacity);
    i64::try_from(score).unwrap_or(0).clamp(1000 + OOM_GUARANTEED, OOM_BEST_EFFORT - 1)
}

/// What the pod requests as a whole beyond its containers' requests, divided among them.
fn unassigned_memory_share(spec: &api::PodSpec) -> i64 {
    let own = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let own = resources::memory_bytes(&resources::read(own));
    if own == 0 {
        return 0;
    }
    let bare = api::PodSpec { resources: None, overhead: None, ..spec.clone() };
    let assigned = resources::memory_bytes(&resources::pod_requests(&bare));
    let count = spec.containers.len() + spec.init_containers.iter().flatten().count();
    (own - assigned).max(0) / i64::try_from(count.max(1)).unwrap_or(1)
}

fn is_node_critical(pod: &Pod) -> bool {
    pod.spec().priority_class_name.as_deref() == Some("system-node-critical")
}

#[cfg(test)]
mod tests;
