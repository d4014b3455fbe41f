//! Every published reason word, spelled once.
//!
//! Dashboards and scripts match on these, so they are the kubelet's own. Source: Kubernetes v1.36,
//! the file named above each group.

// pkg/kubelet/kuberuntime/kuberuntime_container.go, pkg/kubelet/container/sync_result.go
pub const CONTAINER_CREATING: &str = "ContainerCreating";
pub const POD_INITIALIZING: &str = "PodInitializing";
pub const CRASH_LOOP_BACK_OFF: &str = "CrashLoopBackOff";
pub const CREATE_CONTAINER_CONFIG_ERROR: &str = "CreateContainerConfigError";
pub const CREATE_CONTAINER_ERROR: &str = "CreateContainerError";
pub const RUN_CONTAINER_ERROR: &str = "RunContainerError";
pub const POST_START_HOOK_ERROR: &str = "PostStartHookError";

// pkg/kubelet/images/types.go
pub const ERR_IMAGE_PULL: &str = "ErrImagePull";
pub const IMAGE_PULL_BACK_OFF: &str = "ImagePullBackOff";
pub const IMAGE_INSPECT_ERROR: &str = "ImageInspectError";
pub const ERR_IMAGE_NEVER_PULL: &str = "ErrImageNeverPull";
pub const INVALID_IMAGE_NAME: &str = "InvalidImageName";
pub const REGISTRY_UNAVAILABLE: &str = "RegistryUnavailable";
pub const SIGNATURE_VALIDATION_FAILED: &str = "SignatureValidationFailed";

// pkg/kubelet/kubelet_pods.go, pkg/kubelet/status/status_manager.go
pub const COMPLETED: &str = "Completed";
pub const ERROR: &str = "Error";
pub const CONTAINER_STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

// pkg/kubelet/status/generate.go
pub const CONTAINERS_NOT_READY: &str = "ContainersNotReady";
pub const CONTAINERS_NOT_INITIALIZED: &str = "ContainersNotInitialized";
pub const POD_COMPLETED: &str = "PodCompleted";
pub const POD_FAILED: &str = "PodFailed";
pub const READINESS_GATES_NOT_READY: &str = "ReadinessGatesNotReady";

// pkg/apis/core/types.go
pub const TERMINATION_BY_KUBELET: &str = "TerminationByKubelet";

// pkg/kubelet/kubelet.go
pub const DEADLINE_EXCEEDED: &str = "DeadlineExceeded";

// pkg/kubelet/events/event.go
pub mod event {
    pub const CREATED: &str = "Created";
    pub const STARTED: &str = "Started";
    pub const FAILED: &str = "Failed";
    pub const KILLING: &str = "Killing";
    pub const FAILED_POST_START_HOOK: &str = "FailedPostStartHook";
    pub const FAILED_PRE_STOP_HOOK: &str = "FailedPreStopHook";
    pub const BACK_OFF: &str = "BackOff";
    pub const PULLING: &str = "Pulling";
    pub const PULLED: &str = "Pulled";
    pub const INSPECT_FAILED: &str = "InspectFailed";
    pub const FAILED_TO_RETRIEVE_PULL_SECRET: &str = "FailedToRetrieveImagePullSecret";
    pub const SANDBOX_CHANGED: &str = "SandboxChanged";
    pub const FAILED_CREATE_POD_SANDBOX: &str = "FailedCreatePodSandBox";
    pub const FAILED_KILL_POD: &str = "FailedKillPod";
    pub const FAILED_SYNC: &str = "FailedSync";
    pub const FAILED_MOUNT: &str = "FailedMount";
    pub const VOLUME_PERMISSION_CHANGE_IN_PROGRESS: &str = "VolumePermissionChangeInProgress";
    pub const ALREADY_MOUNTED_VOLUME: &str = "AlreadyMountedVolume";
    pub const NETWORK_NOT_READY: &str = "NetworkNotReady";
    pub const PREEMPTING: &str = "Preempting";
    pub const DNS_CONFIG_FORMING: &str = "DNSConfigForming";
    pub const UNHEALTHY: &str = "Unhealthy";
    pub const PROBE_WARNING: &str = "ProbeWarning";
    pub const MISSING_CLUSTER_DNS: &str = "MissingClusterDNS";

    // pkg/kubelet/lifecycle/handlers.go
    pub const LIFECYCLE_HTTP_FALLBACK: &str = "LifecycleHTTPFallback";
}

// pkg/kubelet/lifecycle/predicate.go and the scheduler's plugin names
pub mod admission {
    use std::collections::BTreeSet;
    use std::sync::{Mutex, PoisonError};

    pub const OUT_OF_CPU: &str = "OutOfcpu";
    pub const OUT_OF_MEMORY: &str = "OutOfmemory";
    pub const OUT_OF_EPHEMERAL_STORAGE: &str = "OutOfephemeral-storage";
    pub const OUT_OF_PODS: &str = "OutOfpods";
    pub const NODE_AFFINITY: &str = "NodeAffinity";
    pub const NODE_NAME: &str = "NodeName";
    pub const NODE_PORTS: &str = "NodePorts";
    pub const TAINT_TOLERATION: &str = "TaintToleration";
    pub const POD_OS_NOT_SUPPORTED: &str = "PodOSNotSupported";
    pub const POD_OS_SELECTOR_NODE_LABEL_DOES_NOT_MATCH: &str =
        "PodOSSelectorNodeLabelDoesNotMatch";
    pub const APP_ARMOR: &str = "AppArmor";
    pub const EVICTED: &str = "Evicted";
    pub const SYSCTL_FORBIDDEN: &str = "SysctlForbidden";
    pub const POD_FEATURE_UNSUPPORTED: &str = "PodFeatureUnsupported";
    pub const SUPPLEMENTAL_GROUPS_POLICY_NOT_SUPPORTED: &str =
        "SupplementalGroupsPolicyNotSupported";
    pub const UNEXPECTED_ADMISSION_ERROR: &str = "UnexpectedAdmissionError";

    const ALL: [&str; 16] = [
        OUT_OF_CPU,
        OUT_OF_MEMORY,
        OUT_OF_EPHEMERAL_STORAGE,
        OUT_OF_PODS,
        NODE_AFFINITY,
        NODE_NAME,
        NODE_PORTS,
        TAINT_TOLERATION,
        POD_OS_NOT_SUPPORTED,
        POD_OS_SELECTOR_NODE_LABEL_DOES_NOT_MATCH,
        SYSCTL_FORBIDDEN,
        POD_FEATURE_UNSUPPORTED,
        SUPPLEMENTAL_GROUPS_POLICY_NOT_SUPPORTED,
        UNEXPECTED_ADMISSION_ERROR,
        APP_ARMOR,
        EVICTED,
    ];

    /// Reasons that are made from the names of resources.
    static COINED: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

    /// The reason with this text, which events need as a constant. A text that is not listed names
    /// a resource that the Node advertises, of which there are few, so that each can be kept for
    /// good.
    pub fn known(text: &str) -> &'static str {
        if let Some(listed) = ALL.into_iter().find(|reason| *reason == text) {
            return listed;
        }
        let mut coined = COINED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = coined.get(text) {
            return reason;
        }
        let reason: &'static str = String::leak(text.to_owned());
        coined.insert(reason);
        reason
    }
}

// pkg/kubelet/kubelet_node_status.go, pkg/kubelet/nodestatus/setters.go: condition reasons
pub mod node_condition {
    pub const KUBELET_READY: &str = "KubeletReady";
    pub const KUBELET_NOT_READY: &str = "KubeletNotReady";
    pub const HAS_SUFFICIENT_MEMORY: &str = "KubeletHasSufficientMemory";
    pub const HAS_INSUFFICIENT_MEMORY: &str = "KubeletHasInsufficientMemory";
    pub const HAS_NO_DISK_PRESSURE: &str = "KubeletHasNoDiskPressure";
    pub const HAS_DISK_PRESSURE: &str = "KubeletHasDiskPressure";
    pub const HAS_SUFFICIENT_PID: &str = "KubeletHasSufficientPID";
    pub const HAS_INSUFFICIENT_PID: &str = "KubeletHasInsufficientPID";
}

// pkg/kubelet/events/event.go and pkg/kubelet/nodestatus/setters.go: events on the Node
pub mod node_event {
    pub const STARTING: &str = "Starting";
    pub const REBOOTED: &str = "Rebooted";
    pub const NODE_READY: &str = "NodeReady";
    pub const NODE_NOT_READY: &str = "NodeNotReady";
    pub const NODE_SCHEDULABLE: &str = "NodeSchedulable";
    pub const NODE_NOT_SCHEDULABLE: &str = "NodeNotSchedulable";
    pub const NODE_HAS_SUFFICIENT_MEMORY: &str = "NodeHasSufficientMemory";
    pub const NODE_HAS_INSUFFICIENT_MEMORY: &str = "NodeHasInsufficientMemory";
    pub const NODE_HAS_NO_DISK_PRESSURE: &str = "NodeHasNoDiskPressure";
    pub const NODE_HAS_DISK_PRESSURE: &str = "NodeHasDiskPressure";
    pub const NODE_HAS_SUFFICIENT_PID: &str = "NodeHasSufficientPID";
    pub const NODE_HAS_INSUFFICIENT_PID: &str = "NodeHasInsufficientPID";
    pub const CONTAINER_GC_FAILED: &str = "ContainerGCFailed";
    pub const NODE_ALLOCATABLE_ENFORCED: &str = "NodeAllocatableEnforced";
    pub const FAILED_NODE_ALLOCATABLE_ENFORCEMENT: &str = "FailedNodeAllocatableEnforcement";
}

// cmd/kube-proxy/app/server.go and pkg/proxy/healthcheck: events of the proxy
pub mod proxy_event {
    pub const STARTING: &str = "Starting";
    pub const FAILED_TO_START_PROXIER_HEALTHCHECK: &str = "FailedToStartProxierHealthcheck";
    pub const FAILED_TO_START_METRIC_SERVER: &str = "FailedToStartMetricServer";
    pub const FAILED_TO_START_SERVICE_HEALTHCHECK: &str = "FailedToStartServiceHealthcheck";

    // kube-proxy has no words for these.
    pub const SERVICE_RULES_REFUSED: &str = "ServiceRulesRefused";
    pub const SERVICE_PORT_CONFLICT: &str = "ServicePortConflict";
    pub const OTHER_IPTABLES_IN_USE: &str = "OtherIptablesInUse";
}
