//! Pure. Which instance of a container has the log that is asked for.
//! Source: Kubernetes v1.36 `kubelet_pods.go` (`validateContainerLogStatus`).

use k8s_openapi::api::core::v1 as api;

use crate::model::ContainerId;

#[cfg(test)]
mod tests;

/// The instance whose log is meant, by the pod's status: the one that runs, else the one that ended
/// last; with `previous` the one before. The error is what the caller is told.
pub fn choose_instance(
    pod_name: &str,
    status: &api::PodStatus,
    container: &str,
    previous: bool,
) -> Result<ContainerId, String> {
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let mut statuses = lists.into_iter().flatten().flatten();
    let status = statuses
        .find(|status| status.name == container)
        .ok_or_else(|| format!("container {container:?} in pod {pod_name:?} is not available"))?;
    let id = match previous {
        true => ended(status.last_state.as_ref()).ok_or_else(|| {
            format!("previous terminated container {container:?} in pod {pod_name:?} not found")
        }),
        false => current(pod_name, status),
    }?;
    Ok(ContainerId::from(id.split_once("://").map_or(id, |(_, id)| id)))
}

fn current<'a>(pod_name: &str, status: &'a api::ContainerStatus) -> Result<&'a str, String> {
    let name = &status.name;
    let subject = || format!("container {name:?} in pod {pod_name:?}");
    let state = status.state.as_ref();
    if state.is_some_and(|state| state.running.is_some()) {
        return Ok(status.container_id.as_deref().unwrap_or_default());
    }
    // An instance that never came to be has no id; then the one before it is shown.
    if let Some(id) = ended(state).or_else(|| ended(status.last_state.as_ref())) {
        return Ok(id);
    }
    let has_ended = |state: &api::ContainerState| state.terminated.is_some();
    if state.is_some_and(has_ended) || status.last_state.as_ref().is_some_and(has_ended) {
        return Err(format!("{} is terminated", subject()));
    }
    let Some(waiting) = state.and_then(|state| state.waiting.as_ref()) else {
        return Err(format!("{} is waiting to start - no logs yet", subject()));
    };
    let why = match waiting.reason.as_deref().unwrap_or_default() {
        "ErrImagePull" => "image can't be pulled",
        "ImagePullBackOff" => "trying and failing to pull image",
        reason => reason,
    };
    Err(format!("{} is waiting to start: {why}", subject()))
}

/// The id of the instance that a state says has ended.
fn ended(state: Option<&api::ContainerState>) -> Option<&str> {
    let id = state?.terminated.as_ref()?.container_id.as_deref();
    id.filter(|id| !id.is_empty())
}
