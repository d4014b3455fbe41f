use super::*;
use crate::podexec::fixtures::pod;
use serde_json::json;

#[test]
fn only_safe_settings_of_the_pods_own_namespaces_pass() {
    // name, spec, expected
    for (name, spec, expected) in [
        ("net.ipv4.tcp_syncookies", json!({}), None),
        ("net/ipv4/tcp_syncookies", json!({}), None),
        ("kernel.shm_rmid_forced", json!({}), None),
        ("kernel.msgmax", json!({}), Some("\"kernel.msgmax\" not allowlisted")),
        ("net.core.somaxconn", json!({}), Some("\"net.core.somaxconn\" not allowlisted")),
        (
            "net.ipv4.tcp_rmem",
            json!({"hostNetwork": true}),
            Some("\"net.ipv4.tcp_rmem\" not allowed with host net enabled"),
        ),
        ("kernel.shm_rmid_forced", json!({"hostNetwork": true}), None),
        (
            "kernel.shm_rmid_forced",
            json!({"hostIPC": true}),
            Some("\"kernel.shm_rmid_forced\" not allowed with host ipc enabled"),
        ),
    ] {
        let mut spec = spec;
        spec["securityContext"] = json!({"sysctls": [{"name": name, "value": "1"}]});
        let got = forbidden(&pod(json!({"spec": spec})));
        assert_eq!(got, expected.map(|text| format!("forbidden sysctl: {text}")), "{name}");
    }
    assert_eq!(forbidden(&pod(json!({}))), None);
}
