//! noded's configuration: validated once at start, then immutable.
//!
//! **Reads**: flags, the KubeletConfiguration and KubeProxyConfiguration files.
//! **Invariants**: nothing is guessed from a bad value; all problems are reported together.
//! **Source**: Kubernetes v1.36; precedence flag, file, default.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::admission::AllowedSysctls;
use crate::boundary::CgroupDriver;

pub use certificates::CertificateConfig;
pub use container_logs::LogRotation;
pub use credential_providers::{CredentialProvider, TokenAttributes, TokenCache};
pub use pages::{Offered, PagesConfig, SystemLogs};
pub use server::{
    AuthenticationConfig, AuthorizationMode, CertificatePaths, Handlers, ServerConfig, TlsChoice,
};
pub use stats::StatsConfig;

pub mod certificates;
mod container_logs;
pub mod credential_providers;
pub mod effective;
pub mod file;
pub mod load;
mod pages;
pub mod proxy;
pub mod resolve;
pub mod server;
mod stats;
mod user_namespaces;
pub mod wire;

/// What the kubelet part runs with.
#[derive(Clone, Debug, PartialEq)]
pub struct AgentConfig {
    /// Name of the Node: `--hostname-override` or the host name, lower case.
    pub node_name: String,
    /// `--node-ip`; empty means find it, two are a dual-stack pair.
    pub node_ips: Vec<IpAddr>,
    /// `--root-dir`, default `/var/lib/kubelet`.
    pub root_dir: PathBuf,
    /// `None` is standalone mode.
    pub kubeconfig: Option<PathBuf>,
    pub runtime_endpoint: String,
    pub image_endpoint: String,
    /// `--pod-manifest-path` or `staticPodPath`.
    pub static_pod_path: Option<PathBuf>,
    /// `--manifest-url` or `staticPodURL`, with its headers.
    pub static_pod_url: Option<StaticPodUrl>,
    /// `podLogsDir`, default `/var/log/pods`.
    pub pod_logs_dir: PathBuf,
    /// `/var/log/containers`, the flat links to the pods' logs.
    pub container_logs_dir: PathBuf,
    pub dns: DnsConfig,
    pub node: NodeConfig,
    pub cgroups: CgroupConfig,
    pub cadence: Cadence,
    pub limits: Limits,
    pub healthz: Option<std::net::SocketAddr>,
    /// Port the kubelet server answers on, published as daemon endpoint; default 10250.
    pub port: u16,
    pub server: ServerConfig,
    /// `status.nodeInfo.kubeletVersion`, e.g. `v1.36.3`.
    pub kubelet_version: String,
    pub image_pulls: ImagePulls,
    pub seccomp_default: bool,
    /// `userNamespaces.idsPerPod`: ids in the user namespace of a pod, a multiple of 65536.
    pub ids_per_pod: u32,
    /// The safe ones and `allowedUnsafeSysctls`.
    pub allowed_sysctls: AllowedSysctls,
    pub dead_containers: DeadContainers,
    pub certificates: CertificateConfig,
    pub pages: PagesConfig,
    pub stats: StatsConfig,
    /// The KubeletConfiguration with all defaults, as `/configz` shows it.
    pub effective: serde_json::Value,
    pub log_rotation: LogRotation,
}

/// How many containers that have ended are kept, for their logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeadContainers {
    /// `--minimum-container-ttl-duration`: younger ones are kept; 0 by default.
    pub min_age: Duration,
    /// `--maximum-dead-containers-per-container`, 1 by default; `None` is no limit.
    pub per_container: Option<u32>,
    /// `--maximum-dead-containers` of all pods; `None`, the default, is no limit.
    pub total: Option<u32>,
}

impl Default for DeadContainers {
    fn default() -> Self {
        Self { min_age: Duration::ZERO, per_container: Some(1), total: None }
    }
}

/// A URL that names static pods. Not shown in full: it and its headers may hold secrets.
#[derive(Clone, PartialEq)]
pub struct StaticPodUrl {
    pub url: reqwest::Url,
    pub headers: http::HeaderMap,
}

impl fmt::Debug for StaticPodUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticPodUrl").field("host", &self.url.host_str()).finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct DnsConfig {
    pub cluster_dns: Vec<IpAddr>,
    /// Empty means no cluster domain is searched.
    pub cluster_domain: String,
    /// `resolvConf`, default `/etc/resolv.conf`; `None` when set empty.
    pub resolv_conf: Option<PathBuf>,
}

/// A taint as `--register-with-taints` or the file gives it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    pub key: String,
    pub value: String,
    pub effect: String,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeConfig {
    pub register: bool,
    pub labels: BTreeMap<String, String>,
    pub taints: Vec<Taint>,
    pub provider_id: String,
    /// `--cloud-provider=external`.
    pub external_cloud_provider: bool,
    pub max_pods: u32,
    pub pods_per_core: u32,
    /// At most so many images in the Node status; -1 is all. Default 50.
    pub status_max_images: i32,
    /// Resource name to quantity text.
    pub kube_reserved: BTreeMap<String, String>,
    pub system_reserved: BTreeMap<String, String>,
    /// Signal to threshold text, e.g. `memory.available` to `100Mi` or `10%`.
    pub eviction_hard: BTreeMap<String, String>,
}

#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a field of KubeletConfiguration")]
pub struct CgroupConfig {
    /// Used when the runtime does not tell; default cgroupfs.
    pub driver: CgroupDriver,
    /// Path below the cgroup mount that kubepods stands in; `/` by default.
    pub root: PathBuf,
    pub fail_on_v1: bool,
    pub fail_on_swap: bool,
    pub enforce_pods: bool,
    pub cpu_cfs_quota: bool,
    pub cpu_cfs_quota_period: Duration,
    /// -1 is no limit.
    pub pod_pids_limit: i64,
    pub protect_kernel_defaults: bool,
    pub oom_score_adj: i32,
}

/// How often things happen; defaults of kubelet v1.36.
#[derive(Clone, Debug, PartialEq)]
pub struct Cadence {
    /// Safety tick of a pod worker, 1 min.
    pub sync: Duration,
    pub node_status_update: Duration,
    pub node_status_report: Duration,
    pub lease_duration: Duration,
    /// Deadline of a plain runtime call, 2 min.
    pub runtime_request: Duration,
    /// Re-scan of the manifest directory, 20 s.
    pub file_check: Duration,
    /// Poll of the manifest URL, 20 s.
    pub http_check: Duration,
    pub max_container_restart: Duration,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    pub event_qps: u32,
    pub event_burst: u32,
    pub registry_qps: u32,
    pub registry_burst: u32,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ImagePulls {
    /// 1 when pulls are serial (the default); `None` is no limit.
    pub parallel: Option<u32>,
    pub verification: VerificationPolicy,
    /// `--image-credential-provider-config`, programs found and checked.
    pub providers: Vec<CredentialProvider>,
}

/// `imagePullCredentialsVerificationPolicy`: for which images that are present a pod must show a
/// credential.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum VerificationPolicy {
    NeverVerify,
    /// For those that a pull of the node agent brought.
    #[default]
    NeverVerifyPreloadedImages,
    /// For all but those of `preloadedImagesVerificationAllowlist`, by repository; an item that
    /// ends with `/*` stands for all below.
    NeverVerifyAllowlistedImages(Vec<String>),
    AlwaysVerify,
}
