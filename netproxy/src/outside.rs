//! How the loop reaches the outside.

use std::sync::Arc;

use jiff::Timestamp;

use crate::config::ProxyMode;
use crate::events::{NoEvents, ProxyEvents};
use crate::http::Ports;
use crate::metrics::{BuildFacts, ProxyMetrics};

/// Where the loop tells what it does, beside [`ProxyStatus`](crate::ProxyStatus).
#[derive(Clone)]
pub struct Outside {
    /// Metrics.
    pub metrics: ProxyMetrics,
    /// Events.
    pub events: Arc<dyn ProxyEvents>,
    /// Where health check node ports are opened; nothing to leave them closed.
    pub ports: Option<Arc<dyn Ports>>,
}

impl Default for Outside {
    /// Metrics that nobody asks for, events that nobody takes, and no ports.
    fn default() -> Self {
        let build = BuildFacts { kubernetes_version: String::new(), own_version: String::new() };
        Self {
            metrics: ProxyMetrics::new(ProxyMode::default(), &build, Arc::new(Timestamp::now)),
            events: Arc::new(NoEvents),
            ports: None,
        }
    }
}
