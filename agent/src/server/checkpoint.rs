//! `/checkpoint/`: writes the state of a running container into an archive, for forensics.
//!
//! Source: kubelet v1.36 `pkg/kubelet/server/server.go` (`checkpoint`).

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use super::NodePods;
use super::reply;
use super::route::{Access, Call, Limits, Offer, Route};
use crate::boundary::{Checkpoints, RuntimeError};
use crate::config::Offered;
use crate::model::{ContainerId, Pod};
use crate::podworker::WallClock;

#[cfg(test)]
mod tests;

const ACCESS: Access = Access(&["checkpoint"]);
/// One at a time and one that waits: each stops a container for as long as its memory takes to
/// write. The caller says how long that may be.
const LIMITS: Limits =
    Limits { body_bytes: 0, at_once: 2, deadline: Duration::from_secs(4 * 60 * 60) };

/// What checkpoints are made with.
#[derive(Clone)]
pub struct CheckpointParts {
    pub pods: NodePods,
    pub runtime: Arc<dyn Checkpoints>,
    /// Where archives go; made at the start, for root alone.
    pub directory: PathBuf,
    pub clock: WallClock,
}

/// No route at all where the feature is off, as upstream.
pub fn routes(offered: Offered, parts: CheckpointParts) -> Vec<Route> {
    if offered == Offered::No {
        return Vec::new();
    }
    let answer = move |call: Call| {
        let parts = parts.clone();
        async move { parts.answer(call).await.unwrap_or_else(|refusal| refusal) }
    };
    let path = "/checkpoint/{namespace}/{pod}/{container}";
    vec![Route::new((&[Method::POST], path), Offer::Debugging, ACCESS, LIMITS, answer)]
}

impl CheckpointParts {
    /// Both are answers; an error is one that says why there is no archive.
    async fn answer(&self, call: Call) -> Result<Response, Response> {
        let refuse = |code, words: String| reply::text(code, words);
        let [namespace, name, container] =
            ["namespace", "pod", "container"].map(|value| call.path.get(value));
        let pod = self
            .pods
            .find(namespace, name, "")
            .ok_or_else(|| refuse(StatusCode::NOT_FOUND, "pod does not exist".to_owned()))?;
        if pod.container(container).is_none() {
            let words = format!("container {container} does not exist");
            return Err(refuse(StatusCode::NOT_FOUND, words));
        }
        let timeout = timeout(&call.query())
            .map_err(|words| refuse(StatusCode::NOT_FOUND, words.to_owned()))?;
        match self.checkpoint(&pod, container, timeout).await {
            Ok(location) => {
                let items = json!({ "items": [location] });
                Ok(reply::json(items.to_string()))
            }
            Err(cause) => {
                let words =
                    format!("checkpointing of {namespace}/{name}/{container} failed ({cause})");
                Err(refuse(StatusCode::INTERNAL_SERVER_ERROR, words))
            }
        }
    }

    /// The path of the archive.
    async fn checkpoint(&self, pod: &Pod, container: &str, timeout: i64) -> Result<String, String> {
        let timeout = u64::try_from(timeout)
            .map_err(|_| "CheckpointContainer got the timeout value < 0".to_owned())?;
        let id = self.running(pod, container).ok_or(format!("container {container} not found"))?;
        let name = format!("{}_{}", pod.name(), pod.namespace());
        let file = file_name(&name, container, (self.clock)());
        let location = self.directory.join(file);
        let made = self.runtime.checkpoint(&id, &location, Duration::from_secs(timeout)).await;
        made.map_err(|error| rpc_words(&error))?;
        Ok(location.display().to_string())
    }

    fn running(&self, pod: &Pod, container: &str) -> Option<ContainerId> {
        let held = self.pods.runtime_pod(pod.uid())?;
        held.instances(container).find(|instance| instance.is_running()).map(|it| it.id.clone())
    }
}

/// The last `timeout` in seconds; 0, the runtime's own, when there is none.
fn timeout(query: &[(String, String)]) -> Result<i64, &'static str> {
    let last = query.iter().rev().find(|(name, _)| name == "timeout");
    last.map_or(Ok(0), |(_, text)| {
        text.parse().map_err(|_| "cannot parse value of timeout parameter")
    })
}

/// The kubelet's name of an archive made at `now`; `pod` is the name and the namespace.
fn file_name(pod: &str, container: &str, now: Timestamp) -> String {
    format!("checkpoint-{pod}-{container}-{}.tar", now.strftime("%Y-%m-%dT%H:%M:%SZ"))
}

/// The error as a Go client of CRI words it, which is what tools look for.
fn rpc_words(error: &RuntimeError) -> String {
    let (code, words) = match error {
        RuntimeError::NotFound(words) => ("NotFound", words.clone()),
        RuntimeError::Unavailable(words) => ("Unavailable", words.clone()),
        RuntimeError::DeadlineExceeded(words) => ("DeadlineExceeded", words.clone()),
        RuntimeError::Unimplemented(call) => ("Unimplemented", format!("unknown method {call}")),
        RuntimeError::Refused { code, message } => (code.as_str(), message.clone()),
    };
    format!("rpc error: code = {code} desc = {words}")
}
