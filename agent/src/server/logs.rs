//! `/containerLogs/NAMESPACE/POD/CONTAINER`: what `kubectl logs` shows.
//! Source: Kubernetes v1.36 `pkg/kubelet/server/server.go` (`getContainerLogs`), `kubelet_pods.go`
//! (`GetKubeletContainerLogs`). A log that cannot be opened is a 400 here; the kubelet has answered
//! 200 by then, and its error stands where the log should.

use std::path::PathBuf;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Method, StatusCode};

use super::NodePods;
use super::route::{Access, Call, Limits, Offer, PathValues, Route};
use crate::adapters::linux::log_watch::LogWatch;
use crate::container_logs::{
    BadOptions, LogOptions, LogSource, LogText, choose_instance, parse_options,
};
use crate::model::{ContainerId, Pod};
use crate::podworker::WallClock;

#[cfg(test)]
mod tests;

/// Each reader takes two or three descriptors and, while there is something to send, some hundred
/// kilobytes.
const LIMITS: Limits = Limits { body_bytes: 0, at_once: 1024, deadline: Duration::from_secs(60) };

/// What the logs are found with.
#[derive(Clone)]
pub struct LogParts {
    pub pods: NodePods,
    /// `podLogsDir`.
    pub root: PathBuf,
    /// `None` when there is no inotify.
    pub watch: Option<LogWatch>,
    pub clock: WallClock,
}

/// A request that cannot be answered with a log: the code, and what the caller is told.
struct Refused(StatusCode, String);

pub fn routes(parts: LogParts) -> Vec<Route> {
    let path = "/containerLogs/{namespace}/{pod}/{container}";
    let answer = move |call: Call| {
        let parts = parts.clone();
        let (path, query) = (call.path.clone(), call.query());
        async move {
            match open(&parts, &path, &query).await {
                Ok(log) => text(StatusCode::OK, Body::from_stream(log.into_stream())),
                Err(Refused(code, words)) => text(code, words.into()),
            }
        }
    };
    vec![Route::new((&[Method::GET], path), Offer::Debugging, Access::PROXY, LIMITS, answer)]
}

fn text(code: StatusCode, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = code;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

async fn open(
    parts: &LogParts,
    path: &PathValues,
    query: &[(String, String)],
) -> Result<LogText, Refused> {
    let bad_request = |words: String| Refused(StatusCode::BAD_REQUEST, words);
    let options = parse_options(query, (parts.clock)()).map_err(|bad| match bad {
        BadOptions::Undecodable => bad_request(r#"{"message": "Unable to decode query."}"#.into()),
        BadOptions::Invalid => Refused(
            StatusCode::UNPROCESSABLE_ENTITY,
            r#"{"message": "Invalid request."}"#.to_owned(),
        ),
    })?;
    let (namespace, name) = (path.get("namespace"), path.get("pod"));
    let container = path.get("container");
    let not_found = |words: String| Refused(StatusCode::NOT_FOUND, words);
    let pod = parts.pods.find(namespace, name, "");
    let pod = pod.ok_or_else(|| not_found(format!("pod {name:?} does not exist")))?;
    if pod.container(container).is_none() {
        return Err(not_found(format!("container {container:?} not found in pod {name:?}")));
    }
    let id = instance(&parts.pods, &pod, container, &options).map_err(bad_request)?;
    let source = find_log(&parts.pods, &pod, id).await.map_err(bad_request)?;
    let file = source.path.display().to_string();
    let opened = LogText::open(&parts.root, source, options, parts.watch.clone()).await;
    opened.map_err(|error| bad_request(format!("failed to open log file {file:?}: {error}")))
}

/// The instance that the pod's status names: the status that this node publishes, else what the API
/// server showed last.
fn instance(
    pods: &NodePods,
    pod: &Pod,
    container: &str,
    options: &LogOptions,
) -> Result<ContainerId, String> {
    let published = pods.status.published(pod.uid());
    let shown = published.as_deref().or(pod.api_status()).cloned().unwrap_or_default();
    choose_instance(pod.name(), &shown, container, options.previous)
}

/// Where the instance's log lies, as the runtime says.
async fn find_log(pods: &NodePods, pod: &Pod, id: ContainerId) -> Result<LogSource, String> {
    let path = |held: &crate::model::RuntimePod| {
        let found = held.containers.iter().find(|known| known.id == id);
        found.map(|known| PathBuf::from(&known.log_path))
    };
    let mut found = pods.runtime_pod(pod.uid()).and_then(|held| path(&held));
    if found.is_none() {
        // The status may be newer than what was seen last.
        let refreshed = pods.pleg.refresh(pod.uid(), pod.full_name()).await;
        found = refreshed.ok().and_then(|held| path(&held));
    }
    let path =
        found.ok_or_else(|| format!("unable to retrieve container logs for containerd://{id}"))?;
    let runtime = pods.pleg.subscribe();
    Ok(LogSource { pod: pod.uid().clone(), container: id, path, runtime })
}
