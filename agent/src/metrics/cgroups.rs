//! Work on cgroups.

use std::time::Duration;

use prometheus::{Gauge, HistogramVec};

use super::register::{Register, unseen};
use super::{DEFAULT_BUCKETS, seconds};

/// What is done with a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupOperation {
    Create,
    Update,
    Destroy,
}

/// Work on cgroups. Cheap to clone.
#[derive(Clone)]
pub struct CgroupMetrics {
    duration: HistogramVec,
    version: Gauge,
}

unseen!(CgroupMetrics);

impl CgroupMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            duration: register.histograms(
                "kubelet_cgroup_manager_duration_seconds",
                "Seconds that work on a cgroup took, by operation",
                &DEFAULT_BUCKETS,
                &["operation_type"],
            ),
            version: register
                .gauge("kubelet_cgroup_version", "Version of this machine's cgroups, 1 or 2"),
        }
    }

    /// Work on a cgroup took so long.
    pub fn worked(&self, operation: CgroupOperation, took: Duration) {
        let label = match operation {
            CgroupOperation::Create => "create",
            CgroupOperation::Update => "update",
            CgroupOperation::Destroy => "destroy",
        };
        self.duration.with_label_values(&[label]).observe(seconds(took));
    }

    /// The machine's version of cgroups.
    pub fn version(&self, version: u8) {
        self.version.set(version.into());
    }
}
