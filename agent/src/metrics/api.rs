//! Requests to the API server, under client-go's names.

use prometheus::{HistogramVec, IntCounterVec};
use tokio::time::Instant;

use super::register::{Register, unseen};
use super::seconds;

const BUCKETS: [f64; 12] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0];

/// Requests to the API server. Cheap to clone.
#[derive(Clone)]
pub struct ApiMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
}

unseen!(ApiMetrics);

impl ApiMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            requests: register.counters(
                "rest_client_requests_total",
                "Requests to the API server, by status code, method and host",
                &["code", "method", "host"],
            ),
            duration: register.histograms(
                "rest_client_request_duration_seconds",
                "Seconds until the API server began to answer, by method and host",
                &BUCKETS,
                &["verb", "host"],
            ),
        }
    }

    /// A request was answered with this code, or with none: `<error>`, client-go's word for it.
    /// `host` is that of the server with its port.
    pub fn answered(&self, code: Option<u16>, method: &str, host: &str, began: Instant) {
        let code = code.map_or_else(|| "<error>".to_owned(), |code| code.to_string());
        self.requests.with_label_values(&[code.as_str(), method, host]).inc();
        self.duration.with_label_values(&[method, host]).observe(seconds(began.elapsed()));
    }
}
