//! The routes of exec, attach, run and port-forward.

use std::sync::Arc;

use super::server::ServerParts;
use crate::adapters::linux::LocalStreamingServer;
use crate::server::route::Route;
use crate::server::streams::{self, StreamParts};

pub(super) fn routes(parts: &ServerParts<'_>) -> Vec<Route> {
    let runtime = Arc::new(parts.ground.runtime.clone());
    streams::routes(StreamParts {
        pods: parts.pods.clone(),
        containers: runtime.clone(),
        sandboxes: runtime.clone(),
        streaming: runtime,
        server: Arc::new(LocalStreamingServer),
        metrics: parts.ground.metrics.server.clone(),
    })
}
