//! Pure. The quality of service class of a pod.
//!
//! Source: `pkg/apis/core/v1/helper/qos/qos.go`, v1.36. Only CPU and memory count, ephemeral
//! containers do not.

use std::fmt;

use k8s_openapi::api::core::v1 as api;

use super::Pod;
use super::resources::{self, CPU, MEMORY, Resources};

/// Ordered from the first to be evicted to the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum QosClass {
    BestEffort,
    Burstable,
    Guaranteed,
}

impl QosClass {
    /// As `status.qosClass` spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BestEffort => "BestEffort",
            Self::Burstable => "Burstable",
            Self::Guaranteed => "Guaranteed",
        }
    }

    fn from_status(text: &str) -> Option<Self> {
        [Self::BestEffort, Self::Burstable, Self::Guaranteed]
            .into_iter()
            .find(|class| class.as_str() == text)
    }
}

impl fmt::Display for QosClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The class the API server gave the pod, which never changes; for a pod without one (a static
/// pod) the class of its spec.
pub fn pod_qos_class(pod: &Pod) -> QosClass {
    pod.api_status()
        .and_then(|status| status.qos_class.as_deref())
        .and_then(QosClass::from_status)
        .unwrap_or_else(|| qos_class(pod.spec()))
}

/// The class of a spec. Guaranteed: every container, or the pod as a whole, limits CPU and memory
/// and requests exactly that much. BestEffort: nothing is requested or limited. Else Burstable.
pub fn qos_class(spec: &api::PodSpec) -> QosClass {
    let parts = parts(spec);
    let mut requests = Resources::new();
    let mut limits = Resources::new();
    let mut all_limited = true;
    for (part_requests, part_limits) in parts {
        let part_limits = counted(part_limits);
        all_limited &= part_limits.contains_key(CPU) && part_limits.contains_key(MEMORY);
        resources::add(&mut requests, &counted(part_requests));
        resources::add(&mut limits, &part_limits);
    }
    if requests.is_empty() && limits.is_empty() {
        QosClass::BestEffort
    } else if all_limited && requests == limits {
        QosClass::Guaranteed
    } else {
        QosClass::Burstable
    }
}

/// Requests and limits of what decides: the pod as a whole when it states any, else each container.
fn parts(spec: &api::PodSpec) -> Vec<(Resources, Resources)> {
    if let Some(whole) = &spec.resources {
        let requests = resources::read(whole.requests.as_ref());
        let limits = resources::read(whole.limits.as_ref());
        if !requests.is_empty() || !limits.is_empty() {
            return vec![(requests, limits)];
        }
    }
    spec.containers
        .iter()
        .chain(spec.init_containers.iter().flatten())
        .map(|container| {
            (resources::container_requests(container), resources::container_limits(container))
        })
        .collect()
}

/// Non-zero CPU and memory.
fn counted(mut list: Resources) -> Resources {
    list.retain(|name, amount| (name == CPU || name == MEMORY) && *amount > Default::default());
    list
}

#[cfg(test)]
mod tests;
