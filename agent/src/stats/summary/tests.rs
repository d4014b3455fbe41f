use expect_test::expect_file;
use serde_json::{Value, json};

use super::super::fixtures;
use super::*;

fn as_json(summary: &Summary) -> Value {
    serde_json::to_value(summary).unwrap()
}

#[test]
fn the_whole_summary_has_the_kubelet_s_names() {
    let summary = build_summary(&fixtures::snapshot());
    let text = serde_json::to_string_pretty(&summary).unwrap();
    expect_file!["golden/summary.json"].assert_eq(&text);
}

#[test]
fn only_cpu_and_memory_are_shown_to_who_wants_only_them() {
    let summary = as_json(&build_cpu_and_memory_summary(&fixtures::essential()));
    let container = &summary["pods"][0]["containers"][0];
    let time = "2026-01-02T00:33:20Z";
    assert_eq!(
        *container,
        json!({
            "name": "app",
            "startTime": "2026-01-02T00:16:41Z",
            "cpu": {"time": time, "usageNanoCores": 2_000_000, "usageCoreNanoSeconds": 2_000_000_000_u64},
            "memory": {
                "time": time,
                "availableBytes": 3096,
                "usageBytes": 1300,
                "workingSetBytes": 1000,
                "rssBytes": 400,
                "pageFaults": 9,
                "majorPageFaults": 2,
            },
            "swap": {"time": time, "swapAvailableBytes": 2036, "swapUsageBytes": 12},
        })
    );
    let node: Vec<&String> = summary["node"].as_object().unwrap().keys().collect();
    assert_eq!(node, ["cpu", "memory", "nodeName", "startTime", "swap", "systemContainers"]);
}

#[test]
fn pods_without_a_running_container_are_left_out() {
    let summary = build_summary(&fixtures::snapshot());
    let names: Vec<&str> = summary.pods.iter().map(|pod| &*pod.pod_ref.name).collect();
    assert_eq!(names, ["web"]);
}

#[test]
fn ephemeral_storage_is_what_lies_on_the_node_s_disk() {
    let summary = build_summary(&fixtures::snapshot());
    let storage = summary.pods[0].ephemeral_storage.clone().unwrap();
    // Layer, logs of the container, hosts file, the volume on disk; not the one in memory.
    assert_eq!(storage.used_bytes, Some(5000 + 700 + 30 + 2000));
    assert_eq!(storage.inodes_used, Some(5 + 1 + 1 + 2));
}

#[test]
fn what_cannot_be_read_is_left_out() {
    let mut snapshot = fixtures::snapshot();
    snapshot.node.network = None;
    snapshot.node.image_fs = None;
    let pod = &mut snapshot.pods[1];
    pod.measured = None;
    let container = &mut pod.containers[0];
    (container.layer, container.logs) = (None, None);
    let measured = container.measured.as_mut().unwrap();
    (measured.nano_cores, measured.usage.memory, measured.usage.swap) = (None, None, None);
    measured.usage.more = None;
    let summary = as_json(&build_summary(&snapshot));
    assert_eq!(summary["node"].get("network"), None);
    assert_eq!(summary["node"].get("runtime"), None);
    let pod = &summary["pods"][0];
    assert_eq!((pod.get("cpu"), pod.get("memory")), (None, None));
    let container = pod["containers"][0].as_object().unwrap();
    assert_eq!(container.keys().collect::<Vec<_>>(), ["cpu", "name", "startTime"]);
    assert_eq!(container["cpu"].as_object().unwrap().len(), 2);
}

#[test]
fn default_interface_is_the_one_with_the_route_else_eth0() {
    let interface = |name: &str| InterfaceUsage { name: name.to_owned(), ..Default::default() };
    let at = fixtures::taken();
    let usage = |default: Option<&str>, names: &[&str]| NetworkUsage {
        default: default.map(str::to_owned),
        interfaces: names.iter().map(|name| interface(name)).collect(),
    };
    for (default, names, expected) in [
        (Some("ens3"), vec!["eth0", "ens3"], "ens3"),
        (None, vec!["ens3", "eth0"], "eth0"),
        (None, vec!["ens3"], ""),
    ] {
        let stats = network(&usage(default, &names), at);
        assert_eq!(stats.default.name, expected);
        assert_eq!(stats.interfaces.len(), names.len());
    }
}
