use serde_json::{Value, json};

use super::MetricsRoutes;
use crate::config::ProxyMode;
use crate::http::Access;
use crate::outside::Outside;

#[tokio::test]
async fn pages_are_those_of_kube_proxy() {
    let effective = json!({"mode": "iptables", "iptables": {"masqueradeBit": 14}});
    let metrics = Outside::default().metrics;
    let table =
        MetricsRoutes { metrics, mode: ProxyMode::Iptables, effective: effective.clone() }.table();
    assert!(table.paths().all(|(_, access)| access == Access::Open));
    let page = async |path| {
        let reply = table.answer(path).await;
        assert_eq!(reply.status, 200, "{path}");
        (reply.content_type, String::from_utf8(reply.body.to_vec()).unwrap())
    };
    assert_eq!(page("/healthz").await, ("text/plain; charset=utf-8", "ok".to_owned()));
    assert_eq!(page("/proxyMode").await, ("text/plain; charset=utf-8", "iptables".to_owned()));
    let (content_type, body) = page("/configz").await;
    assert_eq!(content_type, "application/json");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body, json!({"kubeproxy.config.k8s.io": effective}));
    let (content_type, body) = page("/metrics").await;
    assert!(content_type.starts_with("text/plain; version=0.0.4"), "{content_type}");
    assert!(body.contains("# TYPE kubernetes_build_info gauge\n"));
    assert_eq!(page("/metrics/slis").await.1, "");
    assert!(page("/flagz").await.1.contains("\niptables.masqueradeBit=14\n"));
    assert!(page("/statusz").await.1.contains("\nMode: iptables\n"));
}
