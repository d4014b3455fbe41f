//! The pages of the metrics port.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::ProxyMetrics;
use crate::config::ProxyMode;
use crate::http::{Access, Reply, RouteTable};

/// What the pages are made of.
#[derive(Clone)]
pub struct MetricsRoutes {
    /// The metrics.
    pub metrics: ProxyMetrics,
    /// The mode in use, never `Auto`.
    pub mode: ProxyMode,
    /// The configuration in force, as a KubeProxyConfiguration.
    pub effective: Value,
}

impl MetricsRoutes {
    /// The table of the metrics port (10249). As upstream it asks nobody who they are, which is
    /// why the port is on a loopback address unless the configuration says otherwise.
    pub fn table(self) -> RouteTable {
        let Self { metrics, mode, effective } = self;
        let configz = Arc::new(configz(&effective));
        let flagz = flagz(&effective);
        let statusz = metrics.clone();
        RouteTable::new()
            .with_async("/metrics", Access::Open, move || {
                let metrics = metrics.clone();
                Box::pin(async move {
                    let content_type = prometheus::TEXT_FORMAT;
                    Reply { content_type, ..Reply::text(metrics.page().await) }
                })
            })
            // Kubernetes' service level indicators; the proxy has none on this page.
            .with("/metrics/slis", Access::Open, || Reply {
                content_type: prometheus::TEXT_FORMAT,
                ..Reply::text("")
            })
            .with("/healthz", Access::Open, || Reply::text("ok"))
            .with("/proxyMode", Access::Open, move || Reply::text(mode.word()))
            .with("/configz", Access::Open, move || {
                Reply::json(StatusCode::OK, configz.as_ref().clone())
            })
            .with("/statusz", Access::Open, move || Reply::text(statusz.statusz(mode)))
            .with("/flagz", Access::Open, move || Reply::text(flagz.clone()))
    }
}

impl ProxyMetrics {
    fn statusz(&self, mode: ProxyMode) -> String {
        let now = (self.0.clock)();
        let up = now.duration_since(self.0.started).as_secs();
        format!(
            "kube-proxy statusz (for people; the form may change)\n\nStarted: {}\nUp: {up}s\n\
             Mode: {}\n",
            self.0.started,
            mode.word(),
        )
    }
}

fn configz(effective: &Value) -> String {
    json!({ "kubeproxy.config.k8s.io": effective }).to_string()
}

/// Every setting on a line of its own.
fn flagz(effective: &Value) -> String {
    let mut lines = String::from("kube-proxy flagz (for people; the form may change)\n\n");
    add_lines("", effective, &mut lines);
    lines
}

fn add_lines(path: &str, value: &Value, lines: &mut String) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                let dot = if path.is_empty() { "" } else { "." };
                add_lines(&format!("{path}{dot}{name}"), value, lines);
            }
        }
        Value::String(text) => lines.push_str(&format!("{path}={text}\n")),
        other => lines.push_str(&format!("{path}={other}\n")),
    }
}

#[cfg(test)]
mod tests;
