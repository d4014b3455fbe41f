//! Pure. What the machine has and what pods may use of it.
//!
//! Source: kubelet v1.36 `pkg/kubelet/cm/node_container_manager_linux.go` and
//! `pkg/kubelet/nodestatus/setters.go`.

use std::collections::BTreeMap;

use super::thresholds::{Signal, ThresholdError, Thresholds};
use crate::boundary::MachineCapacity;
use crate::config::NodeConfig;
use crate::model::quantity::{Quantity, QuantityError};
use crate::model::resources::{
    self, CPU, EPHEMERAL_STORAGE, HUGE_PAGES_PREFIX, MEMORY, PODS, Resources,
};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservationError {
    #[error("{field}[{resource}] is not a quantity")]
    Quantity {
        field: &'static str,
        resource: String,
        #[source]
        source: QuantityError,
    },
    #[error("{field}[{resource}] is negative")]
    Negative { field: &'static str, resource: String },
    #[error(transparent)]
    Threshold(#[from] ThresholdError),
}

/// What pods do not get.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reservations {
    /// `kubeReserved` and `systemReserved` added up.
    pub reserved: Resources,
    pub eviction_hard: Thresholds,
}

impl Reservations {
    /// Reads the reservations of the configuration; the first bad entry is the error.
    pub fn parse(config: &NodeConfig) -> Result<Self, ReservationError> {
        let mut reserved = read_reserved("kubeReserved", &config.kube_reserved)?;
        resources::add(&mut reserved, &read_reserved("systemReserved", &config.system_reserved)?);
        Ok(Self { reserved, eviction_hard: Thresholds::parse(&config.eviction_hard)? })
    }
}

fn read_reserved(
    field: &'static str,
    texts: &BTreeMap<String, String>,
) -> Result<Resources, ReservationError> {
    let mut read = Resources::new();
    for (resource, text) in texts {
        let resource = resource.clone();
        match Quantity::parse(text) {
            Ok(amount) if amount < Quantity::ZERO => {
                return Err(ReservationError::Negative { field, resource });
            }
            Ok(amount) => read.insert(resource, amount),
            Err(source) => return Err(ReservationError::Quantity { field, resource, source }),
        };
    }
    Ok(read)
}

/// `status.capacity`: logical CPUs, memory, pods, the file system of the root directory, and huge
/// pages by size. With `podsPerCore` the number of pods is the lower of that and `maxPods`.
pub fn capacity(machine: &MachineCapacity, config: &NodeConfig) -> Resources {
    let per_core = u64::from(config.pods_per_core).saturating_mul(machine.cpus);
    let max_pods = u64::from(config.max_pods);
    let pods = if config.pods_per_core > 0 { per_core.min(max_pods) } else { max_pods };
    let units = |count: u64| Quantity::from_units(i64::try_from(count).unwrap_or(i64::MAX));
    let mut capacity = Resources::from([
        (CPU.to_owned(), units(machine.cpus)),
        (MEMORY.to_owned(), Quantity::from_bytes(machine.memory_bytes)),
        (PODS.to_owned(), units(pods)),
        (EPHEMERAL_STORAGE.to_owned(), Quantity::from_bytes(machine.root_fs_bytes)),
    ]);
    for (size, bytes) in &machine.huge_pages {
        let name = format!("{HUGE_PAGES_PREFIX}{}", Quantity::from_bytes(*size));
        capacity.insert(name, Quantity::from_bytes(*bytes));
    }
    capacity
}

/// `status.allocatable`: the capacity less the reservations and what hard eviction keeps free;
/// memory also less the huge pages, which are cut from it. Nothing below zero.
pub fn allocatable(capacity: &Resources, reservations: &Reservations) -> Resources {
    let bytes = |name: &str| {
        capacity.get(name).map_or(0, |amount| u64::try_from(amount.value()).unwrap_or(0))
    };
    let thresholds = &reservations.eviction_hard;
    let mut kept = reservations.reserved.clone();
    let kept_free = [
        (MEMORY, thresholds.kept_free(Signal::MemoryAvailable, bytes(MEMORY))),
        (
            EPHEMERAL_STORAGE,
            thresholds.kept_free(Signal::NodeFsAvailable, bytes(EPHEMERAL_STORAGE)),
        ),
    ];
    for (name, amount) in kept_free {
        resources::add(
            &mut kept,
            &Resources::from([(name.to_owned(), Quantity::from_bytes(amount))]),
        );
    }
    let mut left = less(capacity, &kept);
    let huge: Vec<Quantity> = left
        .iter()
        .filter(|(name, _)| name.starts_with(HUGE_PAGES_PREFIX))
        .map(|(_, amount)| *amount)
        .collect();
    if let Some(memory) = left.get_mut(MEMORY) {
        for pages in huge {
            *memory = memory.minus(pages).not_below_zero();
        }
    }
    left
}

/// What the pods' cgroup is limited to: the capacity less the reservations. What eviction keeps
/// free is not subtracted, so that eviction comes before the kernel's out-of-memory killer.
pub fn usable_by_pods(capacity: &Resources, reservations: &Reservations) -> Resources {
    less(capacity, &reservations.reserved)
}

fn less(from: &Resources, what: &Resources) -> Resources {
    let rest = from.iter().map(|(name, amount)| {
        let taken = what.get(name).copied().unwrap_or_default();
        let rest = if taken.is_zero() { *amount } else { amount.minus(taken) };
        (name.clone(), rest.not_below_zero())
    });
    rest.collect()
}

#[cfg(test)]
mod tests;
