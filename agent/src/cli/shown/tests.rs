use serde_json::json;

use crate::cli::RunArguments;

#[test]
fn flags_show_what_is_in_force() {
    let arguments = RunArguments {
        kubeconfig: Some("/etc/node.conf".into()),
        node_labels: [("a".to_owned(), "1".to_owned())].into(),
        verbosity: 4,
        ..RunArguments::default()
    };
    let effective = json!({
        "clusterDNS": ["10.96.0.10", "10.96.0.11"],
        "maxPods": 110,
        "systemReserved": {"cpu": "100m", "memory": "1Gi"},
        "cpuCFSQuota": true,
    });
    let shown = arguments.shown(&effective);
    for (flag, value) in [
        ("kubeconfig", "/etc/node.conf"),
        ("bootstrap-kubeconfig", ""),
        ("node-labels", "a=1"),
        ("v", "4"),
        ("cluster-dns", "10.96.0.10,10.96.0.11"),
        ("max-pods", "110"),
        ("system-reserved", "cpu=100m,memory=1Gi"),
        ("cpu-cfs-quota", "true"),
    ] {
        assert_eq!(shown.get(flag).map(String::as_str), Some(value), "{flag}");
    }
}
