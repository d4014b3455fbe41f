use serde_json::{Value, json};

use super::*;
use crate::model::qos::qos_class;

fn rules() -> LimitRules {
    LimitRules {
        cpu_period: Some(Duration::from_millis(100)),
        pod_pids: None,
        huge_page_sizes: vec![2 << 20, 1 << 30],
    }
}

fn limits_of(spec: Value) -> CgroupLimits {
    let spec: api::PodSpec = serde_json::from_value(spec).unwrap();
    pod_limits(&spec, qos_class(&spec), &rules())
}

fn container(requests: Value, limits: Value) -> Value {
    json!({"name": "c", "resources": {"requests": requests, "limits": limits}})
}

#[test]
fn shares_follow_the_request() {
    for (milli, shares) in [
        (-5, 2),
        (0, 2),
        (1, 2),
        (2, 2),
        (3, 3),
        (100, 102),
        (1000, 1024),
        (4000, 4096),
        (1_000_000, 262_144),
    ] {
        assert_eq!(shares_of(milli), shares, "{milli}m");
    }
}

#[test]
fn quota_follows_the_limit() {
    for (milli, period, quota) in [
        (0, 100_000, 0),
        (1, 100_000, 1000),
        (5, 100_000, 1000),
        (11, 100_000, 1100),
        (99, 100_000, 9900),
        (123, 100_000, 12_300),
        (1001, 100_000, 100_100),
        (500, 5000, 2500),
    ] {
        assert_eq!(quota_of(milli, period), quota, "{milli}m in {period} us");
    }
}

#[test]
fn guaranteed_pod_is_bounded_by_its_limits() {
    let full = json!({"cpu": "500m", "memory": "64Mi"});
    let limits = limits_of(
        json!({"containers": [container(full.clone(), full)], "overhead": {"memory": "1Mi"}}),
    );
    assert_eq!(limits.cpu_shares, Some(512));
    assert_eq!((limits.cpu_quota_us, limits.cpu_period_us), (Some(50_000), Some(100_000)));
    assert_eq!(limits.memory_bytes, Some(65 << 20));
    assert_eq!(limits.huge_pages, [("2MB".to_owned(), 0), ("1GB".to_owned(), 0)]);
}

#[test]
fn burstable_pod_is_bounded_where_all_containers_are() {
    let limited = container(json!({"cpu": "100m"}), json!({"memory": "10Mi", "cpu": "1"}));
    let half = container(json!({}), json!({"memory": "5Mi"}));
    let limits = limits_of(json!({"containers": [limited, half]}));
    assert_eq!(limits.cpu_shares, Some(102));
    assert_eq!(limits.cpu_quota_us, None);
    assert_eq!(limits.memory_bytes, Some(15 << 20));
}

#[test]
fn best_effort_pod_has_least_shares_and_no_bounds() {
    let limits = limits_of(json!({"containers": [{"name": "c"}]}));
    assert_eq!(limits.cpu_shares, Some(2));
    assert_eq!((limits.cpu_quota_us, limits.memory_bytes, limits.pids), (None, None, None));
}

#[test]
fn huge_pages_are_limited_to_the_request() {
    let pages = json!({"hugepages-2Mi": "4Mi", "memory": "1Mi"});
    let limits = limits_of(json!({"containers": [container(pages.clone(), pages)]}));
    assert_eq!(limits.huge_pages, [("2MB".to_owned(), 4 << 20), ("1GB".to_owned(), 0)]);
}

#[test]
fn unenforced_cpu_limit_lifts_the_quota() {
    let full = json!({"cpu": "1", "memory": "1Mi"});
    let spec: api::PodSpec =
        serde_json::from_value(json!({"containers": [container(full.clone(), full)]})).unwrap();
    let rules = LimitRules { cpu_period: None, pod_pids: Some(50), ..rules() };
    let limits = pod_limits(&spec, QosClass::Guaranteed, &rules);
    assert_eq!(limits.cpu_quota_us, Some(-1));
    assert_eq!(limits.pids, Some(50));
}

#[test]
fn classes_share_by_requests_and_leave_huge_pages_free() {
    let burstable = class_limits(QosClass::Burstable, 1500, &[2 << 20]);
    assert_eq!(burstable.cpu_shares, Some(1536));
    assert_eq!(burstable.huge_pages, [("2MB".to_owned(), 1 << 62)]);
    assert_eq!(class_limits(QosClass::BestEffort, 1500, &[]).cpu_shares, Some(2));
    assert_eq!(class_limits(QosClass::Burstable, 0, &[]).cpu_shares, Some(2));
}

#[test]
fn all_pods_get_what_the_reservations_leave() {
    let usable = Resources::from([
        ("cpu".to_owned(), Quantity::from_milli(3500)),
        ("memory".to_owned(), Quantity::from_bytes(7 << 30)),
        ("hugepages-2Mi".to_owned(), Quantity::from_bytes(8 << 20)),
    ]);
    let limits = kubepods_limits(&usable, 32_768, &[2 << 20], true);
    assert_eq!(limits.cpu_shares, Some(3584));
    assert_eq!(limits.memory_bytes, Some(7 << 30));
    assert_eq!(limits.pids, Some(32_768));
    assert_eq!(limits.huge_pages, [("2MB".to_owned(), 8 << 20)]);
    let free = kubepods_limits(&usable, 32_768, &[2 << 20], false);
    assert_eq!(free, CgroupLimits { cpu_shares: Some(3584), ..CgroupLimits::default() });
}

#[test]
fn page_sizes_are_spelled_as_the_files_are() {
    for (bytes, name) in [
        (64 << 10, "64KB"),
        (2 << 20, "2MB"),
        (512 << 20, "512MB"),
        (1 << 30, "1GB"),
        (16 << 30, "16GB"),
    ] {
        assert_eq!(page_size_name(bytes), name);
    }
}
