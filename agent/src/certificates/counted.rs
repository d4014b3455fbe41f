//! What the metrics show of a certificate: only of one that is renewed here.

use std::time::Duration;

use super::csr::Purpose;
use super::task::CertificateTask;
use crate::metrics::CertificateMetrics;

impl CertificateTask {
    fn metrics(&self) -> Option<&CertificateMetrics> {
        self.parts.renewal.as_ref().map(|renewal| &renewal.metrics)
    }

    /// Shows when the certificate in use ends.
    pub(super) fn show_end(&self) {
        let Some(metrics) = self.metrics() else { return };
        let end = self.current.as_ref().map(|current| current.facts.not_after);
        match self.parts.purpose {
            Purpose::Client => metrics.client(end),
            Purpose::Serving => metrics.serving(end),
        }
    }

    pub(super) fn count_failure(&self) {
        let Some(metrics) = self.metrics() else { return };
        match self.parts.purpose {
            Purpose::Client => metrics.client_failed(),
            Purpose::Serving => metrics.serving_failed(),
        }
    }

    /// Counts a certificate that was replaced at that age, as the kubelet does: no client's.
    pub(super) fn count_replacement(&self, age: Duration) {
        if self.parts.purpose == Purpose::Serving
            && let Some(metrics) = self.metrics()
        {
            metrics.serving_replaced(age);
        }
    }
}
