//! `/runningpods/`: the pods that the runtime runs, whether or not anybody wants them. For
//! debugging; the objects are made up from what the runtime knows.

use std::time::Duration;

use axum::response::Response;
use http::{Method, StatusCode};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::NodePods;
use super::pod_list::{PodItem, pod_list};
use super::reply;
use super::route::{Access, Limits, Offer, Route};
use crate::model::{RuntimePod, RuntimePods, SandboxState};

#[cfg(test)]
mod tests;

const ACCESS: Access = Access(&["pods", "proxy"]);
const LIMITS: Limits = Limits { body_bytes: 0, at_once: 8, deadline: Duration::from_secs(30) };

pub fn routes(pods: NodePods) -> Vec<Route> {
    let list = move |_| {
        let answer = answer(pods.runtime_pods().as_deref());
        async move { answer }
    };
    vec![Route::new((&[Method::GET], "/runningpods"), Offer::Debugging, ACCESS, LIMITS, list)]
}

/// The list; an error while the runtime was never listed.
fn answer(pods: Option<&RuntimePods>) -> Response {
    let Some(pods) = pods else {
        let words = "the container runtime has not been listed yet";
        return reply::error(StatusCode::INTERNAL_SERVER_ERROR, words);
    };
    let mut running: Vec<&RuntimePod> = pods.values().map(AsRef::as_ref).filter(runs).collect();
    running.sort_by_key(|pod| (pod.full_name.to_string(), pod.uid.as_str().to_owned()));
    let objects: Vec<_> = running.into_iter().map(object).collect();
    let status = api::PodStatus::default();
    let items = objects.iter().map(|(metadata, spec)| PodItem {
        metadata,
        spec: Some(spec),
        status: Some(&status),
    });
    match pod_list(items) {
        Ok(text) => reply::json(text),
        Err(error) => reply::error(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// A sandbox or a container runs.
fn runs(pod: &&RuntimePod) -> bool {
    pod.sandboxes.iter().any(|sandbox| sandbox.state == SandboxState::Ready)
        || pod.containers.iter().any(crate::model::Container::is_running)
}

/// What of an object the runtime knows: names, and the running containers with their images.
fn object(pod: &RuntimePod) -> (ObjectMeta, api::PodSpec) {
    let metadata = ObjectMeta {
        name: Some(pod.full_name.name.to_string()),
        namespace: Some(pod.full_name.namespace.to_string()),
        uid: Some(pod.uid.to_string()),
        ..ObjectMeta::default()
    };
    let running = pod.containers.iter().filter(|container| container.is_running());
    let containers = running.map(|container| api::Container {
        name: container.name.clone(),
        image: Some(container.image.clone()),
        ..api::Container::default()
    });
    (metadata, api::PodSpec { containers: containers.collect(), ..api::PodSpec::default() })
}
