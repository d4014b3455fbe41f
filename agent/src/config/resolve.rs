//! Pure. From the wire form to the validated configuration: defaults, units, and every problem in
//! one list.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::wire::{KubeletConfiguration, WireTaint};
use super::{
    AgentConfig, Cadence, CertificateConfig, CgroupConfig, CredentialProvider, DeadContainers,
    DnsConfig, ImagePulls, Limits, NodeConfig, StaticPodUrl, Taint, VerificationPolicy,
};
use crate::admission::AllowedSysctls;
use crate::boundary::CgroupDriver;
use crate::images::ImageReference;
use crate::model::quantity::Quantity;

#[cfg(test)]
mod tests;

/// Version noded follows and publishes unless told otherwise.
pub const KUBELET_VERSION: &str = "v1.36.3";

/// What has no field in the file: flags, and facts of the machine that defaults depend on.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    pub hostname: String,
    pub hostname_override: Option<String>,
    pub node_ips: Vec<String>,
    pub root_dir: Option<PathBuf>,
    pub kubeconfig: Option<PathBuf>,
    pub node_labels: BTreeMap<String, String>,
    pub external_cloud_provider: bool,
    pub kubelet_version: Option<String>,
    pub container_logs_dir: Option<PathBuf>,
    /// Texts of the flags for dead containers: least age, most per container, most of all.
    pub dead_containers: [Option<String>; 3],
    pub credential_providers: Vec<CredentialProvider>,
    pub cert_dir: Option<PathBuf>,
    /// What is in force, for those who ask.
    pub effective: Value,
}

/// Collects problems while values are read.
pub(super) struct Reader {
    pub(super) problems: Vec<String>,
}

impl Reader {
    pub(super) fn duration(
        &mut self,
        field: &str,
        text: Option<&String>,
        default: Duration,
    ) -> Duration {
        let Some(text) = text else { return default };
        match parse_duration(text) {
            // Zero stands for "not set" in this API.
            Some(duration) if duration.is_zero() => default,
            Some(duration) => duration,
            None => {
                self.problems
                    .push(format!("{field}: \"{text}\" is not a duration like 10s or 1m30s"));
                default
            }
        }
    }

    pub(super) fn number<T: TryFrom<i64>>(
        &mut self,
        field: &str,
        value: Option<i64>,
        default: T,
    ) -> T {
        let Some(value) = value else { return default };
        T::try_from(value).unwrap_or_else(|_| {
            self.problems.push(format!("{field}: {value} is out of range"));
            default
        })
    }

    pub(super) fn address(&mut self, field: &str, text: &str) -> Option<IpAddr> {
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.problems.push(format!("{field}: \"{text}\" is not an IP address"));
        }
        parsed
    }

    fn quantities(
        &mut self,
        field: &str,
        map: Option<BTreeMap<String, String>>,
    ) -> BTreeMap<String, String> {
        let map = map.unwrap_or_default();
        for (name, text) in &map {
            if Quantity::parse(text).is_err() {
                self.problems.push(format!(
                    "{field}: {name}: \"{text}\" is not a quantity like 100m or 1Gi"
                ));
            }
        }
        map
    }
}

/// A Go duration (`1m30s`, `100ms`, `0`); `None` when it is none or negative.
pub fn parse_duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let span: jiff::SignedDuration = text.parse().ok()?;
    Duration::try_from(span).ok()
}

/// The configuration to run with, or all that is wrong with it.
pub fn resolve(
    wire: KubeletConfiguration,
    around: Surroundings,
) -> Result<AgentConfig, Vec<String>> {
    let mut reader = Reader { problems: Vec::new() };
    let node_name =
        around.hostname_override.clone().unwrap_or(around.hostname.clone()).trim().to_lowercase();
    if node_name.is_empty() {
        reader.problems.push("the host name is empty; give --hostname-override".to_owned());
    }
    let node_ips =
        around.node_ips.iter().filter_map(|ip| reader.address("--node-ip", ip)).collect();
    let runtime_endpoint = wire
        .container_runtime_endpoint
        .clone()
        .filter(|endpoint| !endpoint.is_empty())
        .unwrap_or_else(|| "unix:///run/containerd/containerd.sock".to_owned());
    let image_endpoint = wire
        .image_service_endpoint
        .clone()
        .filter(|endpoint| !endpoint.is_empty())
        .unwrap_or_else(|| runtime_endpoint.clone());
    for endpoint in [&runtime_endpoint, &image_endpoint] {
        if !endpoint.starts_with("unix://") {
            reader
                .problems
                .push(format!("containerRuntimeEndpoint: \"{endpoint}\" must start with unix://"));
        }
    }
    let port = reader.number("port", wire.port, 10250);
    let root_dir = around.root_dir.clone().unwrap_or_else(|| "/var/lib/kubelet".into());
    let config = AgentConfig {
        node_name,
        node_ips,
        certificates: CertificateConfig::resolve(&wire, around.cert_dir.clone(), &root_dir),
        root_dir,
        kubeconfig: around.kubeconfig.clone(),
        runtime_endpoint,
        image_endpoint,
        static_pod_path: path(wire.static_pod_path.as_ref()),
        static_pod_url: static_pod_url(&mut reader, &wire),
        pod_logs_dir: path(wire.pod_logs_dir.as_ref()).unwrap_or_else(|| "/var/log/pods".into()),
        container_logs_dir: around
            .container_logs_dir
            .clone()
            .unwrap_or_else(|| "/var/log/containers".into()),
        dns: dns(&mut reader, &wire),
        healthz: healthz(&mut reader, &wire),
        port,
        server: super::server::resolve(&mut reader, &wire, port),
        kubelet_version: around
            .kubelet_version
            .clone()
            .unwrap_or_else(|| KUBELET_VERSION.to_owned()),
        image_pulls: image_pulls(&mut reader, &wire, around.credential_providers.clone()),
        seccomp_default: wire.seccomp_default.unwrap_or(false),
        ids_per_pod: super::user_namespaces::resolve(&mut reader, &wire),
        allowed_sysctls: allowed_sysctls(&mut reader, &wire),
        dead_containers: dead_containers(&mut reader, &around.dead_containers),
        pages: super::pages::resolve(&wire),
        stats: super::stats::resolve(&mut reader, &wire),
        effective: around.effective.clone(),
        log_rotation: super::container_logs::resolve(&mut reader, &wire),
        cadence: cadence(&mut reader, &wire),
        limits: limits(&mut reader, &wire),
        cgroups: cgroups(&mut reader, &wire),
        node: node(&mut reader, wire, around),
    };
    if reader.problems.is_empty() { Ok(config) } else { Err(reader.problems) }
}

fn allowed_sysctls(reader: &mut Reader, wire: &KubeletConfiguration) -> AllowedSysctls {
    let patterns = wire.allowed_unsafe_sysctls.as_deref().unwrap_or_default();
    AllowedSysctls::with_unsafe(patterns).unwrap_or_else(|problems| {
        let lines = problems.iter().map(|problem| format!("allowedUnsafeSysctls: {problem}"));
        reader.problems.extend(lines);
        AllowedSysctls::default()
    })
}

/// A negative number is no limit.
fn dead_containers(reader: &mut Reader, texts: &[Option<String>; 3]) -> DeadContainers {
    let [min_age, per_container, total] = texts;
    let default = DeadContainers::default();
    let mut limit = |flag: &str, text: &Option<String>, default| match text.as_deref() {
        None => default,
        Some(text) => match text.parse::<i64>() {
            Ok(number) => u32::try_from(number).ok(),
            Err(_) => {
                reader.problems.push(format!("{flag}: \"{text}\" is not a number"));
                default
            }
        },
    };
    DeadContainers {
        per_container: limit(
            "--maximum-dead-containers-per-container",
            per_container,
            default.per_container,
        ),
        total: limit("--maximum-dead-containers", total, default.total),
        min_age: reader.duration(
            "--minimum-container-ttl-duration",
            min_age.as_ref(),
            default.min_age,
        ),
    }
}

fn path(text: Option<&String>) -> Option<PathBuf> {
    text.filter(|text| !text.is_empty()).map(PathBuf::from)
}

fn static_pod_url(reader: &mut Reader, wire: &KubeletConfiguration) -> Option<StaticPodUrl> {
    let text = wire.static_pod_url.as_deref().filter(|text| !text.is_empty())?;
    let url = reqwest::Url::parse(text).ok();
    let url = url.filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    let Some(url) = url else {
        reader.problems.push("staticPodURL: must be a URL with http:// or https://".to_owned());
        return None;
    };
    let mut headers = http::HeaderMap::new();
    for (name, values) in wire.static_pod_url_header.iter().flatten() {
        for value in values {
            let parsed = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value));
            let (Ok(name), Ok(mut value)) = parsed else {
                // The value may be a secret.
                reader.problems.push(format!(
                    "staticPodURLHeader: {name:?} or its value is not allowed in HTTP"
                ));
                continue;
            };
            value.set_sensitive(true);
            headers.append(name, value);
        }
    }
    Some(StaticPodUrl { url, headers })
}

fn dns(reader: &mut Reader, wire: &KubeletConfiguration) -> DnsConfig {
    let servers = wire.cluster_dns.as_deref().unwrap_or_default();
    DnsConfig {
        cluster_dns: servers.iter().filter_map(|ip| reader.address("clusterDNS", ip)).collect(),
        cluster_domain: wire.cluster_domain.clone().unwrap_or_default(),
        resolv_conf: match &wire.resolv_conf {
            None => Some("/etc/resolv.conf".into()),
            Some(text) => path(Some(text)),
        },
    }
}

/// 127.0.0.1:10248 by default (v1.36); port 0 switches it off.
fn healthz(reader: &mut Reader, wire: &KubeletConfiguration) -> Option<SocketAddr> {
    let port: u16 = reader.number("healthzPort", wire.healthz_port, 10248);
    let text = wire.healthz_bind_address.as_deref().unwrap_or("127.0.0.1");
    let address = reader.address("healthzBindAddress", text)?;
    (port != 0).then_some(SocketAddr::new(address, port))
}

/// Serial by default; `maxParallelImagePulls` counts only when pulls are not serial (v1.36).
fn image_pulls(
    reader: &mut Reader,
    wire: &KubeletConfiguration,
    providers: Vec<CredentialProvider>,
) -> ImagePulls {
    let limit = wire.max_parallel_image_pulls;
    if limit.is_some_and(|limit| limit < 1) {
        reader.problems.push("maxParallelImagePulls: must be a positive number".to_owned());
    }
    let serial = wire.serialize_image_pulls.unwrap_or(limit.is_none_or(|limit| limit < 2));
    if serial && limit.is_some_and(|limit| limit > 1) {
        reader.problems.push(
            "maxParallelImagePulls: cannot be above 1 while serializeImagePulls is true".to_owned(),
        );
    }
    let parallel = match limit {
        _ if serial => Some(1),
        None => None,
        Some(limit) => Some(reader.number("maxParallelImagePulls", Some(limit), 1)),
    };
    ImagePulls { parallel, verification: verification(reader, wire), providers }
}

/// `NeverVerifyPreloadedImages` by default (v1.36).
fn verification(reader: &mut Reader, wire: &KubeletConfiguration) -> VerificationPolicy {
    const LIST: &str = "preloadedImagesVerificationAllowlist";
    let list = wire.preloaded_images_verification_allowlist.clone().unwrap_or_default();
    let policy = match wire.image_pull_credentials_verification_policy.as_deref() {
        None | Some("" | "NeverVerifyPreloadedImages") => {
            VerificationPolicy::NeverVerifyPreloadedImages
        }
        Some("NeverVerify") => VerificationPolicy::NeverVerify,
        Some("AlwaysVerify") => VerificationPolicy::AlwaysVerify,
        Some("NeverVerifyAllowlistedImages") => {
            for pattern in &list {
                let name = pattern.strip_suffix("/*").unwrap_or(pattern);
                let image = ImageReference::parse(name);
                let is_whole = image.is_ok_and(|image| {
                    image.domain.is_some() && image.tag.is_none() && image.digest.is_none()
                });
                // A registry alone may stand before the wildcard.
                let is_registry = name != pattern && !name.is_empty() && !name.contains('/');
                if !is_whole && !is_registry {
                    reader.problems.push(format!(
                        "{LIST}: \"{pattern}\" is no image name with a registry and without tag and digest, nor the beginning of one followed by /*"
                    ));
                }
            }
            return VerificationPolicy::NeverVerifyAllowlistedImages(list);
        }
        Some(other) => {
            reader.problems.push(format!(
                "imagePullCredentialsVerificationPolicy: \"{other}\" is none of NeverVerify, NeverVerifyPreloadedImages, NeverVerifyAllowlistedImages, AlwaysVerify"
            ));
            VerificationPolicy::default()
        }
    };
    if !list.is_empty() {
        reader.problems.push(format!(
            "{LIST}: may be set only with imagePullCredentialsVerificationPolicy NeverVerifyAllowlistedImages"
        ));
    }
    policy
}

fn cadence(reader: &mut Reader, wire: &KubeletConfiguration) -> Cadence {
    let seconds = Duration::from_secs;
    let update = reader.duration(
        "nodeStatusUpdateFrequency",
        wire.node_status_update_frequency.as_ref(),
        seconds(10),
    );
    let report_default =
        if wire.node_status_update_frequency.is_some() { update } else { seconds(300) };
    let back_off = wire.crash_loop_back_off.as_ref();
    let restart = back_off.and_then(|back_off| back_off.max_container_restart_period.as_ref());
    let lease: u32 =
        reader.number("nodeLeaseDurationSeconds", wire.node_lease_duration_seconds, 40);
    if lease == 0 {
        reader.problems.push("nodeLeaseDurationSeconds: must be above 0".to_owned());
    }
    Cadence {
        sync: reader.duration("syncFrequency", wire.sync_frequency.as_ref(), seconds(60)),
        node_status_update: update,
        node_status_report: reader.duration(
            "nodeStatusReportFrequency",
            wire.node_status_report_frequency.as_ref(),
            report_default,
        ),
        lease_duration: seconds(lease.into()),
        runtime_request: reader.duration(
            "runtimeRequestTimeout",
            wire.runtime_request_timeout.as_ref(),
            seconds(120),
        ),
        file_check: reader.duration(
            "fileCheckFrequency",
            wire.file_check_frequency.as_ref(),
            seconds(20),
        ),
        http_check: reader.duration(
            "httpCheckFrequency",
            wire.http_check_frequency.as_ref(),
            seconds(20),
        ),
        max_container_restart: reader
            .duration("crashLoopBackOff.maxContainerRestartPeriod", restart, seconds(300))
            .clamp(seconds(1), seconds(300)),
    }
}

/// Event 50/100 and registry 5/10 per second and burst (v1.36).
fn limits(reader: &mut Reader, wire: &KubeletConfiguration) -> Limits {
    Limits {
        event_qps: reader.number("eventRecordQPS", wire.event_record_qps, 50),
        event_burst: reader.number("eventBurst", wire.event_burst, 100),
        registry_qps: reader.number("registryPullQPS", wire.registry_pull_qps, 5),
        registry_burst: reader.number("registryBurst", wire.registry_burst, 10),
    }
}

fn cgroups(reader: &mut Reader, wire: &KubeletConfiguration) -> CgroupConfig {
    let driver = match wire.cgroup_driver.as_deref() {
        None | Some("" | "cgroupfs") => CgroupDriver::Cgroupfs,
        Some("systemd") => CgroupDriver::Systemd,
        Some(other) => {
            reader
                .problems
                .push(format!("cgroupDriver: \"{other}\" is neither cgroupfs nor systemd"));
            CgroupDriver::Cgroupfs
        }
    };
    if wire.cgroups_per_qos == Some(false) {
        reader.problems.push("cgroupsPerQOS: false is not supported; remove the field".to_owned());
    }
    let mut enforce_pods = wire.enforce_node_allocatable.is_none();
    for part in wire.enforce_node_allocatable.iter().flatten() {
        match part.as_str() {
            "pods" => enforce_pods = true,
            "none" | "" => {}
            other => reader.problems.push(format!(
                "enforceNodeAllocatable: \"{other}\" is not supported, only \"pods\" and \"none\" are"
            )),
        }
    }
    let period = reader.duration(
        "cpuCFSQuotaPeriod",
        wire.cpu_cfs_quota_period.as_ref(),
        Duration::from_millis(100),
    );
    if !(Duration::from_millis(1)..=Duration::from_secs(1)).contains(&period) {
        reader.problems.push("cpuCFSQuotaPeriod: must lie between 1ms and 1s".to_owned());
    }
    CgroupConfig {
        driver,
        root: path(wire.cgroup_root.as_ref()).unwrap_or_else(|| "/".into()),
        fail_on_v1: wire.fail_cgroup_v1.unwrap_or(true),
        fail_on_swap: wire.fail_swap_on.unwrap_or(true),
        enforce_pods,
        cpu_cfs_quota: wire.cpu_cfs_quota.unwrap_or(true),
        cpu_cfs_quota_period: period,
        pod_pids_limit: wire.pod_pids_limit.unwrap_or(-1),
        protect_kernel_defaults: wire.protect_kernel_defaults.unwrap_or(false),
        oom_score_adj: reader.number("oomScoreAdj", wire.oom_score_adj, -999),
    }
}

fn node(reader: &mut Reader, wire: KubeletConfiguration, around: Surroundings) -> NodeConfig {
    let taints = wire.register_with_taints.unwrap_or_default();
    for taint in &taints {
        if taint.key.is_empty() || !is_taint_effect(&taint.effect) {
            reader.problems.push(format!(
                "registerWithTaints: \"{}={}:{}\" needs a key and one of the effects NoSchedule, PreferNoSchedule, NoExecute",
                taint.key, taint.value, taint.effect
            ));
        }
    }
    NodeConfig {
        register: wire.register_node.unwrap_or(true),
        labels: around.node_labels,
        taints: taints.into_iter().map(taint).collect(),
        provider_id: wire.provider_id.unwrap_or_default(),
        external_cloud_provider: around.external_cloud_provider,
        max_pods: reader.number("maxPods", wire.max_pods, 110),
        pods_per_core: reader.number("podsPerCore", wire.pods_per_core, 0),
        status_max_images: reader.number("nodeStatusMaxImages", wire.node_status_max_images, 50),
        kube_reserved: reader.quantities("kubeReserved", wire.kube_reserved),
        system_reserved: reader.quantities("systemReserved", wire.system_reserved),
        eviction_hard: eviction_hard(
            wire.eviction_hard,
            wire.merge_default_eviction_settings.unwrap_or(false),
        ),
    }
}

fn taint(taint: WireTaint) -> Taint {
    Taint { key: taint.key, value: taint.value, effect: taint.effect }
}

fn is_taint_effect(effect: &str) -> bool {
    matches!(effect, "NoSchedule" | "PreferNoSchedule" | "NoExecute")
}

/// The hard thresholds. Setting any signal replaces the whole default set, unless the defaults are
/// asked to be merged (v1.36).
fn eviction_hard(set: Option<BTreeMap<String, String>>, merge: bool) -> BTreeMap<String, String> {
    let defaults = [
        ("memory.available", "100Mi"),
        ("nodefs.available", "10%"),
        ("nodefs.inodesFree", "5%"),
        ("imagefs.available", "15%"),
        ("imagefs.inodesFree", "5%"),
    ];
    let defaults = defaults.into_iter().map(|(signal, text)| (signal.to_owned(), text.to_owned()));
    match set {
        None => defaults.collect(),
        Some(set) if set.is_empty() => set,
        Some(set) if merge => defaults.chain(set).collect(),
        Some(set) => set,
    }
}
