//! What is told of each request, for `kubelet_http_requests_total` and its kin.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use crate::server::route::RouteTable;

#[cfg(test)]
mod tests;

/// Paths whose requests may last (v1.36, spelled as there).
const LONG_RUNNING: [&str; 4] = ["exec", "attach", "portforward", "debug"];
/// Methods with a name of their own in metrics (v1.36).
const METHODS: [&str; 8] = ["OPTIONS", "GET", "HEAD", "POST", "PUT", "DELETE", "TRACE", "CONNECT"];
const OTHER: &str = "other";

/// Which of the two ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ServerKind {
    Secure,
    ReadOnly,
}

impl ServerKind {
    /// The value of the label `server_type`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Secure => "readwrite",
            Self::ReadOnly => "readonly",
        }
    }
}

/// What a request is counted under; from fixed sets, whatever clients send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestLabels {
    pub method: &'static str,
    /// The first part of a known path, of `/metrics/...` the first two; else `other`.
    pub path: &'static str,
    pub server: ServerKind,
    pub long_running: bool,
}

impl RequestLabels {
    /// Pure: those of a request for `path`.
    pub(super) fn new(server: ServerKind, table: &RouteTable, method: &Method, path: &str) -> Self {
        let method = METHODS.into_iter().find(|known| *known == method.as_str()).unwrap_or(OTHER);
        let asked = bucket(path);
        let known = table.routes().iter().map(|route| bucket(route.path));
        let path = known.into_iter().find(|known| *known == asked).unwrap_or(OTHER);
        Self { method, path, server, long_running: LONG_RUNNING.contains(&path) }
    }
}

fn bucket(path: &str) -> &str {
    let path = path.trim_start_matches('/');
    let mut ends = path.match_indices('/').map(|(at, _)| at);
    let first = ends.next().unwrap_or(path.len());
    let end = if &path[..first] == "metrics" { ends.next().unwrap_or(path.len()) } else { first };
    path[..end].trim_end_matches('/')
}

/// Who counts requests.
pub trait RequestMetrics: Send + Sync {
    fn began(&self, labels: &RequestLabels);
    /// `code` is `None` when the client left before there was an answer; `took` lasts to the end
    /// of the answer's body.
    fn ended(&self, labels: &RequestLabels, code: Option<StatusCode>, took: Duration);
}

/// One request from its begin to its end, which is when this is dropped.
pub(super) struct Measured {
    metrics: Option<Arc<dyn RequestMetrics>>,
    labels: RequestLabels,
    began: Instant,
    code: Option<StatusCode>,
}

impl Measured {
    pub(super) fn begin(metrics: Option<Arc<dyn RequestMetrics>>, labels: RequestLabels) -> Self {
        if let Some(metrics) = &metrics {
            metrics.began(&labels);
        }
        Self { metrics, labels, began: Instant::now(), code: None }
    }

    pub(super) fn answered(&mut self, code: StatusCode) {
        self.code = Some(code);
    }
}

impl Drop for Measured {
    fn drop(&mut self) {
        if let Some(metrics) = &self.metrics {
            metrics.ended(&self.labels, self.code, self.began.elapsed());
        }
    }
}
