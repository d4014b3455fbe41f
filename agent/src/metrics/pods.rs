//! The work on pods, and their starts.

use std::time::Duration;

use prometheus::{Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::register::{Register, unseen};
use super::startup::PodStarts;
use super::{DEFAULT_BUCKETS, exponential, seconds};

/// Buckets of the starts of pods, in seconds.
const START_BUCKETS: [f64; 25] = [
    0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 20.0, 30.0, 45.0, 60.0, 120.0, 180.0, 240.0,
    300.0, 360.0, 480.0, 600.0, 900.0, 1200.0, 1800.0, 2700.0, 3600.0,
];
const STATUS_BUCKETS: [f64; 11] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0];

/// Reasons of a refusal that are shown as they are; others would make the label endless.
const REJECTIONS: &[&str] = &[
    "AppArmor",
    "PodOSSelectorNodeLabelDoesNotMatch",
    "PodOSNotSupported",
    "InvalidNodeInfo",
    "InitContainerRestartPolicyForbidden",
    "SupplementalGroupsPolicyNotSupported",
    "UnexpectedAdmissionError",
    "UnknownReason",
    "UnexpectedPredicateFailureType",
    "OutOfcpu",
    "OutOfmemory",
    "OutOfephemeral-storage",
    "OutOfpods",
    "SysctlForbidden",
    "TopologyAffinityError",
    "NodeShutdown",
    "Evicted",
    "PodFeatureUnsupported",
    "PodLevelResourcesNotSupported",
    "VolumeAttachmentLimitExceeded",
    "node(s) had taints that the pod didn't tolerate",
];

/// What brought a turn of work on a pod about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncKind {
    /// The pod is new.
    Create,
    /// Its specification changed.
    Update,
    /// Anything else.
    Sync,
    /// It is to end.
    Kill,
    /// It has ended, and what it held is cleared.
    Terminated,
}

impl SyncKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Sync => "sync",
            Self::Kill => "kill",
            Self::Terminated => "terminated",
        }
    }
}

/// The work on pods. Cheap to clone.
#[derive(Clone)]
pub struct PodMetrics {
    pub starts: PodStarts,
    sync: HistogramVec,
    worker_start: Histogram,
    start: Histogram,
    start_sli: HistogramVec,
    start_total: HistogramVec,
    first_network_start: Gauge,
    status_sync: Histogram,
    containers_per_pod: Histogram,
    started: IntCounter,
    start_errors: IntCounter,
    own_users: IntCounter,
    own_users_errors: IntCounter,
    orphans: IntCounter,
    restarted: IntCounterVec,
    preemptions: IntCounterVec,
    rejections: IntCounterVec,
}

unseen!(PodMetrics);

impl PodMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            starts: PodStarts::default(),
            sync: register.histograms(
                "kubelet_pod_worker_duration_seconds",
                "Seconds that work on a pod took, from what brought it about to its last step",
                &DEFAULT_BUCKETS,
                &["operation_type"],
            ),
            worker_start: register.histogram(
                "kubelet_pod_worker_start_duration_seconds",
                "Seconds from seeing a pod to beginning with it",
                &DEFAULT_BUCKETS,
            ),
            start: register.histogram(
                "kubelet_pod_start_duration_seconds",
                "Seconds from seeing a pod to its phase Running",
                &START_BUCKETS,
            ),
            start_sli: register.histograms(
                "kubelet_pod_start_sli_duration_seconds",
                "Seconds from the creation of a pod until its containers run, without pulling \
                 images and running init containers",
                &START_BUCKETS,
                &[],
            ),
            start_total: register.histograms(
                "kubelet_pod_start_total_duration_seconds",
                "Seconds from the creation of a pod until its containers run",
                &START_BUCKETS,
                &[],
            ),
            first_network_start: register.gauge(
                "kubelet_first_network_pod_start_sli_duration_seconds",
                "Seconds that the first pod with a network of its own took, as in \
                 kubelet_pod_start_sli_duration_seconds",
            ),
            status_sync: register.histogram(
                "kubelet_pod_status_sync_duration_seconds",
                "Seconds from a change of a pod's status until the API server has it",
                &STATUS_BUCKETS,
            ),
            containers_per_pod: register.histogram(
                "kubelet_containers_per_pod_count",
                "Containers of each pod that was begun with",
                &exponential(1.0, 2.0, 5),
            ),
            started: register.counter("kubelet_started_pods_total", "Sandboxes begun to be made"),
            start_errors: register
                .counter("kubelet_started_pods_errors_total", "Sandboxes that could not be made"),
            own_users: register.counter(
                "kubelet_started_user_namespaced_pods_total",
                "Sandboxes with a user namespace of their own begun to be made",
            ),
            own_users_errors: register.counter(
                "kubelet_started_user_namespaced_pods_errors_total",
                "Sandboxes with a user namespace of their own that could not be made",
            ),
            orphans: register.counter(
                "kubelet_orphaned_runtime_pods_total",
                "Pods found in the runtime that nobody wants",
            ),
            restarted: register.counters(
                "kubelet_restarted_pods_total",
                "Pods that came back with the same UID",
                &["static"],
            ),
            preemptions: register.counters(
                "kubelet_preemptions",
                "Pods ended for a critical one, by the resource that was short",
                &["preemption_signal"],
            ),
            rejections: register.counters(
                "kubelet_admission_rejections_total",
                "Pods refused by this node, by reason",
                &["reason"],
            ),
        }
    }

    /// Work on a pod ended after so long.
    pub fn synced(&self, kind: SyncKind, took: Duration) {
        self.sync.with_label_values(&[kind.as_str()]).observe(seconds(took));
    }

    /// A pod with so many containers is begun with, so long after it was seen.
    pub fn begun(&self, containers: usize, waited: Duration) {
        self.containers_per_pod.observe(containers as f64);
        self.worker_start.observe(seconds(waited));
    }

    /// A pod runs, so long after it was seen.
    pub fn running(&self, since_seen: Duration) {
        self.start.observe(seconds(since_seen));
    }

    /// All containers of a pod run, so long after its creation. `sli` is the same without what
    /// does not count against a node, where the pod is one whose start is judged.
    pub fn started(&self, total: Duration, sli: Option<Duration>, has_network: bool) {
        let none: &[&str] = &[];
        self.start_total.with_label_values(none).observe(seconds(total));
        let Some(sli) = sli else { return };
        self.start_sli.with_label_values(none).observe(seconds(sli));
        if has_network && self.first_network_start.get() == 0.0 {
            self.first_network_start.set(seconds(sli));
        }
    }

    /// A status is in the API so long after it changed.
    pub fn status_written(&self, took: Duration) {
        self.status_sync.observe(seconds(took));
    }

    /// A sandbox is about to be made, with a user namespace of its own or not.
    pub fn sandbox_begun(&self, own_users: bool) {
        self.started.inc();
        if own_users {
            self.own_users.inc();
        }
    }

    /// A sandbox could not be made.
    pub fn sandbox_failed(&self, own_users: bool) {
        self.start_errors.inc();
        if own_users {
            self.own_users_errors.inc();
        }
    }

    /// The runtime has a pod that nobody wants.
    pub fn orphan_found(&self) {
        self.orphans.inc();
    }

    /// A pod that had ended came back with the same UID.
    pub fn restarted(&self, is_static: bool) {
        self.restarted.with_label_values(&[static_label(is_static)]).inc();
    }

    /// A pod was told to make room; `resource` is what was short first.
    pub fn preempted(&self, resource: &str) {
        self.preemptions.with_label_values(&[resource]).inc();
    }

    /// A pod was refused for this reason.
    pub fn rejected(&self, reason: &str) {
        let label = match reason {
            known if REJECTIONS.contains(&known) => known,
            resource if resource.starts_with("OutOf") => "OutOfExtendedResources",
            _ => "Other",
        };
        self.rejections.with_label_values(&[label]).inc();
    }
}

/// The kubelet's way to say it: `true`, or nothing at all.
pub(super) fn static_label(is_static: bool) -> &'static str {
    if is_static { "true" } else { "" }
}
