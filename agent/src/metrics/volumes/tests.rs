use super::*;

fn figures(metrics: &VolumeMetrics) -> Vec<String> {
    let text = prometheus::TextEncoder::new().encode_to_string(&metrics.families()).unwrap();
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
}

fn claim(name: &str) -> ClaimName {
    ClaimName { namespace: "shop".to_owned(), name: name.to_owned() }
}

#[tokio::test]
async fn claims_and_counts_are_shown_as_they_were_last_seen() {
    let metrics = VolumeMetrics::default();
    assert_eq!(figures(&metrics), Vec::<String>::new());
    metrics.refresh().await;
    let counts = |count| BTreeMap::from([("kubernetes.io/local-volume", count)]);
    let fs = |used| FsUsage {
        capacity: 100,
        available: 70,
        used,
        inodes: 10,
        inodes_free: 8,
        ..FsUsage::default()
    };
    metrics.look_at(move || VolumeFigures {
        counts: VolumeCounts { wanted: counts(2), mounted: counts(1) },
        claims: vec![(claim("data"), fs(20)), (claim("data"), fs(30))],
    });
    assert_eq!(figures(&metrics), Vec::<String>::new());
    metrics.refresh().await;
    let labels = "{namespace=\"shop\",persistentvolumeclaim=\"data\"}";
    let total = "volume_manager_total_volumes{plugin_name=\"kubernetes.io/local-volume\",state=";
    let mut shown = figures(&metrics);
    shown.sort();
    assert_eq!(
        shown,
        [
            format!("kubelet_volume_stats_available_bytes{labels} 70"),
            format!("kubelet_volume_stats_capacity_bytes{labels} 100"),
            format!("kubelet_volume_stats_inodes_free{labels} 8"),
            format!("kubelet_volume_stats_inodes_used{labels} 2"),
            format!("kubelet_volume_stats_inodes{labels} 10"),
            format!("kubelet_volume_stats_used_bytes{labels} 20"),
            format!("{total}\"actual_state_of_world\"}} 1"),
            format!("{total}\"desired_state_of_world\"}} 2"),
        ]
    );
}
