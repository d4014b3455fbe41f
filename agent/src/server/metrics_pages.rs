//! `/metrics`, `/metrics/probes` and `/metrics/slis`: what noded counts of its own work.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::{Method, StatusCode};

use super::NodePods;
use super::reply;
use super::route::{Access, Call, Limits, Offer, Route};
use crate::metrics::{NodeCounts, NodeMetrics, count};
use crate::podworker::WallClock;

#[cfg(test)]
mod tests;

const ACCESS: Access = Access(&["metrics"]);
/// A page takes a few milliseconds and, with 110 pods, some hundred kilobytes.
const LIMITS: Limits = Limits { body_bytes: 0, at_once: 8, deadline: Duration::from_secs(30) };
/// Prometheus' text format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The pages of these metrics, with counts of these pods. All take any method, as upstream;
/// DELETE of the service level indicators forgets them.
pub fn routes(metrics: &NodeMetrics, pods: NodePods, clock: WallClock) -> Vec<Route> {
    let own = metrics.clone();
    let own = move |_| {
        let (own, pods, clock) = (own.clone(), pods.clone(), Arc::clone(&clock));
        async move {
            own.volumes.refresh().await;
            shown(own.page(&counts(&pods), clock()))
        }
    };
    let probes = metrics.clone();
    let probes = move |_| {
        let page = probes.probes_page();
        async move { shown(page) }
    };
    let slis = metrics.clone();
    let slis = move |call: Call| {
        let answer = match *call.request.method() {
            Method::DELETE => {
                slis.health.reset();
                reply::text(StatusCode::OK, "metrics reset\n")
            }
            _ => shown(slis.slis_page()),
        };
        async move { answer }
    };
    let offer = Offer::SecureAndReadOnly;
    vec![
        Route::new((&[], "/metrics"), offer, ACCESS, LIMITS, own),
        Route::new((&[], "/metrics/probes"), offer, ACCESS, LIMITS, probes),
        Route::new((&[], "/metrics/slis"), offer, ACCESS, LIMITS, slis),
    ]
}

fn counts(pods: &NodePods) -> NodeCounts {
    let desired = Arc::clone(&pods.desired.borrow());
    let workers = Arc::clone(&pods.workers.borrow());
    count(&desired, &workers, pods.runtime_pods().as_deref())
}

fn shown(page: String) -> Response {
    reply::typed(StatusCode::OK, CONTENT_TYPE, page)
}
