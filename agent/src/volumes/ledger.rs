//! What there is of the volumes of all pods, for those who count and measure.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::claims::{BoundSource, BoundVolume, ClaimName};
use super::layout;
use super::wanted::VolumeKind;
use crate::model::PodUid;

/// A claim whose volume is mounted for a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountedClaim {
    /// Name of the volume in the pod.
    pub volume: String,
    pub claim: ClaimName,
    /// Where it is mounted.
    pub path: PathBuf,
}

/// Mounted claims by pod.
pub type MountedClaims = HashMap<PodUid, Vec<MountedClaim>>;

/// How many volumes there are, by plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VolumeCounts {
    pub wanted: BTreeMap<&'static str, usize>,
    pub mounted: BTreeMap<&'static str, usize>,
}

/// One volume of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Noted {
    /// Name of the plugin that upstream has for it.
    pub plugin: &'static str,
    pub is_mounted: bool,
    /// Of a claim whose volume is mounted for the pod alone.
    pub claim: Option<MountedClaim>,
}

/// Volumes by pod and name. Cheap to clone; clones are one.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<HashMap<PodUid, BTreeMap<String, Noted>>>>);

impl Ledger {
    fn lock(&self) -> MutexGuard<'_, HashMap<PodUid, BTreeMap<String, Noted>>> {
        // The map is whole at every moment, so a panic elsewhere leaves it usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the newest state of a volume. One that was mounted stays so.
    pub fn note(&self, uid: &PodUid, volume: &str, noted: Noted) {
        let mut pods = self.lock();
        let volumes = pods.entry(uid.clone()).or_default();
        if noted.is_mounted || !volumes.get(volume).is_some_and(|known| known.is_mounted) {
            volumes.insert(volume.to_owned(), noted);
        }
    }

    /// Forgets the pod; returns the plugins of what was mounted.
    pub fn forget(&self, uid: &PodUid) -> Vec<&'static str> {
        let volumes = self.lock().remove(uid).unwrap_or_default();
        volumes.into_values().filter(|noted| noted.is_mounted).map(|noted| noted.plugin).collect()
    }

    pub fn claims(&self) -> MountedClaims {
        let mut claims = MountedClaims::new();
        for (uid, volumes) in self.lock().iter() {
            let of_pod: Vec<_> = volumes.values().filter_map(|noted| noted.claim.clone()).collect();
            if !of_pod.is_empty() {
                claims.insert(uid.clone(), of_pod);
            }
        }
        claims
    }

    pub fn counts(&self) -> VolumeCounts {
        let mut counts = VolumeCounts::default();
        for noted in self.lock().values().flat_map(BTreeMap::values) {
            *counts.wanted.entry(noted.plugin).or_default() += 1;
            if noted.is_mounted {
                *counts.mounted.entry(noted.plugin).or_default() += 1;
            }
        }
        counts
    }
}

/// The name of the plugin that makes such a volume (kubelet v1.36).
pub(super) fn plugin(kind: &VolumeKind, bound: Option<&BoundVolume>) -> &'static str {
    match kind {
        VolumeKind::Disk | VolumeKind::Memory { .. } | VolumeKind::HugePages { .. } => {
            "kubernetes.io/empty-dir"
        }
        VolumeKind::HostPath { .. } => "kubernetes.io/host-path",
        VolumeKind::Files(files) => match files.plugin {
            layout::CONFIG_MAP => "kubernetes.io/configmap",
            layout::SECRET => "kubernetes.io/secret",
            layout::DOWNWARD_API => "kubernetes.io/downward-api",
            _ => "kubernetes.io/projected",
        },
        VolumeKind::Claim(_) => match bound.map(|bound| &bound.source) {
            Some(BoundSource::Local { .. }) => "kubernetes.io/local-volume",
            Some(BoundSource::HostPath { .. }) => "kubernetes.io/host-path",
            None => "N/A",
        },
        VolumeKind::Unsupported => "N/A",
    }
}

#[cfg(test)]
mod tests;
