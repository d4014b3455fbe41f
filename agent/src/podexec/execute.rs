//! Carries plans out.
//!
//! A pod's bring-up overlaps whatever does not depend on each other:
//!
//! ```text
//! cgroup, log directory ─> sandbox ─┐
//! volumes ──────────────────────────┼─> create, start ─> create, start ─> ...
//! images of all containers ─────────┘   (spec order, each as soon as its image is there)
//! ```

use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use futures::future::{FutureExt, join, join_all};
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::report::StepReport;
use super::start_container::{ImageReady, Line, Place, image_ready, start_container};
use super::supplies::{PodSupplies, SandboxSupply};
use crate::boundary::{Containers, Dialer, RuntimeError, Sandboxes, Streaming};
use crate::metrics::RuntimeMetrics;
use crate::model::{ContainerKind, Pod, RuntimePod, Sandbox, SandboxId};
use crate::podplan::StartContainer;

#[cfg(test)]
mod tests;

/// Carries out steps; shared by all pod workers.
#[derive(Clone)]
pub struct Executor {
    pub sandboxes: Arc<dyn Sandboxes>,
    pub containers: Arc<dyn Containers>,
    /// Commands of hooks.
    pub streaming: Arc<dyn Streaming>,
    /// Requests of hooks.
    pub dialer: Arc<dyn Dialer>,
    pub supplies: Arc<dyn PodSupplies>,
    /// Told of the sandboxes that are made.
    pub metrics: RuntimeMetrics,
}

/// The sandbox that containers are started in.
#[derive(Clone, Debug)]
pub enum SandboxUse {
    Existing(Sandbox),
    Make { attempt: u32, stop_first: Vec<SandboxId> },
}

/// Sandbox and starts of one plan.
#[derive(Clone, Debug)]
pub struct BringUp {
    pub pod: Pod,
    pub sandbox: SandboxUse,
    /// In the order they are to start.
    pub start: Vec<StartContainer>,
    /// When noded first saw the pod.
    pub seen: Timestamp,
    /// The node's primary address; `None` while unknown.
    pub host_ip: Option<IpAddr>,
}

/// How much of an ended pod goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClearScope {
    /// Dead containers and the sandbox stay, for their logs.
    KeepDead,
    Everything,
}

/// What could not be cleared.
#[derive(Debug, thiserror::Error)]
pub enum ClearError {
    #[error("cannot release the volumes of the pod")]
    Volumes(#[source] super::supplies::SupplyError),
    #[error("cannot remove the dead containers of the pod")]
    Runtime(#[source] RuntimeError),
    #[error("cannot remove the cgroup of the pod")]
    Cgroup(#[source] super::supplies::SupplyError),
}

impl Executor {
    /// Makes the sandbox if need be and starts the containers one after the other, reporting each
    /// step. A container that fails does not hold back the next, unless it is an init container or
    /// a sidecar, which the next ones rely on. After `stop` no new runtime call
    /// begins; the one under way is waited for.
    pub async fn bring_up(
        &self,
        work: &BringUp,
        stop: &CancellationToken,
        reports: &mpsc::Sender<StepReport>,
    ) {
        let images: Vec<ImageReady<'_>> =
            work.start.iter().map(|s| image_ready(self, &work.pod, &s.name, reports)).collect();
        // Images of later containers are fetched while earlier ones are being made.
        let mut fetching = pin!(join_all(images.iter().cloned()).fuse());
        let mut steps = pin!(self.steps(work, images, Line { stop, reports }));
        let mut fetched = false;
        loop {
            // Both arms are polled again after losing; neither is dropped before `steps` ends.
            tokio::select! {
                biased;
                () = &mut steps => return,
                _ = &mut fetching, if !fetched => fetched = true,
            }
        }
    }

    async fn steps(&self, work: &BringUp, images: Vec<ImageReady<'_>>, line: Line<'_>) {
        let volumes = async {
            // Waiting for a mount is not a runtime call and may be left.
            tokio::select! {
                biased;
                () = line.stop.cancelled() => false,
                result = self.supplies.volumes(&work.pod) => match result {
                    Ok(()) => true,
                    Err(error) => {
                        line.report(StepReport::VolumesFailed { message: error.to_string() }).await;
                        false
                    }
                },
            }
        };
        let (sandbox, mounted) = join(self.sandbox(work, line), volumes).await;
        let (Some((sandbox, supply)), true) = (sandbox, mounted) else { return };
        let place =
            Place { pod: &work.pod, sandbox: &sandbox, supply: &supply, host_ip: work.host_ip };
        for (start, image) in work.start.iter().zip(images) {
            if line.stop.is_cancelled() {
                return;
            }
            let runs = start_container(self, place, start, image, line).await;
            if !runs && start.kind == ContainerKind::Init {
                return;
            }
        }
    }

    /// The sandbox to use; `None` when there is none, which has been reported, or when the work
    /// was called off.
    async fn sandbox(&self, work: &BringUp, line: Line<'_>) -> Option<(Sandbox, SandboxSupply)> {
        match self.make_sandbox(work, line).await {
            Ok(sandbox) => sandbox,
            Err(message) => {
                line.report(StepReport::SandboxFailed { message }).await;
                None
            }
        }
    }

    async fn make_sandbox(
        &self,
        work: &BringUp,
        line: Line<'_>,
    ) -> Result<Option<(Sandbox, SandboxSupply)>, String> {
        let attempt = match &work.sandbox {
            SandboxUse::Existing(sandbox) => sandbox.attempt,
            SandboxUse::Make { attempt, .. } => *attempt,
        };
        let supply = self
            .supplies
            .sandbox(&work.pod, attempt, work.seen)
            .await
            .map_err(|error| error.to_string())?;
        let stop_first = match &work.sandbox {
            SandboxUse::Existing(sandbox) => return Ok(Some((sandbox.clone(), supply))),
            SandboxUse::Make { stop_first, .. } => stop_first,
        };
        self.stop_sandboxes(stop_first).await.map_err(|error| error.to_string())?;
        if line.stop.is_cancelled() {
            return Ok(None);
        }
        let made = async {
            let (config, handler) = (supply.config.clone(), &supply.runtime_handler);
            let began = tokio::time::Instant::now();
            let made = self.sandboxes.run_sandbox(config, handler).await;
            self.metrics.sandbox_made(handler, began.elapsed(), made.is_ok());
            self.sandboxes.sandbox_status(&made?).await
        };
        let sandbox = made.await.map_err(|error: RuntimeError| error.to_string())?;
        if !work.pod.host_network() && sandbox.ips.is_empty() {
            return Err("the pod network gave the sandbox no address".to_owned());
        }
        line.report(StepReport::SandboxMade).await;
        Ok(Some((sandbox, supply)))
    }

    /// Clears what an ended pod held. Volumes go first, because a runtime that still holds a dead
    /// container does not need them, and the cgroup last, because removing a container may still
    /// end a process in it. Can be repeated.
    pub async fn clear(&self, held: &RuntimePod, scope: ClearScope) -> Result<(), ClearError> {
        self.supplies.release_volumes(&held.uid).await.map_err(ClearError::Volumes)?;
        let pod = (&held.full_name, &held.uid);
        if scope == ClearScope::Everything {
            let sandboxes: Vec<SandboxId> =
                held.sandboxes.iter().map(|sandbox| sandbox.id.clone()).collect();
            let removed = self.remove(pod, &held.containers, &sandboxes).await;
            removed.map_err(ClearError::Runtime)?;
        }
        self.supplies.remove_cgroup(&held.uid).await.map_err(ClearError::Cgroup)?;
        if scope == ClearScope::Everything {
            self.supplies.forget(&held.full_name, &held.uid).await;
        }
        Ok(())
    }
}
