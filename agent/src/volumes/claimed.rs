//! From the claims of a pod to what is mounted for it.

use std::sync::Arc;
use std::time::Duration;

use super::claims::{self, BoundSource, BoundVolume, ClaimError, ClaimProblem};
use super::handle::VolumesHandle;
use super::layout::{PodLayout, pods_dir};
use super::ledger::{self, MountedClaim, MountedClaims, Noted, VolumeCounts};
use super::local::LocalMount;
use super::projected;
use super::setup::PreparedVolume;
use super::types::{MountedVolume, SetUpCause, SetUpFailure};
use super::wanted::{ClaimVolume, VolumeKind, WantedVolume};
use crate::model::{Pod, PodUid};

impl VolumesHandle {
    /// Claims whose volumes are mounted for pods alone, by pod.
    pub fn claims(&self) -> MountedClaims {
        self.shared.ledger.claims()
    }

    /// How many volumes there are.
    pub fn counts(&self) -> VolumeCounts {
        self.shared.ledger.counts()
    }

    /// What is behind the volume's claim; `None` for one that is no claim. Asks the API server each
    /// time, which tells a node of no change of claims.
    pub(super) async fn bound(
        &self,
        pod: &Pod,
        wanted: &WantedVolume,
    ) -> Result<Option<BoundVolume>, SetUpCause> {
        let VolumeKind::Claim(claim) = &wanted.kind else { return Ok(None) };
        self.bound_to(pod, &wanted.name, claim).await.map(Some)
    }

    async fn bound_to(
        &self,
        pod: &Pod,
        volume: &str,
        wanted: &ClaimVolume,
    ) -> Result<BoundVolume, SetUpCause> {
        let api = &self.shared.deps.api;
        let name = claims::claim_name(pod, wanted);
        let problem = |problem| ClaimError::Processing(name.clone(), problem);
        let claim = api.get_claim(&name.namespace, &name.name).await;
        let claim = claim.map_err(|error| problem(ClaimProblem::NoClaim(error)))?;
        let bound_to = claims::bound_volume_name(pod, wanted, &claim)?;
        let found = api.get_persistent_volume(&bound_to).await;
        let found =
            found.map_err(|error| problem(ClaimProblem::NoVolume(bound_to.clone(), error)))?;
        let of_claim = |cause: SetUpCause| cause.of_claim(&bound_to, &name);
        let bound = claims::bound_volume(pod, (volume, wanted), &claim, &found);
        let bound = bound.map_err(|failure| of_claim(failure.into()))?;
        let node = self.shared.deps.view.borrow().node.clone();
        claims::check_node(&found, node.as_deref()).map_err(|error| of_claim(error.into()))?;
        Ok(bound)
    }

    /// Mounts a local volume.
    pub(super) async fn mount_local(
        &self,
        pod: &Pod,
        volume: &PreparedVolume,
    ) -> Result<MountedVolume, SetUpFailure> {
        let failed = |cause| SetUpFailure { volume: volume.wanted.name.clone(), cause };
        let Some(bound) = &volume.bound else { return Err(failed(SetUpCause::Unsupported)) };
        let BoundSource::Local { path, options } = &bound.source else {
            return Err(failed(SetUpCause::Unsupported));
        };
        let deps = &self.shared.deps;
        let layout = PodLayout::new(&deps.root_dir, pod.uid());
        let mount = LocalMount {
            layout: layout.map_err(|_| failed(SetUpCause::BadName))?,
            pods_dir: pods_dir(&deps.root_dir),
            mounter: Arc::clone(&deps.mounter),
            bound: bound.clone(),
            path: path.clone(),
            options: options.clone(),
            group: projected::ownership(pod).group,
        };
        let mounted = self.shared.locals.set_up(pod, mount, &self.teller()).await;
        mounted.map_err(|cause| failed(cause.of_claim(&bound.name, &bound.claim)))
    }

    /// Notes what became of a volume and how long that took, for figures.
    pub(super) fn note(
        &self,
        uid: &PodUid,
        volume: &PreparedVolume,
        mounted: Option<&MountedVolume>,
        took: Duration,
    ) {
        let (wanted, bound) = (&volume.wanted, volume.bound.as_ref());
        let own = bound.filter(|bound| matches!(bound.source, BoundSource::Local { .. }));
        let claim = mounted.zip(own).map(|(mounted, bound)| MountedClaim {
            volume: wanted.name.clone(),
            claim: bound.claim.clone(),
            path: mounted.host_path.clone(),
        });
        let plugin = ledger::plugin(&wanted.kind, bound);
        self.shared.deps.metrics.mounted(plugin, mounted.is_some(), took);
        let noted = Noted { plugin, is_mounted: mounted.is_some(), claim };
        self.shared.ledger.note(uid, &wanted.name, noted);
    }
}

#[cfg(test)]
mod tests;
