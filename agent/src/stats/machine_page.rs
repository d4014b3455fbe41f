//! Pure. What `/metrics/cadvisor` says of the machine and of itself.
//!
//! Names follow cAdvisor v0.56 `metrics/prometheus_machine.go`.

use super::exposition::{Exposition, Kind, count};
use super::types::Snapshot;

/// The kernel and operating system; the versions of docker and cAdvisor are empty, for neither is
/// here.
pub(super) fn add_version(page: &mut Exposition, snapshot: &Snapshot) {
    let name = "cadvisor_version_info";
    page.family(name, Kind::Gauge, "Kernel and operating system; always 1.");
    let identity = &snapshot.facts.identity;
    let labels = [
        ("cadvisorRevision", ""),
        ("cadvisorVersion", ""),
        ("dockerVersion", ""),
        ("kernelVersion", &*identity.kernel_version),
        ("osVersion", &*identity.os_image),
    ];
    page.sample(name, &labels, 1.0, None);
}

/// CPUs and memory of the machine.
pub(super) fn add_machine(page: &mut Exposition, snapshot: &Snapshot) {
    let identity = &snapshot.facts.identity;
    let labels = [
        ("boot_id", &*identity.boot_id),
        ("machine_id", &*identity.machine_id),
        ("system_uuid", &*identity.system_uuid),
    ];
    let capacity = snapshot.node.capacity.as_ref();
    let topology = snapshot.facts.topology;
    let known = |value: u64| Some(value).filter(|value| *value > 0);
    for (name, help, value) in [
        ("machine_cpu_cores", "CPUs that are online.", capacity.map(|capacity| capacity.cpus)),
        ("machine_cpu_physical_cores", "CPU cores.", known(topology.physical_cores)),
        ("machine_cpu_sockets", "CPU sockets.", known(topology.sockets)),
        ("machine_memory_bytes", "Memory.", capacity.map(|capacity| capacity.memory_bytes)),
        ("machine_swap_bytes", "Swap.", capacity.map(|capacity| capacity.swap_bytes)),
    ] {
        page.family(name, Kind::Gauge, help);
        if let Some(value) = value {
            page.sample(name, &labels, count(value), Some(snapshot.at));
        }
    }
    page.family("machine_scrape_error", Kind::Gauge, "1 when the machine cannot be read, else 0.");
    let failed = if capacity.is_some() { 0.0 } else { 1.0 };
    page.sample("machine_scrape_error", &[], failed, None);
}
