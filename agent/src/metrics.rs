//! noded's own metrics, under the kubelet's names.
//!
//! **What**: counters, gauges and histograms that the slices feed, and the pages that show them:
//! `/metrics`, `/metrics/probes` and `/metrics/slis`.
//! **Owns**: the values. There is no global: whoever feeds a metric is handed its part of
//! [`NodeMetrics`], and all clones of a part are one.
//! **Reads**: when somebody asks for a page, what the slices publish of the pods, and noded's own
//! use of the machine.
//! **Invariants**: feeding a value never waits; nothing is computed while nobody asks; every value
//! has a source, and what has none is not shown; labels come from closed sets, but for the pods'
//! names on the page of probes, which go with the probe.
//! **Source**: names, types, labels and buckets of kubelet v1.36 (`pkg/kubelet/metrics/metrics.go`,
//! `pkg/kubelet/server/metrics`, `pkg/kubelet/prober`); the words of the help are ours.

use std::time::Duration;

use jiff::Timestamp;
use netproxy::metrics::{BuildFacts, Usage, show_build};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Registry, TextEncoder};

mod api;
mod certificates;
mod cgroups;
mod containers;
mod counts;
mod health;
mod images;
mod pleg;
mod pods;
mod probes;
mod register;
mod runtime;
mod server;
mod startup;
mod volumes;

pub use api::ApiMetrics;
pub use certificates::CertificateMetrics;
pub use cgroups::{CgroupMetrics, CgroupOperation};
pub use containers::{ContainerMetrics, Kind};
pub use counts::{NodeCounts, count};
pub use health::HealthMetrics;
pub use images::ImageMetrics;
pub use pleg::PlegMetrics;
pub use pods::{PodMetrics, SyncKind};
pub use probes::{Answer, ProbeMetrics, ProbeSeries, ProbeTarget};
use register::Register;
pub use runtime::{RuntimeCall, RuntimeMetrics};
pub use server::ServerMetrics;
pub use startup::PodStarts;
pub use volumes::{VolumeFigures, VolumeMetrics};

#[cfg(test)]
mod tests;

/// Prometheus' default buckets, in seconds.
const DEFAULT_BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// All metrics of the kubelet part. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct NodeMetrics {
    pub runtime: RuntimeMetrics,
    pub pleg: PlegMetrics,
    pub pods: PodMetrics,
    pub containers: ContainerMetrics,
    pub images: ImageMetrics,
    pub cgroups: CgroupMetrics,
    pub api: ApiMetrics,
    pub server: ServerMetrics,
    pub certificates: CertificateMetrics,
    pub probes: ProbeMetrics,
    pub health: HealthMetrics,
    pub volumes: VolumeMetrics,
    usage: Usage,
    registry: Registry,
}

impl NodeMetrics {
    /// The metrics of the node of that name, all zero.
    pub fn new(node_name: &str, build: &BuildFacts) -> Self {
        let registry = Registry::new();
        let register = Register(&registry);
        show_build(&registry, build);
        let name: GaugeVec =
            register.gauges("kubelet_node_name", "Name of this node; always 1", &["node"]);
        name.with_label_values(&[node_name]).set(1.0);
        Self {
            runtime: RuntimeMetrics::new(&register),
            pleg: PlegMetrics::new(&register),
            pods: PodMetrics::new(&register),
            containers: ContainerMetrics::new(&register),
            images: ImageMetrics::new(&register),
            cgroups: CgroupMetrics::new(&register),
            api: ApiMetrics::new(&register),
            server: ServerMetrics::new(&register),
            certificates: CertificateMetrics::new(&register),
            probes: ProbeMetrics::default(),
            health: HealthMetrics::default(),
            volumes: VolumeMetrics::new(&register),
            usage: Usage::new(&registry),
            registry,
        }
    }

    /// `/metrics` at this time, with these counts of the node's pods. Reads the kernel's files
    /// about this program; they are short and in memory.
    pub fn page(&self, counts: &NodeCounts, now: Timestamp) -> String {
        self.usage.update();
        let mut families = self.registry.gather();
        families.extend(counts.families());
        families.extend(self.pleg.families(now));
        families.extend(self.certificates.families(now));
        families.extend(self.volumes.families());
        render(families)
    }

    /// `/metrics/probes`.
    pub fn probes_page(&self) -> String {
        let mut families = self.probes.families();
        families.extend(self.start_time());
        render(families)
    }

    /// `/metrics/slis`.
    pub fn slis_page(&self) -> String {
        let mut families = self.health.families();
        families.extend(self.start_time());
        render(families)
    }

    /// Every page says since when its counters have counted.
    fn start_time(&self) -> Vec<MetricFamily> {
        self.usage.update();
        let families = self.registry.gather().into_iter();
        families.filter(|family| family.name() == "process_start_time_seconds").collect()
    }
}

/// The families in the text format of Prometheus, in the order of their names.
fn render(mut families: Vec<MetricFamily>) -> String {
    families.sort_by(|one, other| one.name().cmp(other.name()));
    TextEncoder::new().encode_to_string(&families).unwrap_or_default()
}

/// `first`, then each `factor` times the one before.
fn exponential(first: f64, factor: f64, count: i32) -> Vec<f64> {
    (0..count).map(|step| first * factor.powi(step)).collect()
}

fn seconds(duration: Duration) -> f64 {
    duration.as_secs_f64()
}
