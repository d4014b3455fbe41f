//! Pure. Which kernel settings a pod may change: those that the kernel keeps apart for each pod
//! and that cannot harm others.
//! Source: kubelet v1.36 `sysctl/allowlist.go`, `sysctl/safe_sysctls.go`.

use crate::model::Pod;

const SAFE: [&str; 12] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
];

/// Why the pod's sysctls are not accepted; `None` when they are.
pub(super) fn forbidden(pod: &Pod) -> Option<String> {
    let spec = pod.spec();
    let wanted = spec.security_context.as_ref()?.sysctls.as_ref()?;
    let (host_network, host_ipc) = (pod.host_network(), spec.host_ipc.unwrap_or(false));
    wanted.iter().find_map(|sysctl| {
        // The kernel takes both spellings; `net/ipv4/conf/eth0.100/x` needs the second.
        let name = dotted(&sysctl.name);
        let problem = if !SAFE.contains(&name.as_str()) {
            "not allowlisted"
        } else if host_network && name.starts_with("net.") {
            "not allowed with host net enabled"
        } else if host_ipc && !name.starts_with("net.") {
            "not allowed with host ipc enabled"
        } else {
            return None;
        };
        Some(format!("forbidden sysctl: {:?} {problem}", sysctl.name))
    })
}

/// The name with dots between its parts, whichever separator comes first in it.
fn dotted(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name
            .chars()
            .map(|c| {
                if c == '/' {
                    '.'
                } else if c == '.' {
                    '/'
                } else {
                    c
                }
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
