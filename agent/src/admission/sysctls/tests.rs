use super::*;
use crate::podexec::fixtures::pod;
use serde_json::json;

fn verdict(allowed: &AllowedSysctls, name: &str, host: &str) -> Option<String> {
    let mut spec = json!({"securityContext": {"sysctls": [{"name": name, "value": "1"}]}});
    if !host.is_empty() {
        spec[host] = true.into();
    }
    allowed.forbidden(&pod(json!({"spec": spec})))
}

#[test]
fn only_safe_settings_of_the_pods_own_namespaces_pass() {
    for (name, host, expected) in [
        ("net.ipv4.tcp_syncookies", "", None),
        ("net/ipv4/tcp_syncookies", "", None),
        ("kernel.shm_rmid_forced", "", None),
        ("kernel.msgmax", "", Some("\"kernel.msgmax\" not allowlisted")),
        ("net/core/somaxconn", "", Some("\"net.core.somaxconn\" not allowlisted")),
        (
            "net.ipv4.tcp_rmem",
            "hostNetwork",
            Some("\"net.ipv4.tcp_rmem\" not allowed with host Net enabled"),
        ),
        ("kernel.shm_rmid_forced", "hostNetwork", None),
        (
            "kernel.shm_rmid_forced",
            "hostIPC",
            Some("\"kernel.shm_rmid_forced\" not allowed with host IPC enabled"),
        ),
    ] {
        let got = verdict(&AllowedSysctls::default(), name, host);
        assert_eq!(got, expected.map(|text| format!("forbidden sysctl: {text}")), "{name}");
    }
    assert_eq!(AllowedSysctls::default().forbidden(&pod(json!({}))), None);
}

#[test]
fn allowed_patterns_widen_the_list_within_the_pods_namespaces() {
    let patterns =
        ["kernel.msg*", "net.core.somaxconn", "net/ipv4/route/*", "fs.mqueue.*"].map(str::to_owned);
    let allowed = AllowedSysctls::with_unsafe(&patterns).unwrap();
    for (name, host, passes) in [
        ("kernel.msgmax", "", true),
        ("kernel.msgmax", "hostIPC", false),
        ("kernel.sem", "", false),
        ("net.core.somaxconn", "", true),
        ("net.core.somaxconn", "hostNetwork", false),
        ("net.core.somaxconn2", "", false),
        ("net.ipv4.route.min_pmtu", "", true),
        ("net.ipv4.tcp_syncookies", "", true),
        ("fs.mqueue.msg_max", "", true),
        ("fs.mqueue.msg_max", "hostIPC", false),
    ] {
        assert_eq!(verdict(&allowed, name, host).is_none(), passes, "{name} {host}");
    }
}

#[test]
fn pattern_that_reaches_beyond_a_pod_is_refused() {
    let cases = [
        ("vm.swappiness", false),
        ("kernel.*", false),
        ("*", false),
        ("fs.file-max", false),
        ("net.*", true),
        ("kernel.shm*", true),
        ("kernel.sem", true),
        ("net.ipv4.*.x", false),
        ("Net.ipv4.x", false),
        ("net..x", false),
        ("", false),
    ];
    for (pattern, fine) in cases {
        let parsed = AllowedSysctls::with_unsafe(&[pattern.to_owned()]);
        assert_eq!(parsed.is_ok(), fine, "{pattern}: {parsed:?}");
    }
    let problems =
        AllowedSysctls::with_unsafe(&["vm.swappiness".to_owned(), "A".to_owned()]).unwrap_err();
    assert_eq!(problems.len(), 2);
}
