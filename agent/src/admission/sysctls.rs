//! Pure. Which kernel settings a pod may change: those that the kernel keeps apart for each pod
//! and that cannot harm others, and those the administrator allows.
//! Source: kubelet v1.36 `sysctl/allowlist.go`, `sysctl/safe_sysctls.go`; component-helpers
//! `node/util/sysctl/namespace.go`.

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

/// Settings of an IPC namespace that are allowed by name, and the beginnings upstream knows.
const IPC: [&str; 10] = [
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "kernel.shm",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.msg",
];

/// Longest name of a sysctl (API validation, v1.36).
const MAX_LENGTH: usize = 253;

/// The kernel namespace a setting belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

impl Namespace {
    /// Of a setting, or of the beginning of one; `None` when it is not known to be kept apart.
    fn of(name: &str) -> Option<Self> {
        if IPC.contains(&name) || name.starts_with("fs.mqueue.") {
            Some(Self::Ipc)
        } else if name.starts_with("net.") {
            Some(Self::Net)
        } else {
            None
        }
    }

    /// As messages spell it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Ipc => "IPC",
            Self::Net => "Net",
        }
    }
}

/// A pattern in `allowedUnsafeSysctls` that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SysctlPatternError {
    #[error("{0:?} is not the name of a sysctl, which may end in *")]
    Malformed(String),
    #[error("{0:?} is not known to be kept apart for each pod")]
    NotNamespaced(String),
}

/// A name, or the beginning of names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    text: String,
    is_prefix: bool,
    namespace: Namespace,
}

impl Allowed {
    fn parse(pattern: &str) -> Result<Self, SysctlPatternError> {
        if !is_well_formed(pattern) {
            return Err(SysctlPatternError::Malformed(pattern.to_owned()));
        }
        let name = dotted_sysctl(pattern);
        let (text, is_prefix) = match name.strip_suffix('*') {
            Some(start) => (start.to_owned(), true),
            None => (name, false),
        };
        let namespace = Namespace::of(&text)
            .ok_or_else(|| SysctlPatternError::NotNamespaced(pattern.to_owned()))?;
        Ok(Self { text, is_prefix, namespace })
    }

    fn covers(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&self.text) } else { name == self.text }
    }
}

/// Segments of lower-case letters, digits, `-` and `_`, apart by `.` or `/`; the last may be or end
/// in `*`.
fn is_well_formed(pattern: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_inner = |c: char| is_plain(c) || c == '-' || c == '_';
    let is_segment = |text: &str| {
        text.starts_with(is_plain) && text.ends_with(is_plain) && text.chars().all(is_inner)
    };
    let (start, last) = match pattern.rfind(['.', '/']) {
        Some(at) => (Some(&pattern[..at]), &pattern[at + 1..]),
        None => (None, pattern),
    };
    let starts_well = start.is_none_or(|start| start.split(['.', '/']).all(is_segment));
    let ends_well = match last.strip_suffix('*') {
        Some("") => true,
        Some(begun) => begun.starts_with(is_plain) && begun.chars().all(is_inner),
        None => is_segment(last),
    };
    pattern.len() <= MAX_LENGTH && starts_well && ends_well
}

/// The settings pods of this node may change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedSysctls(Vec<Allowed>);

impl Default for AllowedSysctls {
    /// The safe ones.
    fn default() -> Self {
        Self(SAFE.iter().filter_map(|name| Allowed::parse(name).ok()).collect())
    }
}

impl AllowedSysctls {
    /// The safe ones and these, each a name or the beginning of names followed by `*`. Errors name
    /// every pattern that is none, or that reaches beyond a pod's own namespaces.
    pub fn with_unsafe(patterns: &[String]) -> Result<Self, Vec<SysctlPatternError>> {
        let mut allowed = Self::default();
        let mut problems = Vec::new();
        for pattern in patterns {
            match Allowed::parse(pattern) {
                Ok(parsed) => allowed.0.push(parsed),
                Err(problem) => problems.push(problem),
            }
        }
        if problems.is_empty() { Ok(allowed) } else { Err(problems) }
    }

    /// Why the pod's sysctls are not accepted; `None` when they are.
    pub(super) fn forbidden(&self, pod: &Pod) -> Option<String> {
        let spec = pod.spec();
        let wanted = spec.security_context.as_ref()?.sysctls.as_ref()?;
        let (host_network, host_ipc) = (pod.host_network(), spec.host_ipc.unwrap_or(false));
        wanted.iter().find_map(|sysctl| {
            let name = dotted_sysctl(&sysctl.name);
            let problem = match self.0.iter().find(|allowed| allowed.covers(&name)) {
                None => "not allowlisted".to_owned(),
                Some(allowed) => {
                    let shared = match allowed.namespace {
                        Namespace::Ipc => host_ipc,
                        Namespace::Net => host_network,
                    };
                    shared.then(|| {
                        format!("not allowed with host {} enabled", allowed.namespace.as_str())
                    })?
                }
            };
            Some(format!("forbidden sysctl: {name:?} {problem}"))
        })
    }
}

/// The name with dots between its parts, whichever separator comes first in it: the kernel takes
/// both spellings, and `net/ipv4/conf/eth0.100/x` needs the second.
pub fn dotted_sysctl(name: &str) -> String {
    match name.find(['.', '/']) {
        Some(at) if name[at..].starts_with('/') => name
            .chars()
            .map(|c| match c {
                '/' => '.',
                '.' => '/',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
