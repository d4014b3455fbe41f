//! Creates and starts one container.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt, Shared};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::execute::Executor;
use super::report::{StartFailure, StepReport};
use super::supplies::{ImageFailure, ImageSupply, Instance, SandboxSupply};
use crate::boundary::RuntimeError;
use crate::model::{ContainerId, ContainerKind, ContainerState, Pod, Sandbox};
use crate::podplan::{RESTART_WAIT_ANNOTATION, StartContainer};
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
    let id = match &start.created {
        Some(id) => id.clone(),
        None => {
            let Some(id) = create(executor, place, start, instance, line).await? else {
                return Ok(());
            };
            line.report(StepReport::Created { name: start.name.clone(), kind }).await;
            id
        }
    };
    if line.stop.is_cancelled() {
        return Ok(());
    }
    let (started, ()) = futures::future::join(
        start_created(executor, place, &id),
        executor.supplies.created(place.pod, instance, &id),
    )
    .await;
    started.map_err(|error| fail(reason::RUN_CONTAINER_ERROR, error.to_string()))?;
    line.report(StepReport::Started { name: start.name.clone(), kind }).await;
    Ok(())
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
