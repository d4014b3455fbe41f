//! `/healthz` and `/livez` of the proxy.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::report::{HealthReport, report};
use crate::http::{Access, Reply, RouteTable};
use crate::metrics::{ProxyMetrics, WallClock};
use crate::status::ProxyStatus;

/// What the answers are made of.
#[derive(Clone)]
pub struct HealthRoutes {
    /// What the loop publishes.
    pub status: watch::Receiver<ProxyStatus>,
    /// How long changes may wait.
    pub timeout: Duration,
    /// Counts the answers.
    pub metrics: ProxyMetrics,
    /// The time of day.
    pub clock: WallClock,
}

impl HealthRoutes {
    /// The table of the health port (10256). Both paths are asked by load balancers and probes
    /// that have no credential.
    pub fn table(self) -> RouteTable {
        let healthz = self.clone();
        RouteTable::new()
            .with("/healthz", Access::Open, move || {
                let eligibility = healthz.status.borrow().eligibility;
                let report = healthz.report().with_node(eligibility);
                healthz.metrics.healthz_answered(report.code());
                reply(&report)
            })
            .with("/livez", Access::Open, move || {
                let report = self.report();
                self.metrics.livez_answered(report.code());
                reply(&report)
            })
    }

    fn report(&self) -> HealthReport {
        report(&self.status.borrow(), (Instant::now(), (self.clock)()), self.timeout)
    }
}

fn reply(report: &HealthReport) -> Reply {
    Reply::json(report.code(), serde_json::to_vec(report).unwrap_or_default())
}

#[cfg(test)]
mod tests;
