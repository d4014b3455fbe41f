//! noded's configuration: validated once at start, then immutable.
//!
//! **Reads**: flags, the KubeletConfiguration and KubeProxyConfiguration files.
//! **Invariants**: nothing is guessed from a bad value; all problems are reported together.
//! **Source**: Kubernetes v1.36; precedence flag, file, default.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::boundary::CgroupDriver;

pub mod file;
pub mod load;
pub mod proxy;
pub mod resolve;
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
    /// `status.nodeInfo.kubeletVersion`, e.g. `v1.36.3`.
    pub kubelet_version: String,
    pub image_pulls: ImagePulls,
    pub seccomp_default: bool,
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
    pub file_check: Duration,
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
}
