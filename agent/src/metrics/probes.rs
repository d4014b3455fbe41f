//! Results of probes, on a page of their own: it has as many series as there are probes.

use std::time::Duration;

use prometheus::proto::MetricFamily;
use prometheus::{HistogramVec, IntCounterVec, Registry};

use super::register::Register;
use super::{DEFAULT_BUCKETS, seconds};

const RESULTS: [&str; 3] = ["successful", "failed", "unknown"];

/// Results of probes. Cheap to clone.
#[derive(Clone)]
pub struct ProbeMetrics {
    total: IntCounterVec,
    duration: HistogramVec,
    registry: Registry,
}

impl Default for ProbeMetrics {
    /// No results yet.
    fn default() -> Self {
        let registry = Registry::new();
        let register = Register(&registry);
        Self {
            total: register.counters(
                "prober_probe_total",
                "Probes of a container by result",
                &["probe_type", "result", "container", "pod", "namespace", "pod_uid"],
            ),
            duration: register.histograms(
                "prober_probe_duration_seconds",
                "Seconds that a probe took until its answer",
                &DEFAULT_BUCKETS,
                &["probe_type", "container", "pod", "namespace"],
            ),
            registry,
        }
    }
}

impl ProbeMetrics {
    /// The series of one probe, shown until what is returned is dropped.
    pub fn series(&self, target: ProbeTarget) -> ProbeSeries {
        ProbeSeries { metrics: self.clone(), target }
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}

/// Whose probe it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbeTarget {
    /// `Liveness`, `Readiness` or `Startup`.
    pub kind: &'static str,
    pub container: String,
    pub pod: String,
    pub namespace: String,
    pub pod_uid: String,
}

/// What came of one probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    Successful,
    Failed,
    Unknown,
}

/// One probe's metrics. They go with it.
pub struct ProbeSeries {
    metrics: ProbeMetrics,
    target: ProbeTarget,
}

impl ProbeSeries {
    /// The probe was answered after so long. The time of a failure is not shown, as upstream.
    pub fn answered(&self, answer: Answer, took: Duration) {
        let result = RESULTS[answer as usize];
        self.metrics.total.with_label_values(&self.labels(result)).inc();
        if answer != Answer::Failed {
            let labels = self.duration_labels();
            self.metrics.duration.with_label_values(&labels).observe(seconds(took));
        }
    }

    fn labels<'a>(&'a self, result: &'a str) -> [&'a str; 6] {
        let ProbeTarget { kind, container, pod, namespace, pod_uid } = &self.target;
        [kind, result, container, pod, namespace, pod_uid]
    }

    fn duration_labels(&self) -> [&str; 4] {
        let ProbeTarget { kind, container, pod, namespace, .. } = &self.target;
        [kind, container, pod, namespace]
    }
}

impl Drop for ProbeSeries {
    fn drop(&mut self) {
        // An error says that there was no such result.
        for result in RESULTS {
            let _ = self.metrics.total.remove_label_values(&self.labels(result));
        }
        let _ = self.metrics.duration.remove_label_values(&self.duration_labels());
    }
}
