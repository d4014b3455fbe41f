use netproxy::input::ObjectKey;

use super::super::{Correlated, Correlator, KUBE_PROXY};
use super::*;

fn at() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

#[test]
fn every_event_names_its_object_and_the_reason_that_users_know() {
    let web = ServiceRef { key: ObjectKey::new("a", "web"), uid: "u1".into() };
    let address = "0.0.0.0:30000".parse().unwrap();
    let cause = || "address in use".to_owned();
    let message = || "why".to_owned();
    let cases = [
        (ProxyEvent::Starting, "Node", false, "Starting", ""),
        (
            ProxyEvent::HealthServerFailed { address, cause: cause() },
            "Node",
            true,
            "FailedToStartProxierHealthcheck",
            "cannot serve the health of the proxy on 0.0.0.0:30000: address in use",
        ),
        (
            ProxyEvent::MetricsServerFailed { address, cause: cause() },
            "Node",
            true,
            "FailedToStartMetricServer",
            "cannot serve the metrics of the proxy on 0.0.0.0:30000: address in use",
        ),
        (
            ProxyEvent::ServiceHealthServerFailed { service: web.clone(), address, cause: cause() },
            "Service",
            true,
            "FailedToStartServiceHealthcheck",
            "node n cannot serve the health check of a/web on 0.0.0.0:30000: address in use",
        ),
        (
            ProxyEvent::ServiceRefused { service: web.clone(), message: message() },
            "Service",
            true,
            "ServiceRulesRefused",
            "node n: why",
        ),
        (
            ProxyEvent::ServiceOverlap { service: web, message: message() },
            "Service",
            true,
            "ServicePortConflict",
            "why",
        ),
        (
            ProxyEvent::OtherFlavour { message: message() },
            "Node",
            true,
            "OtherIptablesInUse",
            "why",
        ),
    ];
    for (event, kind, warning, reason, message) in cases {
        let told = api_event(event, "n", at());
        assert_eq!(told.object.kind.as_deref(), Some(kind), "{reason}");
        let uid = if kind == "Node" { "n" } else { "u1" };
        assert_eq!(told.object.uid.as_deref(), Some(uid), "{reason}");
        assert_eq!((told.warning, told.reason, &*told.message), (warning, reason, message));
    }
}

#[test]
fn reporter_is_the_proxy_and_says_what_it_was_at() {
    let mut correlator = Correlator::new(KUBE_PROXY, "n");
    let told = api_event(ProxyEvent::Starting, "n", at());
    let Correlated::Create { event, .. } = correlator.correlate(&told) else { panic!() };
    assert_eq!(event.reporting_component.as_deref(), Some("kube-proxy"));
    assert_eq!(event.source.unwrap().component.as_deref(), Some("kube-proxy"));
    assert_eq!(event.action.as_deref(), Some("StartKubeProxy"));
}
