//! KubeletConfiguration v1beta1 as the file spells it.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::server::{WireAuthentication, WireAuthorization};

/// Every field of KubeletConfiguration v1beta1 (v1.36). A field noded does not act on yet is kept
/// as it came in `unused`; the reader refuses what is not in [`UNUSED_FIELDS`] there.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KubeletConfiguration {
    pub kind: Option<String>,
    pub api_version: Option<String>,

    pub static_pod_path: Option<String>,
    pub pod_logs_dir: Option<String>,
    pub sync_frequency: Option<String>,
    pub file_check_frequency: Option<String>,
    #[serde(rename = "staticPodURL")]
    pub static_pod_url: Option<String>,
    #[serde(rename = "staticPodURLHeader")]
    pub static_pod_url_header: Option<BTreeMap<String, Vec<String>>>,
    pub http_check_frequency: Option<String>,
    pub enable_server: Option<bool>,
    pub address: Option<String>,
    pub port: Option<i64>,
    pub read_only_port: Option<i64>,
    pub tls_cert_file: Option<String>,
    pub tls_private_key_file: Option<String>,
    pub tls_cipher_suites: Option<Vec<String>>,
    pub tls_min_version: Option<String>,
    pub tls_curve_preferences: Option<Vec<i64>>,
    pub authentication: Option<WireAuthentication>,
    pub authorization: Option<WireAuthorization>,
    pub enable_debugging_handlers: Option<bool>,
    #[serde(rename = "eventRecordQPS")]
    pub event_record_qps: Option<i64>,
    pub event_burst: Option<i64>,
    #[serde(rename = "registryPullQPS")]
    pub registry_pull_qps: Option<i64>,
    pub registry_burst: Option<i64>,
    pub healthz_port: Option<i64>,
    pub healthz_bind_address: Option<String>,
    pub oom_score_adj: Option<i64>,
    pub cluster_domain: Option<String>,
    #[serde(rename = "clusterDNS")]
    pub cluster_dns: Option<Vec<String>>,
    pub node_status_update_frequency: Option<String>,
    pub node_status_report_frequency: Option<String>,
    pub node_lease_duration_seconds: Option<i64>,
    pub cgroup_root: Option<String>,
    #[serde(rename = "cgroupsPerQOS")]
    pub cgroups_per_qos: Option<bool>,
    pub cgroup_driver: Option<String>,
    pub runtime_request_timeout: Option<String>,
    pub max_pods: Option<i64>,
    pub pod_pids_limit: Option<i64>,
    pub resolv_conf: Option<String>,
    #[serde(rename = "cpuCFSQuota")]
    pub cpu_cfs_quota: Option<bool>,
    #[serde(rename = "cpuCFSQuotaPeriod")]
    pub cpu_cfs_quota_period: Option<String>,
    pub node_status_max_images: Option<i64>,
    pub serialize_image_pulls: Option<bool>,
    pub max_parallel_image_pulls: Option<i64>,
    pub image_pull_credentials_verification_policy: Option<String>,
    pub preloaded_images_verification_allowlist: Option<Vec<String>>,
    pub eviction_hard: Option<BTreeMap<String, String>>,
    pub merge_default_eviction_settings: Option<bool>,
    pub pods_per_core: Option<i64>,
    pub protect_kernel_defaults: Option<bool>,
    pub fail_swap_on: Option<bool>,
    pub system_reserved: Option<BTreeMap<String, String>>,
    pub kube_reserved: Option<BTreeMap<String, String>>,
    pub enforce_node_allocatable: Option<Vec<String>>,
    #[serde(rename = "providerID")]
    pub provider_id: Option<String>,
    pub crash_loop_back_off: Option<CrashLoopBackOff>,
    pub seccomp_default: Option<bool>,
    pub register_with_taints: Option<Vec<WireTaint>>,
    pub register_node: Option<bool>,
    pub container_runtime_endpoint: Option<String>,
    pub image_service_endpoint: Option<String>,
    pub fail_cgroup_v1: Option<bool>,
    pub allowed_unsafe_sysctls: Option<Vec<String>>,
    pub rotate_certificates: Option<bool>,
    #[serde(rename = "serverTLSBootstrap")]
    pub server_tls_bootstrap: Option<bool>,

    pub user_namespaces: Option<WireUserNamespaces>,

    pub enable_system_log_handler: Option<bool>,
    pub enable_system_log_query: Option<bool>,
    pub enable_profiling_handler: Option<bool>,
    pub enable_debug_flags_handler: Option<bool>,
    pub feature_gates: Option<BTreeMap<String, bool>>,
    pub volume_stats_agg_period: Option<String>,

    pub container_log_max_size: Option<String>,
    pub container_log_max_files: Option<i64>,
    pub container_log_max_workers: Option<i64>,
    pub container_log_monitor_interval: Option<String>,

    #[serde(flatten)]
    pub unused: BTreeMap<String, Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CrashLoopBackOff {
    pub max_container_restart_period: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WireTaint {
    pub key: String,
    pub value: String,
    pub effect: String,
    pub time_added: Option<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct WireUserNamespaces {
    pub ids_per_pod: Option<i64>,
}

/// Fields of KubeletConfiguration v1beta1 (v1.36) that are accepted and have no effect here yet.
pub const UNUSED_FIELDS: &[&str] = &[
    "enableContentionProfiling",
    "streamingConnectionIdleTimeout",
    "imageMinimumGCAge",
    "imageMaximumGCAge",
    "imageGCHighThresholdPercent",
    "imageGCLowThresholdPercent",
    "kubeletCgroups",
    "systemCgroups",
    "cpuManagerPolicy",
    "cpuManagerPolicyOptions",
    "cpuManagerReconcilePeriod",
    "memoryManagerPolicy",
    "topologyManagerPolicy",
    "topologyManagerScope",
    "topologyManagerPolicyOptions",
    "qosReserved",
    "hairpinMode",
    "podCIDR",
    "runOnce",
    "maxOpenFiles",
    "contentType",
    "kubeAPIQPS",
    "kubeAPIBurst",
    "evictionSoft",
    "evictionSoftGracePeriod",
    "evictionPressureTransitionPeriod",
    "evictionMaxPodGracePeriod",
    "evictionMinimumReclaim",
    "enableControllerAttachDetach",
    "makeIPTablesUtilChains",
    "iptablesMasqueradeBit",
    "iptablesDropBit",
    "memorySwap",
    "configMapAndSecretChangeDetectionStrategy",
    "reservedSystemCPUs",
    "showHiddenMetricsForVersion",
    "systemReservedCgroup",
    "kubeReservedCgroup",
    "volumePluginDir",
    "kernelMemcgNotification",
    "logging",
    "shutdownGracePeriod",
    "shutdownGracePeriodCriticalPods",
    "shutdownGracePeriodByPodPriority",
    "reservedMemory",
    "memoryThrottlingFactor",
    "memoryReservationPolicy",
    "tracing",
    "localStorageCapacityIsolation",
    "singleProcessOOMKill",
];
