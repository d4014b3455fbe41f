use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, advance};

use super::HealthRoutes;
use crate::config::IpFamily;
use crate::http::Access;
use crate::input::NodeEligibility;
use crate::outside::Outside;
use crate::status::ProxyStatus;

#[tokio::test(start_paused = true)]
async fn answers_follow_the_state_and_are_counted() {
    let (publish, status) = watch::channel(ProxyStatus::default());
    let metrics = Outside::default().metrics;
    let clock = Arc::new(|| "2026-11-21T10:00:00Z".parse().unwrap());
    let timeout = Duration::from_secs(60);
    let table = HealthRoutes { status, timeout, metrics: metrics.clone(), clock }.table();
    let paths: Vec<_> = table.paths().collect();
    assert_eq!(paths, [("/healthz", Access::Open), ("/livez", Access::Open)]);
    let code = async |path| table.answer(path).await.status.as_u16();
    assert_eq!((code("/healthz").await, code("/livez").await), (200, 200));

    publish.send_modify(|status| status.eligibility = NodeEligibility::ToBeDeleted);
    assert_eq!((code("/healthz").await, code("/livez").await), (503, 200));
    let reply = table.answer("/healthz").await;
    assert_eq!(reply.content_type, "application/json");
    let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
    assert_eq!((&body["nodeEligible"], &body["healthy"]), (&false.into(), &true.into()));

    publish.send_modify(|status| {
        status.eligibility = NodeEligibility::Eligible;
        let family = status.families.entry(IpFamily::V4).or_default();
        family.queued_since = Some(Instant::now());
    });
    advance(Duration::from_secs(59)).await;
    assert_eq!((code("/healthz").await, code("/livez").await), (200, 200));
    advance(Duration::from_secs(1)).await;
    assert_eq!((code("/healthz").await, code("/livez").await), (503, 503));

    let page = metrics.page().await;
    for line in [
        "kubeproxy_proxy_healthz_total{code=\"200\"} 2",
        "kubeproxy_proxy_healthz_total{code=\"503\"} 3",
        "kubeproxy_proxy_livez_total{code=\"200\"} 3",
        "kubeproxy_proxy_livez_total{code=\"503\"} 1",
    ] {
        assert!(page.contains(line), "{line}: {page}");
    }
}
