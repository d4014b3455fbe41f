//! Calls to the container runtime.

use std::time::Duration;

use prometheus::{GaugeVec, HistogramVec, IntCounterVec};
use tokio::time::Instant;

use super::register::{Register, unseen};
use super::{DEFAULT_BUCKETS, exponential, seconds};

const OPERATION: &[&str] = &["operation_type"];
const HANDLER: &[&str] = &["runtime_handler"];

/// How many calls there were, how long they took and which failed. Cheap to clone.
#[derive(Clone)]
pub struct RuntimeMetrics {
    total: IntCounterVec,
    errors: IntCounterVec,
    duration: HistogramVec,
    sandbox_duration: HistogramVec,
    sandbox_errors: IntCounterVec,
    losing_support: GaugeVec,
}

unseen!(RuntimeMetrics);

impl RuntimeMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            total: register.counters(
                "kubelet_runtime_operations_total",
                "Calls to the container runtime by operation",
                OPERATION,
            ),
            errors: register.counters(
                "kubelet_runtime_operations_errors_total",
                "Calls to the container runtime that failed, by operation",
                OPERATION,
            ),
            duration: register.histograms(
                "kubelet_runtime_operations_duration_seconds",
                "Seconds that calls to the container runtime took, by operation",
                &exponential(0.005, 2.5, 14),
                OPERATION,
            ),
            sandbox_duration: register.histograms(
                "kubelet_run_podsandbox_duration_seconds",
                "Seconds that making a sandbox took, by the handler of its RuntimeClass",
                &DEFAULT_BUCKETS,
                HANDLER,
            ),
            sandbox_errors: register.counters(
                "kubelet_run_podsandbox_errors_total",
                "Sandboxes that could not be made, by the handler of their RuntimeClass",
                HANDLER,
            ),
            losing_support: register.gauges(
                "kubelet_cri_losing_support",
                "The Kubernetes version that this container runtime will be too old for",
                &["version"],
            ),
        }
    }

    /// A call begins. It counts as failed unless [`RuntimeCall::succeeded`] ends it: a call that
    /// is given up has not been answered.
    pub fn begin(&self, operation: String) -> RuntimeCall {
        self.total.with_label_values(&[&operation]).inc();
        RuntimeCall { metrics: self.clone(), operation, began: Instant::now(), failed: true }
    }

    /// Making a sandbox of this handler ended after so long.
    pub fn sandbox_made(&self, handler: &str, took: Duration, succeeded: bool) {
        self.sandbox_duration.with_label_values(&[handler]).observe(seconds(took));
        if !succeeded {
            self.sandbox_errors.with_label_values(&[handler]).inc();
        }
    }

    /// The runtime lacks what Kubernetes will rely on from `version` on, such as `1.36.0`.
    pub fn losing_support(&self, version: &str) {
        self.losing_support.with_label_values(&[version]).set(1.0);
    }
}

/// One call that is under way.
#[must_use]
pub struct RuntimeCall {
    metrics: RuntimeMetrics,
    operation: String,
    began: Instant,
    failed: bool,
}

impl RuntimeCall {
    /// The call was answered, and not with an error.
    pub fn succeeded(mut self) {
        self.failed = false;
    }
}

impl Drop for RuntimeCall {
    fn drop(&mut self) {
        let label = &[self.operation.as_str()];
        self.metrics.duration.with_label_values(label).observe(seconds(self.began.elapsed()));
        if self.failed {
            self.metrics.errors.with_label_values(label).inc();
        }
    }
}
