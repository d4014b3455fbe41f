use super::*;

fn settings(text: &str) -> Result<ProxySettings, String> {
    read(serde_json::from_str(text).unwrap())
}

#[test]
fn empty_file_gives_the_defaults() {
    assert_eq!(settings("{}"), Ok(ProxySettings::default()));
}

#[test]
fn values_are_taken_over() {
    let settings = settings(
        r#"{"kind": "KubeProxyConfiguration", "clusterCIDR": "10.0.0.0/8, fd00::/8",
            "clientConnection": {"kubeconfig": "/k"}, "mode": "iptables",
            "iptables": {"masqueradeBit": 5, "masqueradeAll": true, "minSyncPeriod": "2s"}}"#,
    )
    .unwrap();
    assert_eq!(settings.cluster_cidrs, ["10.0.0.0/8", "fd00::/8"]);
    assert_eq!(settings.kubeconfig, Some("/k".into()));
    assert_eq!(settings.masquerade_bit, 5);
    assert!(settings.masquerade_all);
    assert_eq!(settings.min_sync_period, Duration::from_secs(2));
}

#[test]
fn bad_values_name_their_field() {
    let cases = [
        (r#"{"mod": "x"}"#, "unknown field `mod`"),
        (r#"{"mode": "ipvs"}"#, "mode: \"ipvs\""),
        (r#"{"iptables": {"masqueradeBit": 32}}"#, "iptables.masqueradeBit"),
        (r#"{"clusterCIDR": "ten"}"#, "clusterCIDR: \"ten\""),
        (r#"{"detectLocalMode": "Guess"}"#, "detectLocalMode"),
        (r#"{"iptables": {"syncPeriod": "soon"}}"#, "iptables.syncPeriod"),
        (r#"{"kind": "Pod"}"#, "kind is \"Pod\""),
    ];
    for (text, expected) in cases {
        let error = settings(text).unwrap_err();
        assert!(error.contains(expected), "{text}: {error}");
    }
}
