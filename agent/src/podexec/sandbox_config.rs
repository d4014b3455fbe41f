//! Pure. A pod's sandbox as the runtime is to make it.
//! Source: kubelet v1.36 `kuberuntime/kuberuntime_sandbox.go`.

use cri_proto::runtime::v1::{
    LinuxPodSandboxConfig, PodSandboxConfig, PodSandboxMetadata, PortMapping, Protocol,
    UserNamespace,
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use super::dns::PodDns;
use super::hostname::{self, HostnameError};
use super::labels;
use super::linux_resources::{overhead_resources, sandbox_resources};
use super::log_paths::pod_log_dir;
use super::node_facts::NodeFacts;
use super::security_context::sandbox_security;
use crate::admission::dotted_sysctl;
use crate::model::Pod;

/// Everything a sandbox depends on beside the pod's spec.
#[derive(Clone, Copy, Debug)]
pub struct SandboxInputs<'a> {
    /// 0 for the pod's first sandbox.
    pub attempt: u32,
    /// The pod's cgroup in the form of the runtime's driver: a path or a slice name.
    pub cgroup_parent: &'a str,
    pub dns: &'a PodDns,
    /// When noded first saw the pod.
    pub seen: Timestamp,
    /// The user namespace that the pod gets.
    pub users: &'a UserNamespace,
    pub node: &'a NodeFacts,
}

/// The sandbox of `pod`. Errors when the pod's host name cannot be formed; published under
/// `FailedCreatePodSandBox`.
pub fn build_sandbox_config(
    pod: &Pod,
    inputs: &SandboxInputs<'_>,
) -> Result<PodSandboxConfig, HostnameError> {
    let spec = pod.spec();
    let logs = pod_log_dir(&inputs.node.pod_logs_dir, pod.full_name(), pod.uid());
    Ok(PodSandboxConfig {
        metadata: Some(PodSandboxMetadata {
            name: pod.name().to_owned(),
            uid: pod.uid().as_str().to_owned(),
            namespace: pod.namespace().to_owned(),
            attempt: inputs.attempt,
        }),
        hostname: sandbox_hostname(pod, &inputs.node.cluster_domain)?,
        log_directory: logs.to_string_lossy().into_owned(),
        dns_config: Some(inputs.dns.to_cri()),
        port_mappings: port_mappings(spec),
        labels: labels::sandbox_labels(pod),
        annotations: labels::sandbox_annotations(pod, inputs.seen),
        linux: Some(LinuxPodSandboxConfig {
            cgroup_parent: inputs.cgroup_parent.to_owned(),
            security_context: Some(sandbox_security(pod, inputs.users)),
            sysctls: sysctls(spec),
            overhead: overhead_resources(pod, inputs.node),
            resources: Some(sandbox_resources(pod, inputs.node)),
        }),
        ..Default::default()
    })
}

/// Empty for a host-network pod, which keeps the node's name, unless it overrides it.
fn sandbox_hostname(pod: &Pod, cluster_domain: &str) -> Result<String, HostnameError> {
    if pod.host_network() {
        return Ok(String::new());
    }
    let names = hostname::pod_names(pod, cluster_domain)?;
    hostname::kernel_hostname(&names, pod.spec().set_hostname_as_fqdn.unwrap_or(false))
}

/// Host ports of the regular containers and sidecars. A port without a host port maps nothing.
fn port_mappings(spec: &api::PodSpec) -> Vec<PortMapping> {
    let sidecars = spec.init_containers.iter().flatten();
    let sidecars = sidecars.filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let ports = spec.containers.iter().chain(sidecars).flat_map(|c| c.ports.iter().flatten());
    ports
        .filter_map(|port| {
            let host_port = port.host_port.filter(|number| *number > 0)?;
            Some(PortMapping {
                protocol: protocol(port.protocol.as_deref()) as i32,
                container_port: port.container_port,
                host_port,
                host_ip: port.host_ip.clone().unwrap_or_default(),
            })
        })
        .collect()
}

fn protocol(name: Option<&str>) -> Protocol {
    match name {
        Some("UDP") => Protocol::Udp,
        Some("SCTP") => Protocol::Sctp,
        _ => Protocol::Tcp,
    }
}

/// Names as runtimes read them: with dots between their parts, whichever way the pod spells them.
fn sysctls(spec: &api::PodSpec) -> std::collections::HashMap<String, String> {
    let wanted = spec.security_context.as_ref().and_then(|security| security.sysctls.as_ref());
    wanted.into_iter().flatten().map(|s| (dotted_sysctl(&s.name), s.value.clone())).collect()
}

#[cfg(test)]
mod tests;
