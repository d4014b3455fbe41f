//! Creates and starts one container.

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt, Shared};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::execute::Executor;
use super::report::{StartFailure, StepReport};
use super::supplies::{ImageFailure, ImageSupply, Instance, SandboxSupply};
use crate::model::{ContainerKind, Pod, Sandbox};
use crate::podplan::{RESTART_WAIT_ANNOTATION, StartContainer};
use crate::reason;

pub(super) type ImageReady<'a> = Shared<BoxFuture<'a, Result<ImageSupply, ImageFailure>>>;

/// The sandbox a container goes into.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub pod: &'a Pod,
    pub sandbox: &'a Sandbox,
    pub supply: &'a SandboxSupply,
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

/// Fetching of an image that others can wait for too.
pub(super) fn image_ready<'a>(
    executor: &'a Executor,
    pod: &'a Pod,
    name: &'a str,
) -> ImageReady<'a> {
    let supplies = Arc::clone(&executor.supplies);
    async move {
        match pod.container(name) {
            Some((_, spec)) => supplies.image(pod, spec).await,
            None => Err(ImageFailure {
                reason: reason::CREATE_CONTAINER_CONFIG_ERROR,
                message: format!("container {name} is not in the pod's spec"),
                retry_at: None,
            }),
        }
    }
    .boxed()
    .shared()
}

/// Waits for the image, then creates and starts the container; every end but a called-off one is
/// reported.
pub(super) async fn start_container(
    executor: &Executor,
    place: Place<'_>,
    start: &StartContainer,
    image: ImageReady<'_>,
    line: Line<'_>,
) {
    // Waiting for an image is not a runtime call and may be left.
    let image = tokio::select! {
        biased;
        () = line.stop.cancelled() => return,
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
    if let Err(failure) = outcome {
        line.report(StepReport::StartFailed(failure)).await;
    }
}

async fn create_and_start(
    executor: &Executor,
    place: Place<'_>,
    start: &StartContainer,
    image: &ImageSupply,
    line: Line<'_>,
) -> Result<(), StartFailure> {
    let Some((kind, spec)) = place.pod.container(&start.name) else { return Ok(()) };
    let fail = |reason, message| failure(start, kind, reason, message);
    let instance = Instance { spec, attempt: start.attempt, image, sandbox: place.sandbox };
    let mut config = executor
        .supplies
        .container(place.pod, instance)
        .await
        .map_err(|error| fail(reason::CREATE_CONTAINER_CONFIG_ERROR, error.to_string()))?;
    let wait = start.wait_after.as_secs().to_string();
    config.annotations.insert(RESTART_WAIT_ANNOTATION.to_owned(), wait);
    if line.stop.is_cancelled() {
        return Ok(());
    }
    let sandbox_config = place.supply.config.clone();
    let id = executor
        .containers
        .create_container(&place.sandbox.id, config, sandbox_config)
        .await
        .map_err(|error| fail(reason::CREATE_CONTAINER_ERROR, error.to_string()))?;
    line.report(StepReport::Created { name: start.name.clone(), kind }).await;
    if line.stop.is_cancelled() {
        return Ok(());
    }
    let (started, ()) = futures::future::join(
        executor.containers.start_container(&id),
        executor.supplies.created(place.pod, instance, &id),
    )
    .await;
    started.map_err(|error| fail(reason::RUN_CONTAINER_ERROR, error.to_string()))?;
    line.report(StepReport::Started { name: start.name.clone(), kind }).await;
    Ok(())
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
