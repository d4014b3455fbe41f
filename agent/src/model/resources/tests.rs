use serde_json::{Value, json};

use super::*;

fn spec(value: Value) -> api::PodSpec {
    serde_json::from_value(value).unwrap()
}

fn container(cpu: &str, memory: &str) -> Value {
    json!({"name": "c", "resources": {"requests": {"cpu": cpu, "memory": memory}, "limits": {"cpu": cpu, "memory": memory}}})
}

fn sidecar(cpu: &str, memory: &str) -> Value {
    let mut value = container(cpu, memory);
    value["restartPolicy"] = json!("Always");
    value
}

/// regular | init | CPU in thousandths | memory in MiB
#[test]
fn pod_requests_follow_the_start_order() {
    let table: [(Vec<Value>, Vec<Value>, i64, i64); 7] = [
        (vec![container("100m", "1Mi"), container("200m", "2Mi")], vec![], 300, 3),
        (vec![container("100m", "1Mi")], vec![container("1", "1Mi")], 1000, 1),
        (
            vec![container("100m", "1Mi")],
            vec![container("50m", "5Mi"), container("70m", "4Mi")],
            100,
            5,
        ),
        // A sidecar adds to the regular containers.
        (vec![container("100m", "1Mi")], vec![sidecar("50m", "5Mi")], 150, 6),
        // An init container after a sidecar runs beside it, one before it does not.
        (
            vec![container("100m", "1Mi")],
            vec![sidecar("50m", "5Mi"), container("200m", "1Mi")],
            250,
            6,
        ),
        (
            vec![container("100m", "1Mi")],
            vec![container("200m", "1Mi"), sidecar("50m", "5Mi")],
            200,
            6,
        ),
        (vec![json!({"name": "c"})], vec![], 0, 0),
    ];
    for (regular, init, cpu, memory) in table {
        let spec = spec(json!({"containers": regular, "initContainers": init}));
        let requests = pod_requests(&spec);
        assert_eq!(
            (cpu_milli(&requests), memory_bytes(&requests) >> 20),
            (cpu, memory),
            "{spec:?}"
        );
        assert_eq!(cpu_milli(&pod_limits(&spec)), cpu);
    }
}

#[test]
fn overhead_is_requested_and_added_to_existing_limits_only() {
    let spec = spec(json!({
        "containers": [{"name": "c", "resources": {"requests": {"cpu": "1", "memory": "1Mi"}, "limits": {"memory": "2Mi"}}}],
        "overhead": {"cpu": "250m", "memory": "3Mi"},
    }));
    assert_eq!(cpu_milli(&pod_requests(&spec)), 1250);
    assert_eq!(memory_bytes(&pod_requests(&spec)), 4 << 20);
    assert_eq!(memory_bytes(&pod_limits(&spec)), 5 << 20);
    assert!(!pod_limits(&spec).contains_key(CPU));
}

#[test]
fn pod_level_figures_replace_the_sum() {
    let spec = spec(json!({
        "containers": [container("100m", "1Mi")],
        "resources": {"requests": {"cpu": "2", "nvidia.com/gpu": "1"}, "limits": {"hugepages-2Mi": "4Mi"}},
    }));
    let requests = pod_requests(&spec);
    assert_eq!(cpu_milli(&requests), 2000);
    assert_eq!(memory_bytes(&requests), 1 << 20);
    assert_eq!(requests["hugepages-2Mi"].value(), 4 << 20);
    assert!(!requests.contains_key("nvidia.com/gpu"));
}

#[test]
fn one_unlimited_container_leaves_the_pod_unlimited() {
    let free = json!({"name": "free", "resources": {"limits": {"cpu": "0"}}});
    assert!(all_containers_limit(&spec(json!({"containers": [container("1", "1Mi")]})), CPU));
    assert!(!all_containers_limit(
        &spec(json!({"containers": [container("1", "1Mi"), free]})),
        CPU
    ));
    assert!(!all_containers_limit(
        &spec(json!({"containers": [container("1", "1Mi")], "initContainers": [free]})),
        MEMORY
    ));
    assert!(all_containers_limit(
        &spec(json!({"containers": [free], "resources": {"limits": {"cpu": "1"}}})),
        CPU
    ));
}

#[test]
fn unreadable_amounts_are_named_and_count_as_absent() {
    let spec = spec(
        json!({"containers": [{"name": "web", "resources": {"requests": {"cpu": "lots", "memory": "1Mi"}}}]}),
    );
    assert_eq!(problems(&spec), ["container web requests[cpu]: \"lots\" has an unknown suffix"]);
    assert_eq!(cpu_milli(&pod_requests(&spec)), 0);
    assert_eq!(memory_bytes(&pod_requests(&spec)), 1 << 20);
}
