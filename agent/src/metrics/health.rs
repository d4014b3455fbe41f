//! Results of the health checks, Kubernetes' service level indicators of a component.

use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounterVec, Registry};

use super::register::Register;

/// The type of the checks of `/healthz`.
const HEALTHZ: &str = "healthz";

/// Results of health checks. Cheap to clone.
#[derive(Clone)]
pub struct HealthMetrics {
    last: GaugeVec,
    total: IntCounterVec,
    registry: Registry,
}

impl Default for HealthMetrics {
    /// No results yet.
    fn default() -> Self {
        let registry = Registry::new();
        let register = Register(&registry);
        Self {
            last: register.gauges(
                "kubernetes_healthcheck",
                "Last result of a health check: 1 well, 0 not",
                &["name", "type"],
            ),
            total: register.counters(
                "kubernetes_healthchecks_total",
                "Results of health checks",
                &["name", "type", "status"],
            ),
            registry,
        }
    }
}

impl HealthMetrics {
    /// The check of that name was made for `/healthz`.
    pub fn checked(&self, name: &str, is_well: bool) {
        self.last.with_label_values(&[name, HEALTHZ]).set(f64::from(u8::from(is_well)));
        let status = if is_well { "success" } else { "error" };
        self.total.with_label_values(&[name, HEALTHZ, status]).inc();
    }

    /// Forgets all results.
    pub fn reset(&self) {
        self.last.reset();
        self.total.reset();
    }

    pub(super) fn families(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }
}
