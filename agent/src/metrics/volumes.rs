//! Volumes: what is done with them, how many there are, how full claims are.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramVec, Registry};

use super::register::{Register, unseen};
use super::seconds;
use crate::boundary::FsUsage;
use crate::volumes::{ClaimName, VolumeCounts};

const BUCKETS: [f64; 13] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 25.0, 50.0, 120.0, 300.0, 600.0];

const CLAIM: &[&str] = &["namespace", "persistentvolumeclaim"];

/// How long a page waits for the file systems of claims; one that hangs is left out of it.
const PATIENCE: Duration = Duration::from_secs(5);

/// What there is of volumes at one moment.
#[derive(Clone, Debug, Default)]
pub struct VolumeFigures {
    pub counts: VolumeCounts,
    /// Of one claim that several pods use the first counts.
    pub claims: Vec<(ClaimName, FsUsage)>,
}

type Source = Arc<dyn Fn() -> VolumeFigures + Send + Sync>;

/// Operations and figures of volumes. Cheap to clone; clones are one.
#[derive(Clone)]
pub struct VolumeMetrics {
    operations: HistogramVec,
    source: Arc<OnceLock<Source>>,
    figures: Arc<Mutex<VolumeFigures>>,
    /// Held while somebody looks, so that a file system that hangs costs one thread.
    looking: Arc<tokio::sync::Mutex<()>>,
}

impl fmt::Debug for VolumeMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolumeMetrics").finish_non_exhaustive()
    }
}

unseen!(VolumeMetrics);

impl VolumeMetrics {
    pub(super) fn new(register: &Register<'_>) -> Self {
        Self {
            operations: register.histograms(
                "storage_operation_duration_seconds",
                "Seconds that work on a volume took, by plugin, operation and outcome",
                &BUCKETS,
                &["volume_plugin", "operation_name", "status", "migrated"],
            ),
            source: Arc::default(),
            figures: Arc::default(),
            looking: Arc::default(),
        }
    }

    /// Where the figures come from; may block. Only the first call counts.
    pub fn look_at(&self, source: impl Fn() -> VolumeFigures + Send + Sync + 'static) {
        let _ = self.source.set(Arc::new(source));
    }

    /// A volume of the plugin was mounted, or could not be, after so long.
    pub fn mounted(&self, plugin: &str, succeeded: bool, took: Duration) {
        self.operated(plugin, "volume_mount", succeeded, took);
    }

    /// A volume of the plugin was unmounted after so long.
    pub fn unmounted(&self, plugin: &str, took: Duration) {
        self.operated(plugin, "volume_unmount", true, took);
    }

    fn operated(&self, plugin: &str, operation: &str, succeeded: bool, took: Duration) {
        let status = if succeeded { "success" } else { "fail-unknown" };
        let labels = [plugin, operation, status, "false"];
        self.operations.with_label_values(&labels).observe(seconds(took));
    }

    /// Looks anew, for the next page. A file system that does not answer leaves the page with what
    /// was seen before.
    pub async fn refresh(&self) {
        let Some(source) = self.source.get().cloned() else { return };
        let Ok(alone) = Arc::clone(&self.looking).try_lock_owned() else { return };
        let look = tokio::task::spawn_blocking(move || {
            let seen = source();
            drop(alone);
            seen
        });
        if let Ok(Ok(seen)) = tokio::time::timeout(PATIENCE, look).await {
            *self.figures.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
    }

    /// The figures as they were last seen.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        let figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let registry = Registry::new();
        let register = Register(&registry);
        let total = register.gauges(
            "volume_manager_total_volumes",
            "How many volumes pods want, and how many of them are there, by plugin",
            &["plugin_name", "state"],
        );
        let state = |counts: &BTreeMap<&str, usize>, state: &str| {
            for (plugin, count) in counts {
                total.with_label_values(&[*plugin, state]).set(*count as f64);
            }
        };
        state(&figures.counts.mounted, "actual_state_of_world");
        state(&figures.counts.wanted, "desired_state_of_world");
        show_claims(&register, &figures.claims);
        registry.gather()
    }
}

fn show_claims(register: &Register<'_>, claims: &[(ClaimName, FsUsage)]) {
    type Figure = fn(&FsUsage) -> u64;
    let figures: [(&str, &str, Figure); 6] = [
        ("capacity_bytes", "Bytes that the volume of a claim has", |fs| fs.capacity),
        ("available_bytes", "Bytes that are free in the volume of a claim", |fs| fs.available),
        ("used_bytes", "Bytes that are used in the volume of a claim", |fs| fs.used),
        ("inodes", "Inodes that the volume of a claim has", |fs| fs.inodes),
        ("inodes_free", "Inodes that are free in the volume of a claim", |fs| fs.inodes_free),
        ("inodes_used", "Inodes that are used in the volume of a claim", |fs| {
            fs.inodes.saturating_sub(fs.inodes_free)
        }),
    ];
    for (name, help, figure) in figures {
        let gauges: GaugeVec =
            register.gauges(&format!("kubelet_volume_stats_{name}"), help, CLAIM);
        let mut shown = HashSet::new();
        for (claim, fs) in claims.iter().filter(|(claim, _)| shown.insert(claim.clone())) {
            let labels = [claim.namespace.as_str(), claim.name.as_str()];
            gauges.with_label_values(&labels).set(figure(fs) as f64);
        }
    }
}

#[cfg(test)]
mod tests;
