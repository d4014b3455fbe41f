use super::*;

#[test]
fn paths_are_counted_by_their_first_part_and_metrics_by_two() {
    for (path, wanted) in [
        ("/pods", "pods"),
        ("/pods/", "pods"),
        ("/exec/{namespace}/{pod}/{container}", "exec"),
        ("/metrics", "metrics"),
        ("/metrics/", "metrics"),
        ("/metrics/cadvisor", "metrics/cadvisor"),
        ("/metrics/cadvisor/x", "metrics/cadvisor"),
        ("/", ""),
        ("", ""),
    ] {
        assert_eq!(bucket(path), wanted, "{path}");
    }
}
