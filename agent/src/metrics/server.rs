//! Requests to the kubelet server.

use std::time::Duration;

use http::StatusCode;
use prometheus::{GaugeVec, HistogramVec, IntCounterVec};

use super::register::{Register, unseen};
use super::{DEFAULT_BUCKETS, seconds};
use crate::server::serve::{RequestLabels, RequestMetrics};

const LABELS: &[&str] = &["method", "path", "server_type", "long_running"];

/// Requests to the kubelet server. Cheap to clone.
#[derive(Clone)]
pub struct ServerMetrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: GaugeVec,
    websockets: IntCounterVec,
}

unseen!(ServerMetrics);

impl ServerMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            requests: register.counters(
                "kubelet_http_requests_total",
                "Requests to the kubelet server since its start",
                LABELS,
            ),
            duration: register.histograms(
                "kubelet_http_requests_duration_seconds",
                "Seconds that answering a request to the kubelet server took",
                &DEFAULT_BUCKETS,
                LABELS,
            ),
            in_flight: register.gauges(
                "kubelet_http_inflight_requests",
                "Requests to the kubelet server that are being answered",
                LABELS,
            ),
            websockets: register.counters(
                "kubelet_websocket_streaming_requests_total",
                "Streams that were asked for over WebSocket",
                &["subresource"],
            ),
        }
    }

    /// A stream was asked for over WebSocket: `exec`, `attach` or `portforward`.
    pub fn websocket(&self, subresource: &str) {
        self.websockets.with_label_values(&[subresource]).inc();
    }
}

impl RequestMetrics for ServerMetrics {
    fn began(&self, labels: &RequestLabels) {
        let labels = values(labels);
        self.requests.with_label_values(&labels).inc();
        self.in_flight.with_label_values(&labels).inc();
    }

    fn ended(&self, labels: &RequestLabels, _: Option<StatusCode>, took: Duration) {
        let labels = values(labels);
        self.in_flight.with_label_values(&labels).dec();
        self.duration.with_label_values(&labels).observe(seconds(took));
    }
}

fn values(labels: &RequestLabels) -> [&'static str; 4] {
    let RequestLabels { method, path, server, long_running } = labels;
    [method, path, server.label(), if *long_running { "true" } else { "false" }]
}
