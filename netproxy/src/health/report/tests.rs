use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::report;
use crate::backend::Finding;
use crate::config::IpFamily;
use crate::input::{NodeEligibility, ObjectKey};
use crate::status::{FamilyStatus, ProxyStatus, SyncOutcome};

const TIMEOUT: Duration = Duration::from_secs(60);

fn status(families: &[(IpFamily, Option<Instant>, Option<Instant>)]) -> ProxyStatus {
    let families = families.iter().map(|(family, queued_since, last_success)| {
        let outcome =
            SyncOutcome { failure: Some(Arc::from("no")), full: true, duration: Duration::ZERO };
        let entry = FamilyStatus {
            queued_since: *queued_since,
            last_success: *last_success,
            last_sync: Some(outcome),
            ..FamilyStatus::default()
        };
        (*family, entry)
    });
    ProxyStatus { families: families.collect(), ..ProxyStatus::default() }
}

/// Seconds after the start of the test's own time.
fn at(start: Instant, seconds: u64) -> (Instant, Timestamp) {
    let wall: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
    (start + Duration::from_secs(seconds), wall + Duration::from_secs(seconds))
}

#[tokio::test(start_paused = true)]
async fn health_depends_on_how_long_changes_wait_and_on_the_node() {
    use NodeEligibility::{Deleting, Eligible, Missing, ToBeDeleted};
    let start = Instant::now();
    let v4 = |queued: Option<u64>| (IpFamily::V4, queued.map(|s| at(start, s).0), Some(start));
    let v6 = |queued: Option<u64>| (IpFamily::V6, queued.map(|s| at(start, s).0), Some(start));
    // State at second 100, node, code of /healthz, code of /livez.
    let cases = [
        ("just started", status(&[]), Eligible, 200, 200),
        ("nothing waits", status(&[v4(None), v6(None)]), Eligible, 200, 200),
        ("a change waits", status(&[v4(Some(41)), v6(None)]), Eligible, 200, 200),
        ("it waits too long", status(&[v4(Some(40)), v6(None)]), Eligible, 503, 503),
        ("one family is ill", status(&[v4(None), v6(Some(1))]), Eligible, 503, 503),
        ("autoscaler's taint", status(&[v4(None)]), ToBeDeleted, 503, 200),
        ("deletion timestamp", status(&[v4(None)]), Deleting, 503, 200),
        ("node is gone", status(&[v4(None)]), Missing, 503, 200),
        ("both", status(&[v4(Some(1))]), Missing, 503, 503),
    ];
    for (what, status, eligibility, healthz, livez) in cases {
        let report = report(&status, at(start, 100), TIMEOUT);
        assert_eq!(report.code().as_u16(), livez, "{what}");
        assert_eq!(report.with_node(eligibility).code().as_u16(), healthz, "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn body_tells_each_family() {
    let start = Instant::now();
    let status = status(&[
        (IpFamily::V4, None, Some(start)),
        (IpFamily::V6, Some(start), Some(at(start, 10).0)),
    ]);
    let report = report(&status, at(start, 100), TIMEOUT);
    let livez = serde_json::to_value(&report).unwrap();
    let mut expected = serde_json::json!({
        "lastUpdated": "2026-11-21T10:01:40Z",
        "currentTime": "2026-11-21T10:01:40Z",
        "healthy": false,
        "status": {
            "IPv4": {"lastUpdated": "2026-11-21T10:01:40Z", "healthy": true},
            "IPv6": {"lastUpdated": "2026-11-21T10:00:10Z", "healthy": false},
        },
    });
    assert_eq!(livez, expected);
    let healthz = report.with_node(NodeEligibility::Eligible);
    expected["nodeEligible"] = true.into();
    assert_eq!(serde_json::to_value(&healthz).unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn refused_services_are_named_in_the_body() {
    let start = Instant::now();
    let mut status = status(&[(IpFamily::V4, None, Some(start))]);
    let refused = Finding::Refused { service: ObjectKey::new("a", "web"), cause: "no".into() };
    status.families.get_mut(&IpFamily::V4).unwrap().findings.insert(refused);
    let report = report(&status, at(start, 1), TIMEOUT);
    assert!(report.healthy);
    let body = serde_json::to_value(&report).unwrap();
    assert_eq!(body["status"]["IPv4"]["refusedServices"], serde_json::json!(["a/web"]));
}
