//! Pure. A snapshot to the page `/metrics/resource`, which metrics-server reads.
//!
//! Names, labels and times follow kubelet v1.36 `metrics/collectors/resource_metrics.go`.

use jiff::Timestamp;

use super::exposition::{Exposition, Kind, count, epoch_seconds, seconds};
use super::types::{Measured, Snapshot};

#[cfg(test)]
mod tests;

const FAMILIES: [(&str, Kind, &str); 12] = [
    ("container_cpu_usage_seconds_total", Kind::Counter, "CPU time used by the container."),
    ("container_memory_working_set_bytes", Kind::Gauge, "Memory the container works with."),
    ("container_start_time_seconds", Kind::Gauge, "When the container was created."),
    ("container_swap_limit_bytes", Kind::Gauge, "Swap the container may use."),
    ("container_swap_usage_bytes", Kind::Gauge, "Swap the container uses."),
    ("node_cpu_usage_seconds_total", Kind::Counter, "CPU time used by the node."),
    ("node_memory_working_set_bytes", Kind::Gauge, "Memory the node works with."),
    ("node_swap_usage_bytes", Kind::Gauge, "Swap the node uses."),
    ("pod_cpu_usage_seconds_total", Kind::Counter, "CPU time used by the pod."),
    ("pod_memory_working_set_bytes", Kind::Gauge, "Memory the pod works with."),
    ("pod_swap_usage_bytes", Kind::Gauge, "Swap the pod uses."),
    ("resource_scrape_error", Kind::Gauge, "1 when figures could not be read, else 0."),
];

/// The families that one kind of thing has.
struct Names {
    cpu: &'static str,
    memory: &'static str,
    swap: &'static str,
}

const NODE: Names = Names {
    cpu: "node_cpu_usage_seconds_total",
    memory: "node_memory_working_set_bytes",
    swap: "node_swap_usage_bytes",
};
const POD: Names = Names {
    cpu: "pod_cpu_usage_seconds_total",
    memory: "pod_memory_working_set_bytes",
    swap: "pod_swap_usage_bytes",
};
const CONTAINER: Names = Names {
    cpu: "container_cpu_usage_seconds_total",
    memory: "container_memory_working_set_bytes",
    swap: "container_swap_usage_bytes",
};

fn page() -> Exposition {
    let mut page = Exposition::default();
    for (name, kind, help) in FAMILIES {
        page.family(name, kind, help);
    }
    page
}

/// The page of a snapshot.
pub fn render_resource(snapshot: &Snapshot) -> String {
    let mut page = page();
    if let Some(measured) = &snapshot.node.measured {
        add(&mut page, &NODE, &[], measured);
    }
    for pod in snapshot.pods.iter().filter(|pod| !pod.containers.is_empty()) {
        let (name, namespace) = (&pod.pod.full_name.name, &pod.pod.full_name.namespace);
        for container in &pod.containers {
            let labels = [("container", &*container.name), ("namespace", namespace), ("pod", name)];
            if let Some(created) = container.created_at.filter(|at| *at > Timestamp::UNIX_EPOCH) {
                let created = epoch_seconds(created);
                page.sample("container_start_time_seconds", &labels, created, None);
            }
            let Some(measured) = &container.measured else { continue };
            add(&mut page, &CONTAINER, &labels, measured);
            if let Some(limit) = measured.usage.swap.and_then(|swap| swap.limit) {
                let at = measured.usage.at;
                page.sample("container_swap_limit_bytes", &labels, count(limit), at);
            }
        }
        if let Some(measured) = &pod.measured {
            add(&mut page, &POD, &[("namespace", namespace), ("pod", name)], measured);
        }
    }
    page.sample("resource_scrape_error", &[], 0.0, None);
    page.render()
}

/// The page when there are no figures.
pub fn render_failed_resource() -> String {
    let mut page = page();
    page.sample("resource_scrape_error", &[], 1.0, None);
    page.render()
}

fn add(page: &mut Exposition, names: &Names, labels: &[(&str, &str)], measured: &Measured) {
    let at = measured.usage.at;
    if let Some(cpu) = measured.usage.cpu {
        page.sample(names.cpu, labels, seconds(cpu.total_ns), at);
    }
    if let Some(memory) = measured.usage.memory {
        page.sample(names.memory, labels, count(memory.working_set), at);
    }
    if let Some(swap) = measured.usage.swap {
        page.sample(names.swap, labels, count(swap.usage), at);
    }
}
