use std::sync::Arc;

use axum::body::Body;
use http::Request;
use netproxy::metrics::BuildFacts;

use super::*;
use crate::server::fixtures::{NodePodsBuilder, ask, get};
use crate::testing::build::{at, pod};

fn pages(metrics: &NodeMetrics) -> Vec<Route> {
    let pods = NodePodsBuilder::default().desired(pod("shop/web").build()).build();
    routes(metrics, pods, Arc::new(|| at(0)))
}

fn metrics() -> NodeMetrics {
    let build =
        BuildFacts { kubernetes_version: "v1.36.3".to_owned(), own_version: "0.1.0".to_owned() };
    NodeMetrics::new("node-1", &build)
}

#[tokio::test]
async fn each_page_shows_its_own_metrics() {
    let metrics = metrics();
    metrics.health.checked("ping", true);
    for (path, line) in [
        ("/metrics", "kubelet_desired_pods{static=\"\"} 1\n"),
        ("/metrics", "kubelet_node_name{node=\"node-1\"} 1\n"),
        ("/metrics/probes", "process_start_time_seconds"),
        ("/metrics/slis", "kubernetes_healthcheck{name=\"ping\",type=\"healthz\"} 1\n"),
    ] {
        let (code, kind, body) = get(pages(&metrics), path).await;
        assert_eq!((code, kind.as_str()), (200, CONTENT_TYPE), "{path}");
        assert!(body.contains(line), "{path}: {body}");
    }
}

#[tokio::test]
async fn deleting_the_indicators_forgets_them() {
    let metrics = metrics();
    metrics.health.checked("ping", true);
    let request = Request::delete("/metrics/slis").body(Body::empty()).unwrap();
    let (code, _, body) = ask(pages(&metrics), request).await;
    assert_eq!((code, body.as_slice()), (200, b"metrics reset\n".as_slice()));
    assert!(!get(pages(&metrics), "/metrics/slis").await.2.contains("ping"));
}
