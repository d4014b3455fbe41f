//! Exec, attach, run and port-forward.
//!
//! **What**: a caller's way into a container: the runtime is asked for a URL of its streaming
//! server, the caller's upgrade request is made there, and from then on bytes are copied. Remote
//! commands in version 5 over WebSocket, and port-forwards that carry SPDY inside a WebSocket, end
//! here and go on to the runtime as SPDY.
//! **Owns**: the open streams, of which there are at most 1024.
//! **Reads**: `NodePods`; the runtime's lists.
//! **Writes**: what callers send, into containers.
//! **Invariants**: a caller is never redirected; no URL of the runtime's reaches it, and none of its
//! credentials reach the runtime; only this machine is connected to. A slow end is waited for with
//! bounded buffers. When either end is gone, so are both connections and the task between them.
//! **Source**: `pkg/kubelet/server/server.go` and `pkg/kubelet/kubelet_pods.go` v1.36,
//! `k8s.io/apiserver/pkg/util/proxy` v0.36; unlike there, an exec that names the UID of another pod
//! is refused, and after the end of one direction the other may still deliver.
//!
//! ```text
//! caller ── upgrade ──> routes ── CRI Exec, Attach, PortForward ──> runtime
//!    │                    │ SPDY, WebSocket v1 to v4: copy               │ URL
//!    │                    │ WebSocket v5: translate (channels, spdy)     v
//!    └──────<──────>──────┤ WebSocket with SPDY inside: tunnel ──> streaming server
//! ```

mod channels;
mod copy;
mod error;
mod inbound;
mod lanes;
mod lookup;
mod negotiate;
mod pass;
mod query;
mod run;
mod spdy;
mod translate;
mod tunnel;
mod websocket;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;
use http::{HeaderMap, Method};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::error::StreamError;
use self::query::Query;
use super::NodePods;
use super::route::{Access, Call, Limits, Offer, Route};
use crate::boundary::{Containers, Sandboxes, Streaming, StreamingServer};
use crate::metrics::ServerMetrics;

#[cfg(test)]
mod tests;

/// Streams open at once on a node. The kubelet has no such limit; at two descriptors and 64 KiB
/// each, this is what a node of 110 pods can spare without starving anything else.
const STREAMS: usize = 1024;
/// Until the head of the answer: a list, a call for the URL, each of which may take
/// `runtimeRequestTimeout` and then tells its own error, and 30 s for the streaming server.
const HEAD_DEADLINE: Duration = Duration::from_secs(10 * 60);
/// A command of `/run` may take as long as an idle stream may last (kubelet v1.36, 4 h).
const RUN_DEADLINE: Duration = Duration::from_secs(4 * 60 * 60);

const STREAM_LIMITS: Limits = Limits { body_bytes: 0, at_once: STREAMS, deadline: HEAD_DEADLINE };
/// Each holds up to 16 MiB of output.
const RUN_LIMITS: Limits = Limits { body_bytes: 0, at_once: 16, deadline: RUN_DEADLINE };

/// What the routes work with.
pub struct StreamParts {
    pub pods: NodePods,
    pub containers: Arc<dyn Containers>,
    pub sandboxes: Arc<dyn Sandboxes>,
    pub streaming: Arc<dyn Streaming>,
    pub server: Arc<dyn StreamingServer>,
    pub metrics: ServerMetrics,
}

/// The routes of exec, attach, run and port-forward. All of them ask for `nodes/proxy`, as none has
/// a subresource of its own.
pub fn routes(parts: StreamParts) -> Vec<Route> {
    let streams = Arc::new(Streams { parts, slots: Arc::new(Semaphore::new(STREAMS)) });
    streams.routes()
}

struct Streams {
    parts: StreamParts,
    slots: Arc<Semaphore>,
}

type Answer = Result<Response, StreamError>;

impl Streams {
    fn routes(self: &Arc<Self>) -> Vec<Route> {
        let upgrades = [Method::GET, Method::POST];
        let run = [Method::POST];
        vec![
            self.route((&upgrades, "/exec/{namespace}/{pod}/{container}"), Self::exec),
            self.route((&upgrades, "/exec/{namespace}/{pod}/{uid}/{container}"), Self::exec),
            self.route((&upgrades, "/attach/{namespace}/{pod}/{container}"), Self::attach),
            self.route((&upgrades, "/attach/{namespace}/{pod}/{uid}/{container}"), Self::attach),
            self.route((&upgrades, "/portForward/{namespace}/{pod}"), Self::port_forward),
            self.route((&upgrades, "/portForward/{namespace}/{pod}/{uid}"), Self::port_forward),
            self.limited(RUN_LIMITS, (&run, "/run/{namespace}/{pod}/{container}"), Self::run),
            self.limited(RUN_LIMITS, (&run, "/run/{namespace}/{pod}/{uid}/{container}"), Self::run),
        ]
    }

    fn route<F>(
        self: &Arc<Self>,
        at: (&[Method], &'static str),
        answer: impl Fn(Arc<Self>, Call) -> F + Send + Sync + Copy + 'static,
    ) -> Route
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        self.limited(STREAM_LIMITS, at, answer)
    }

    fn limited<F>(
        self: &Arc<Self>,
        limits: Limits,
        at: (&[Method], &'static str),
        answer: impl Fn(Arc<Self>, Call) -> F + Send + Sync + Copy + 'static,
    ) -> Route
    where
        F: Future<Output = Answer> + Send + 'static,
    {
        let streams = Arc::clone(self);
        Route::new(at, Offer::Debugging, Access::PROXY, limits, move |call| {
            let answer = answer(Arc::clone(&streams), call);
            async move { answer.await.unwrap_or_else(|error| error.answer()) }
        })
    }

    async fn exec(self: Arc<Self>, call: Call) -> Answer {
        let query = query(&call);
        let streams = query.streams()?;
        let pod = self.pod(&call)?;
        let container = self.running(&pod, call.path.get("container")).await?;
        let container =
            container.ok_or_else(|| StreamError::NotRunning(call.path.get("container").into()))?;
        let slot = self.slot(call.request.headers())?;
        let command = query.command().ok_or_else(StreamError::not_text)?;
        let url = self.parts.streaming.exec_url(&container, &command, streams).await?;
        self.count(call.request.headers(), "exec");
        self.remote_command(call.request, url, streams, slot).await
    }

    async fn attach(self: Arc<Self>, call: Call) -> Answer {
        let mut streams = query(&call).streams()?;
        let pod = self.pod(&call)?;
        let name = call.path.get("container");
        let missing =
            || StreamError::NotInPod { container: name.to_owned(), pod: lookup::full_name(&pod) };
        let container = self.running(&pod, name).await?.ok_or_else(missing)?;
        // Whether a process has a terminal was decided when it began.
        streams.tty = pod.container(name).ok_or_else(missing)?.1.tty.unwrap_or_default();
        let slot = self.slot(call.request.headers())?;
        let url = self.parts.streaming.attach_url(&container, streams).await?;
        self.count(call.request.headers(), "attach");
        self.remote_command(call.request, url, streams, slot).await
    }

    async fn port_forward(self: Arc<Self>, call: Call) -> Answer {
        let headers = call.request.headers();
        let tunnelled = negotiate::tunnelled_protocols(headers);
        // Other protocols name the port with each connection.
        let ports = match negotiate::is_websocket(headers) && tunnelled.is_empty() {
            true => query(&call).ports()?,
            false => Vec::new(),
        };
        let pod = self.named_pod(&call)?;
        let sandbox = self.live_sandbox(&pod).await?;
        let slot = self.slot(headers)?;
        let url = self.parts.streaming.port_forward_url(&sandbox, &ports).await?;
        match tunnelled.is_empty() {
            true => self.pass(call.request, url, slot).await,
            false => {
                self.parts.metrics.websocket("portforward");
                self.tunnel(call.request, url, &tunnelled, slot).await
            }
        }
    }

    /// Counts remote commands over WebSocket that end here.
    fn count(&self, headers: &HeaderMap, subresource: &str) {
        if negotiate::is_translated(headers) {
            self.parts.metrics.websocket(subresource);
        }
    }

    /// The right to one more stream, for a request that is fit for one. Checked before the runtime
    /// is asked, which keeps what it prepares for a minute.
    fn slot(&self, headers: &HeaderMap) -> Result<OwnedSemaphorePermit, StreamError> {
        if !negotiate::is_upgrade(headers) {
            return Err(StreamError::NoUpgrade);
        }
        Arc::clone(&self.slots).try_acquire_owned().map_err(|_| StreamError::TooMany)
    }
}

fn query(call: &Call) -> Query {
    Query::parse(call.request.uri().query().unwrap_or_default())
}
