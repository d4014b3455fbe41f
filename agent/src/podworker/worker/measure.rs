//! What is counted and timed of the work on a pod.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use tokio::time::Instant;

use super::Worker;
use crate::metrics::SyncKind;
use crate::model::Pod;
use crate::podexec::StepReport;
use crate::podplan::Slow;
use crate::podworker::{Lifecycle, WorkMetrics};

/// What has to be remembered for it.
pub(super) struct Measure {
    /// What makes the next turn worth while.
    pub next: SyncKind,
    /// A bring-up under way: what it is for, and since when.
    bring_up: Option<(SyncKind, Instant)>,
    begun: Instant,
    /// The start of the pod is still to be told.
    is_starting: bool,
}

impl Measure {
    /// For a pod that a worker begins with now. `pod` is `None` for one that only the runtime
    /// knows.
    pub fn new(pod: Option<&Pod>, metrics: &WorkMetrics) -> Self {
        let is_new = |pod: &&Pod| pod.api_status().is_none_or(|shown| shown.start_time.is_none());
        let new = pod.filter(is_new);
        if let Some(pod) = new {
            metrics.pods.starts.begin(pod.uid());
        }
        Self {
            next: SyncKind::Create,
            bring_up: None,
            begun: Instant::now(),
            is_starting: new.is_some(),
        }
    }
}

impl Worker {
    /// A turn that began then is over. It takes as long as the bring-up that it started.
    pub(super) fn measure_turn(&mut self, began: Instant) {
        let next = std::mem::replace(&mut self.measure.next, SyncKind::Sync);
        let kind = match self.lifecycle {
            Lifecycle::Waiting | Lifecycle::Syncing => next,
            Lifecycle::Terminating { .. } => SyncKind::Kill,
            Lifecycle::Terminated { .. } | Lifecycle::Finished { .. } => SyncKind::Terminated,
        };
        let brings_up = self.operations.in_flight().has(Slow::BringUp);
        if brings_up && self.measure.bring_up.is_none() {
            self.measure.bring_up = Some((kind, began));
        } else {
            self.context.metrics.pods.synced(kind, began.elapsed());
        }
    }

    /// The bring-up under way has ended.
    pub(super) fn measure_bring_up(&mut self) {
        if let Some((kind, began)) = self.measure.bring_up.take() {
            self.context.metrics.pods.synced(kind, began.elapsed());
        }
    }

    pub(super) fn measure_report(&self, report: &StepReport) {
        let WorkMetrics { pods, containers } = &self.context.metrics;
        let own_users = self.pod().is_some_and(|pod| pod.spec().host_users == Some(false));
        match report {
            StepReport::SandboxMade => pods.sandbox_begun(own_users),
            StepReport::SandboxFailed { .. } => {
                pods.sandbox_begun(own_users);
                pods.sandbox_failed(own_users);
            }
            StepReport::Started { kind, .. } | StepReport::HookRunning { kind, .. } => {
                containers.start_begun((*kind).into());
            }
            StepReport::StartFailed(failure) => {
                containers.start_begun(failure.kind.into());
                containers.start_failed(failure.kind.into(), failure.reason);
            }
            StepReport::HookFailed { failure, .. } => {
                containers.start_failed(failure.kind.into(), failure.reason);
            }
            StepReport::HookEnded { fell_back: Some(_), .. } => containers.hook_fell_back(),
            StepReport::HookEnded { fell_back: None, .. }
            | StepReport::VolumesFailed { .. }
            | StepReport::Pulling { .. }
            | StepReport::Created { .. } => {}
        }
    }

    /// `status` is about to take the place of the previous one.
    pub(super) fn measure_status(&mut self, pod: &Pod, status: &api::PodStatus, now: Timestamp) {
        let metrics = self.context.metrics.clone();
        metrics.containers.ended_since(&self.previous, status);
        let was_pending = matches!(self.previous.phase.as_deref(), None | Some("Pending"));
        if was_pending && status.phase.as_deref() == Some("Running") {
            metrics.pods.running(self.measure.begun.elapsed());
        }
        if self.measure.is_starting && runs(status) {
            self.measure.is_starting = false;
            let pulls = metrics.pods.starts.end(pod.uid()).unwrap_or_default();
            // A static pod was created by nobody.
            let Some(created) = &pod.object().metadata.creation_timestamp else { return };
            let total = Duration::try_from(now.duration_since(created.0)).unwrap_or_default();
            let sli = total.saturating_sub(pulls).saturating_sub(init_time(status));
            let sli = (!has_storage(pod)).then_some(sli);
            metrics.pods.started(total, sli, !pod.host_network());
        }
    }
}

/// Whether all containers run; sidecars and init containers do not matter.
fn runs(status: &api::PodStatus) -> bool {
    let mut containers = status.container_statuses.iter().flatten().peekable();
    let is_running = |status: &api::ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.running.is_some())
    };
    containers.peek().is_some() && containers.all(is_running)
}

/// How long the init containers that have ended ran, one after the other.
fn init_time(status: &api::PodStatus) -> Duration {
    let ended = status.init_container_statuses.iter().flatten().filter_map(|status| {
        let end = status.state.as_ref()?.terminated.as_ref()?;
        let (from, to) = (end.started_at.as_ref()?, end.finished_at.as_ref()?);
        Duration::try_from(to.0.duration_since(from.0)).ok()
    });
    ended.sum()
}

/// Whether the pod has volumes whose making does not depend on this node alone; the starts of such
/// pods are not judged (Kubernetes' pod startup latency SLI).
fn has_storage(pod: &Pod) -> bool {
    pod.spec().volumes.iter().flatten().any(|volume| {
        volume.secret.is_none()
            && volume.config_map.is_none()
            && volume.downward_api.is_none()
            && volume.empty_dir.is_none()
            && volume.projected.is_none()
    })
}
