use super::*;
use crate::podexec::fixtures::{node_facts, pod};
use serde_json::{Value, json};

fn pod_with(resources: Value) -> Pod {
    pod(json!({"spec": {"containers": [{"name": "main", "resources": resources}]}}))
}

fn linux(pod: &Pod, node: &NodeFacts) -> LinuxContainerResources {
    container_resources(pod, &pod.spec().containers[0], node)
}

#[test]
fn shares_and_quota_are_the_kernels() {
    for (milli, shares) in
        [(0, 2), (1, 2), (10, 10), (100, 102), (1000, 1024), (255_999, 262_142), (300_000, 262_144)]
    {
        assert_eq!(cpu_shares(milli), shares, "{milli}");
    }
    let period = Duration::from_millis(100);
    for (milli, quota) in [(0, 0), (1, 1000), (5, 1000), (11, 1100), (123, 12_300), (1001, 100_100)]
    {
        assert_eq!(cpu_quota_us(milli, period), quota, "{milli}");
    }
    assert_eq!(cpu_quota_us(100, Duration::from_millis(1)), 1000);
}

#[test]
fn requests_and_limits_become_shares_quota_and_memory() {
    let node = node_facts();
    // resources; shares, quota, memory
    for (resources, expected) in [
        (json!({}), (2, 0, 0)),
        (json!({"requests": {"cpu": "500m"}}), (512, 0, 0)),
        (json!({"limits": {"cpu": "2"}}), (2048, 200_000, 0)),
        (
            json!({"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"cpu": "1", "memory": "64Mi"}}),
            (102, 100_000, 64 << 20),
        ),
    ] {
        let got = linux(&pod_with(resources.clone()), &node);
        assert_eq!(
            (got.cpu_shares, got.cpu_quota, got.memory_limit_in_bytes),
            expected,
            "{resources}"
        );
        assert_eq!(got.cpu_period, 100_000);
    }
}

#[test]
fn quota_is_left_out_when_switched_off() {
    let node = NodeFacts { cfs_quota_period: None, ..node_facts() };
    let got = linux(&pod_with(json!({"limits": {"cpu": "2"}})), &node);
    assert_eq!((got.cpu_quota, got.cpu_period), (0, 0));
}

#[test]
fn swap_and_oom_group_follow_the_cgroup_version() {
    let limited = pod_with(json!({"limits": {"memory": "64Mi"}}));
    let v2 = linux(&limited, &node_facts());
    assert_eq!(v2.unified["memory.oom.group"], "1");
    assert_eq!(v2.unified["memory.swap.max"], "0");
    assert_eq!(v2.memory_swap_limit_in_bytes, 0);
    let v1 = NodeFacts {
        cgroup: crate::podexec::CgroupFacts { version: 1, swap_controller: true },
        ..node_facts()
    };
    let v1 = linux(&limited, &v1);
    assert!(v1.unified.is_empty());
    assert_eq!(v1.memory_swap_limit_in_bytes, 64 << 20);
}

#[test]
fn unasked_huge_pages_are_limited_to_none() {
    let node = NodeFacts { huge_page_sizes: vec![2 << 20, 1 << 30], ..node_facts() };
    let got = linux(&pod_with(json!({"limits": {"hugepages-2Mi": "6Mi"}})), &node);
    let limits: Vec<(&str, u64)> =
        got.hugepage_limits.iter().map(|l| (l.page_size.as_str(), l.limit)).collect();
    assert_eq!(limits, [("2MB", 6 << 20), ("1GB", 0)]);
}

#[test]
fn limits_of_the_pod_bound_its_containers() {
    let pod = pod(json!({"spec": {"resources": {"limits": {"cpu": "1", "memory": "1Gi"}},
        "containers": [{"name": "main"}]}}));
    let got = linux(&pod, &node_facts());
    assert_eq!((got.cpu_quota, got.memory_limit_in_bytes), (100_000, 1 << 30));
}

#[test]
fn sandbox_gets_the_sum_and_overhead_apart() {
    let pod = pod(json!({"spec": {
        "overhead": {"cpu": "250m", "memory": "10Mi"},
        "containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1Mi"}}},
            {"name": "b", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "1", "memory": "1Mi"}}},
        ],
    }}));
    let node = node_facts();
    let all = sandbox_resources(&pod, &node);
    assert_eq!(
        (all.cpu_shares, all.cpu_quota, all.memory_limit_in_bytes),
        (2048, 200_000, 2 << 20)
    );
    let overhead = overhead_resources(&pod, &node).unwrap();
    assert_eq!(
        (overhead.cpu_shares, overhead.cpu_quota, overhead.memory_limit_in_bytes),
        (256, 25_000, 10 << 20)
    );
    assert_eq!(overhead_resources(&pod_with(json!({})), &node), None);
}

#[test]
fn oom_score_follows_class_and_request() {
    const GIB: u64 = 1 << 30;
    let guaranteed =
        json!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "1", "memory": "1Gi"}});
    for (resources, capacity, expected) in [
        (json!({}), 8 * GIB, 1000),
        (guaranteed, 8 * GIB, -997),
        (json!({"requests": {"cpu": "1"}}), 8 * GIB, 999),
        (json!({"requests": {"memory": "4Gi"}}), 8 * GIB, 500),
        (json!({"requests": {"memory": "8Gi"}}), 8 * GIB, 3),
        (json!({"requests": {"memory": "1"}}), 8 * GIB, 999),
    ] {
        let pod = pod_with(resources.clone());
        assert_eq!(
            oom_score_adj(&pod, &pod.spec().containers[0], capacity),
            expected,
            "{resources}"
        );
    }
    let critical = pod(
        json!({"spec": {"priorityClassName": "system-node-critical", "containers": [{"name": "main"}]}}),
    );
    assert_eq!(oom_score_adj(&critical, &critical.spec().containers[0], 8 * GIB), -997);
}

#[test]
fn sidecar_is_not_killed_before_what_it_serves() {
    let pod = pod(json!({"spec": {
        "initContainers": [{"name": "side", "restartPolicy": "Always"}],
        "containers": [{"name": "main", "resources": {"requests": {"memory": "4Gi"}}}],
    }}));
    let side = &pod.spec().init_containers.as_ref().unwrap()[0];
    assert_eq!(oom_score_adj(&pod, side, 8 << 30), 500);
}
