//! Pure. Host name and domain of a pod, and the text of its hosts file.
//! Source: kubelet v1.36 `kubelet_pods.go`, `util/util.go`.

use std::fmt::Write as _;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as api;

use crate::model::Pod;

/// Longest host name (a DNS label).
const MAX_HOSTNAME: usize = 63;
/// Longest name the kernel keeps (`HOST_NAME_MAX`).
const MAX_KERNEL_HOSTNAME: usize = 64;

const MANAGED_HEADER: &str = "# Kubernetes-managed hosts file.\n";
const MANAGED_HEADER_HOST_NETWORK: &str = "# Kubernetes-managed hosts file (host network).\n";
const ALIASES_HEADER: &str = "\n# Entries added by HostAliases.\n";

/// The names a pod knows itself by.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodNames {
    pub hostname: String,
    /// Domain below the cluster domain; empty without a subdomain.
    pub domain: String,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostnameError {
    #[error("pod {field} {value:?} is not a valid DNS label")]
    NotALabel { field: &'static str, value: String },
    #[error("pod hostname {0:?} is invalid")]
    Empty(String),
    #[error(
        "failed to construct FQDN from pod hostname and cluster domain, FQDN {fqdn} is too long \
         ({MAX_KERNEL_HOSTNAME} characters is the max, {} characters requested)", fqdn.len()
    )]
    FqdnTooLong { fqdn: String },
}

/// Host name and domain of a pod that has a network of its own. `hostnameOverride` is taken as it
/// is and has no domain; otherwise `spec.hostname`, or the pod's name cut to 63 characters.
pub fn pod_names(pod: &Pod, cluster_domain: &str) -> Result<PodNames, HostnameError> {
    let spec = pod.spec();
    if let Some(name) = spec.hostname_override.as_deref() {
        return Ok(PodNames { hostname: name.to_owned(), domain: String::new() });
    }
    let hostname = match spec.hostname.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => dns_label("Hostname", name)?,
        None => pod.name(),
    };
    let hostname = cut_hostname(hostname)?;
    let domain = match spec.subdomain.as_deref().filter(|name| !name.is_empty()) {
        Some(name) => {
            let subdomain = dns_label("Subdomain", name)?;
            format!("{subdomain}.{}.svc.{cluster_domain}", pod.namespace())
        }
        None => String::new(),
    };
    Ok(PodNames { hostname, domain })
}

/// The name the kernel of the sandbox gets: the short one, or with `setHostnameAsFQDN` and a
/// domain the full one, which must fit 64 characters.
pub fn kernel_hostname(names: &PodNames, as_fqdn: bool) -> Result<String, HostnameError> {
    if !as_fqdn || names.domain.is_empty() {
        return Ok(names.hostname.clone());
    }
    let fqdn = format!("{}.{}", names.hostname, names.domain);
    if fqdn.len() > MAX_KERNEL_HOSTNAME {
        return Err(HostnameError::FqdnTooLong { fqdn });
    }
    Ok(fqdn)
}

fn cut_hostname(hostname: &str) -> Result<String, HostnameError> {
    if hostname.len() <= MAX_HOSTNAME {
        return Ok(hostname.to_owned());
    }
    let end = (0..=MAX_HOSTNAME).rev().find(|index| hostname.is_char_boundary(*index));
    let cut = hostname[..end.unwrap_or(0)].trim_end_matches(['-', '.']);
    if cut.is_empty() {
        return Err(HostnameError::Empty(hostname.to_owned()));
    }
    Ok(cut.to_owned())
}

/// RFC 1123 label: at most 63 of `a-z`, `0-9` and `-`, neither beginning nor ending with `-`.
fn dns_label<'a>(field: &'static str, value: &'a str) -> Result<&'a str, HostnameError> {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let good = value.len() <= MAX_HOSTNAME
        && !value.starts_with('-')
        && !value.ends_with('-')
        && value.chars().all(allowed);
    if good { Ok(value) } else { Err(HostnameError::NotALabel { field, value: value.to_owned() }) }
}

/// `/etc/hosts` of a pod with a network of its own: the local names, a line for each of the pod's
/// addresses, then its aliases.
pub fn hosts_file(ips: &[IpAddr], names: &PodNames, aliases: &[api::HostAlias]) -> String {
    let mut text = String::from(MANAGED_HEADER);
    text.push_str(
        "127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        if names.domain.is_empty() {
            let _ = writeln!(text, "{ip}\t{}", names.hostname);
        } else {
            let _ = writeln!(text, "{ip}\t{0}.{1}\t{0}", names.hostname, names.domain);
        }
    }
    text + &alias_lines(aliases)
}

/// `/etc/hosts` of a host-network pod: the node's own file, then the pod's aliases.
pub fn host_network_hosts_file(node_hosts: &str, aliases: &[api::HostAlias]) -> String {
    format!("{MANAGED_HEADER_HOST_NETWORK}{node_hosts}{}", alias_lines(aliases))
}

fn alias_lines(aliases: &[api::HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let mut text = String::from(ALIASES_HEADER);
    for alias in aliases {
        let names = alias.hostnames.as_deref().unwrap_or_default().join("\t");
        let _ = writeln!(text, "{}\t{names}", alias.ip);
    }
    text
}

#[cfg(test)]
mod tests;
