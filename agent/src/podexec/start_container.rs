//! Creates and starts one container.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared};
use k8s_openapi::api::core::v1 as api;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::execute::Executor;
use super::hooks::HookTarget;
use super::report::{StartFailure, StepReport};
use super::supplies::{ImageFailure, ImageSupply, Instance, SandboxSupply};
use crate::boundary::RuntimeError;
use crate::model::{ContainerId, ContainerKind, ContainerState, Pod, Sandbox, back_off_key};
use crate::podplan::{RESTART_KEY_ANNOTATION, RESTART_WAIT_ANNOTATION, StartContainer};
use crate::reason;

/// Looks at a container whose start is under way elsewhere; there is no event for its failure.
const START_LOOKS: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
    Duration::from_millis(400),
    Duration::from_millis(800),
    Duration::from_millis(1600),
];

pub(super) type ImageReady<'a> = Shared<BoxFuture<'a, Result<ImageSupply, ImageFailure>>>;

/// The sandbox a container goes into.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub pod: &'a Pod,
    pub sandbox: &'a Sandbox,
    pub supply: &'a SandboxSupply,
    /// The node's primary address.
    pub host_ip: Option<IpAddr>,
}

/// Where the steps are reported and how the work is called off. Nothing is called off within a
/// runtime call.
#[derive(Clone, Copy)]
pub(super) struct Line<'a> {
    pub stop: &'a CancellationToken,
    pub reports: &'a mpsc::Sender<StepReport>,
}

impl Line<'_> {
    pub async fn report(&self, report: StepReport) {
        // The receiver is gone only when the pod's worker is, and then nobody needs the report.
        let _ = self.reports.send(report).await;
    }
}

/// Fetching of an image that others can wait for too. What there is to tell meanwhile is reported.
pub(super) fn image_ready<'a>(
    executor: &'a Executor,
    pod: &'a Pod,
    name: &'a str,
    reports: &'a mpsc::Sender<StepReport>,
) -> ImageReady<'a> {
    let supplies = Arc::clone(&executor.supplies);
    async move {
        let Some((_, spec)) = pod.container(name) else {
            return Err(ImageFailure {
                reason: reason::CREATE_CONTAINER_CONFIG_ERROR,
                message: format!("container {name} is not in the pod's spec"),
                retry_at: None,
            });
        };
        let (news, mut heard) = watch::channel(None);
        let report = async |message: Option<String>| {
            let report = StepReport::Pulling { name: name.to_owned(), message };
            // The receiver is gone only when the pod's worker is.
            let _ = reports.send(report).await;
        };
        let mut image = supplies.image(pod, spec, &news);
        let outcome = loop {
            // Both arms are cancel safe: a future that is kept, a watch.
            tokio::select! {
                biased;
                outcome = &mut image => break outcome,
                Ok(()) = heard.changed() => {
                    let message = heard.borrow_and_update().clone();
                    report(message).await;
                }
            }
        };
        drop(image);
        if news.borrow().is_some() {
            report(None).await;
        }
        outcome
    }
    .boxed()
    .shared()
}

/// Waits for the image, then creates and starts the container; every end but a called-off one is
/// reported. Whether it runs.
pub(super) async fn start_container(
    executor: &Executor,
    place: Place<'_>,
    start: &StartContainer,
    image: ImageReady<'_>,
    line: Line<'_>,
) -> bool {
    // Waiting for an image is not a runtime call and may be left.
    let image = tokio::select! {
        biased;
        () = line.stop.cancelled() => return false,
        image = image => image,
    };
    let outcome = match image {
        Ok(image) => create_and_start(executor, place, start, &image, line).await,
        Err(failure) => Err(StartFailure {
            name: start.name.clone(),
            kind: start.kind,
            reason: failure.reason,
            message: failure.message,
            retry_at: failure.retry_at,
            published: true,
        }),
    };
    match outcome {
        Ok(runs) => runs,
        Err(failure) => {
            line.report(StepReport::StartFailed(failure)).await;
            false
        }
    }
}

/// Whether the container runs; it does not when the work was called off before.
async fn create_and_start(
    executor: &Executor,
    place: Place<'_>,
    start: &StartContainer,
    image: &ImageSupply,
    line: Line<'_>,
) -> Result<bool, StartFailure> {
    let Some((kind, spec)) = place.pod.container(&start.name) else { return Ok(false) };
    let fail = |reason, message| failure(start, kind, reason, message);
    let attempt = match start.attempt {
        0 if start.created.is_none() => {
            executor.supplies.attempt_after_logs(place.pod, &start.name).await
        }
        planned => planned,
    };
    let (sandbox, supply) = (place.sandbox, place.supply);
    let target = start.target.as_ref();
    let instance = Instance { spec, attempt, image, sandbox, supply, target };
    let id = match &start.created {
        Some(id) => id.clone(),
        None => {
            let Some(id) = create(executor, place, start, instance, line).await? else {
                return Ok(false);
            };
            line.report(StepReport::Created { name: start.name.clone(), kind }).await;
            id
        }
    };
    if line.stop.is_cancelled() {
        return Ok(false);
    }
    let (started, ()) = futures::future::join(
        start_created(executor, place, &id),
        executor.supplies.created(place.pod, instance, &id),
    )
    .await;
    started.map_err(|error| fail(reason::RUN_CONTAINER_ERROR, error.to_string()))?;
    Ok(after_start(executor, place, (kind, spec), &id, line).await)
}

/// Runs the postStart hook of a container that has just been started, if it has one, and reports
/// the start once that has ended. Work that is called off ends the hook, and nothing is reported.
async fn after_start(
    executor: &Executor,
    place: Place<'_>,
    started: (ContainerKind, &api::Container),
    id: &ContainerId,
    line: Line<'_>,
) -> bool {
    let (kind, spec) = started;
    let name = spec.name.clone();
    let Some(hook) = spec.lifecycle.as_ref().and_then(|hooks| hooks.post_start.as_ref()) else {
        line.report(StepReport::Started { name, kind }).await;
        return true;
    };
    line.report(StepReport::HookRunning { name: name.clone(), kind }).await;
    let own = place.sandbox.ips.first().copied();
    let target = HookTarget {
        id,
        name: &name,
        pod: (place.pod.full_name(), place.pod.uid()),
        ports: spec.ports.as_deref().unwrap_or_default(),
        ip: if place.pod.host_network() { place.host_ip } else { own },
    };
    // A hook may be left at any time.
    let ended = tokio::select! {
        biased;
        () = line.stop.cancelled() => return false,
        ended = executor.run_hook(hook, target) => ended,
    };
    match ended {
        Ok(done) => {
            line.report(StepReport::HookEnded { name, fell_back: done.fell_back }).await;
            true
        }
        Err(error) => {
            let failure = StartFailure {
                name,
                kind,
                reason: reason::POST_START_HOOK_ERROR,
                message: error.to_string(),
                retry_at: None,
                published: false,
            };
            line.report(StepReport::HookFailed { id: id.clone(), failure }).await;
            false
        }
    }
}

/// Creates the container; `None` when the work was called off before.
async fn create(
    executor: &Executor,
    place: Place<'_>,
    start: &StartContainer,
    instance: Instance<'_>,
    line: Line<'_>,
) -> Result<Option<ContainerId>, StartFailure> {
    let fail = |reason, message| failure(start, start.kind, reason, message);
    let mut config = executor
        .supplies
        .container(place.pod, instance)
        .await
        .map_err(|error| fail(reason::CREATE_CONTAINER_CONFIG_ERROR, error.to_string()))?;
    let wait = start.wait_after.as_secs().to_string();
    config.annotations.insert(RESTART_WAIT_ANNOTATION.to_owned(), wait);
    config.annotations.insert(RESTART_KEY_ANNOTATION.to_owned(), back_off_key(instance.spec));
    if line.stop.is_cancelled() {
        return Ok(None);
    }
    let sandbox_config = place.supply.config.clone();
    let created = executor
        .containers
        .create_container(&place.sandbox.id, config, sandbox_config)
        .await
        .map_err(|error| fail(reason::CREATE_CONTAINER_ERROR, error.to_string()))?;
    Ok(Some(created))
}

/// Starts a created container. One whose start is under way already, because whoever asked for it
/// was killed meanwhile, is waited for instead.
async fn start_created(
    executor: &Executor,
    place: Place<'_>,
    id: &ContainerId,
) -> Result<(), RuntimeError> {
    let Err(error) = executor.containers.start_container(id).await else { return Ok(()) };
    for look in START_LOOKS {
        let seen = executor.containers.container_status(id, &place.sandbox.id).await?;
        match seen.state {
            ContainerState::Running { .. } => return Ok(()),
            ContainerState::Created if is_under_way(&error) => tokio::time::sleep(look).await,
            _ => return Err(error),
        }
    }
    Err(error)
}

/// containerd's word for a second start beside the first.
fn is_under_way(error: &RuntimeError) -> bool {
    matches!(error, RuntimeError::Refused { message, .. } if message.contains("already in starting state"))
}

fn failure(
    start: &StartContainer,
    kind: ContainerKind,
    reason: &'static str,
    message: String,
) -> StartFailure {
    StartFailure {
        name: start.name.clone(),
        kind,
        reason,
        message,
        retry_at: None,
        published: false,
    }
}
