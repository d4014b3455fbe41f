use super::*;

fn around() -> Surroundings {
    Surroundings { hostname: "Node-1".to_owned(), ..Surroundings::default() }
}

fn resolve_json(text: &str) -> Result<AgentConfig, Vec<String>> {
    resolve(serde_json::from_str(text).unwrap(), around())
}

#[test]
fn defaults_are_the_kubelets() {
    let config = resolve_json("{}").unwrap();
    assert_eq!(config.node_name, "node-1");
    assert_eq!(config.port, 10250);
    assert_eq!(config.healthz.unwrap().to_string(), "127.0.0.1:10248");
    assert_eq!(config.node.max_pods, 110);
    assert_eq!(config.cadence.node_status_update, Duration::from_secs(10));
    assert_eq!(config.cadence.node_status_report, Duration::from_secs(300));
    assert_eq!(config.image_pulls.parallel, Some(1));
    assert_eq!(config.node.eviction_hard["memory.available"], "100Mi");
    assert!(config.cgroups.fail_on_v1 && config.cgroups.fail_on_swap);
}

#[test]
fn all_problems_are_reported_together() {
    let problems = resolve_json(
        r#"{"clusterDNS": ["ten"], "cgroupDriver": "x", "syncFrequency": "soon", "port": 70000,
            "kubeReserved": {"cpu": "much"}, "enforceNodeAllocatable": ["kube-reserved"]}"#,
    )
    .unwrap_err();
    assert_eq!(problems.len(), 6, "{problems:?}");
}

#[test]
fn one_eviction_threshold_replaces_the_defaults_unless_merged() {
    let config = resolve_json(r#"{"evictionHard": {"memory.available": "1Gi"}}"#).unwrap();
    assert_eq!(config.node.eviction_hard.len(), 1);
    let config = resolve_json(
        r#"{"evictionHard": {"memory.available": "1Gi"}, "mergeDefaultEvictionSettings": true}"#,
    )
    .unwrap();
    assert_eq!(config.node.eviction_hard.len(), 5);
    assert_eq!(config.node.eviction_hard["memory.available"], "1Gi");
}

#[test]
fn explicit_update_frequency_is_the_report_frequency_too() {
    let config = resolve_json(r#"{"nodeStatusUpdateFrequency": "4s"}"#).unwrap();
    assert_eq!(config.cadence.node_status_report, Duration::from_secs(4));
}

#[test]
fn parallel_pulls_switch_serial_ones_off() {
    let parallel = |text| resolve_json(text).map(|config| config.image_pulls.parallel);
    assert_eq!(parallel(r#"{"maxParallelImagePulls": 4}"#), Ok(Some(4)));
    assert_eq!(parallel(r#"{"serializeImagePulls": false}"#), Ok(None));
    assert!(parallel(r#"{"serializeImagePulls": true, "maxParallelImagePulls": 4}"#).is_err());
}

#[test]
fn durations_are_read_as_go_writes_them() {
    let cases = [
        ("10s", Some(10_000)),
        ("1m30s", Some(90_000)),
        ("100ms", Some(100)),
        ("1.5h", Some(5_400_000)),
        ("0", Some(0)),
        ("0s", Some(0)),
        ("-1s", None),
        ("5", None),
        ("", None),
    ];
    for (text, millis) in cases {
        assert_eq!(parse_duration(text), millis.map(Duration::from_millis), "{text}");
    }
}

#[test]
fn bad_taint_effect_is_refused() {
    let error = resolve_json(r#"{"registerWithTaints": [{"key": "a", "effect": "Never"}]}"#);
    assert!(error.unwrap_err()[0].contains("NoSchedule"));
}

#[test]
fn static_pods_may_come_from_files_and_a_url() {
    let config = resolve_json(
        r#"{"staticPodPath": "/m", "staticPodURL": "https://pods.test/a", "fileCheckFrequency": "3s",
            "staticPodURLHeader": {"X-Key": ["a", "b"]}}"#,
    )
    .unwrap();
    assert_eq!(config.static_pod_path, Some("/m".into()));
    let url = config.static_pod_url.unwrap();
    assert_eq!(url.url.as_str(), "https://pods.test/a");
    assert_eq!(url.headers.get_all("x-key").iter().count(), 2);
    assert_eq!(config.cadence.file_check, Duration::from_secs(3));
    assert_eq!(config.cadence.http_check, Duration::from_secs(20));
    let problems = resolve_json(r#"{"staticPodURL": "ftp://x/"}"#).unwrap_err();
    assert!(problems[0].starts_with("staticPodURL"), "{problems:?}");
    let problems = resolve_json(
        r#"{"staticPodURL": "http://x/", "staticPodURLHeader": {"X Key": ["se\ncret"]}}"#,
    )
    .unwrap_err();
    assert!(problems[0].starts_with("staticPodURLHeader") && !problems[0].contains("cret"));
}
