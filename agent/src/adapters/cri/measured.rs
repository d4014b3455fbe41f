//! A channel to the runtime that tells the metrics of every call on it.

use std::task::{Context, Poll};

use futures::future::BoxFuture;
use http::{Request, Response};
use tonic::Code;
use tonic::body::Body;
use tonic::transport::{Channel, Error};
use tower::Service;

use crate::metrics::RuntimeMetrics;

#[cfg(test)]
mod tests;

/// A channel whose calls are counted and timed, whoever makes them: what the wire says is the
/// only place that no call can pass by.
#[derive(Clone)]
pub(super) struct Measured {
    channel: Channel,
    metrics: RuntimeMetrics,
}

impl Measured {
    pub fn new(channel: Channel, metrics: RuntimeMetrics) -> Self {
        Self { channel, metrics }
    }
}

impl Service<Request<Body>> for Measured {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let call = self.metrics.begin(operation(request.uri().path()));
        let answer = self.channel.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            if is_success(&answer) {
                call.succeeded();
            }
            Ok(answer)
        })
    }
}

/// Whether the head of the answer carries no error. A server that has nothing else to say puts
/// its status there, and an answer with a message was a success.
fn is_success(answer: &Response<Body>) -> bool {
    let status = answer.headers().get("grpc-status");
    answer.status().is_success()
        && status.is_none_or(|status| Code::from_bytes(status.as_bytes()) == Code::Ok)
}

/// The kubelet's name of the call at this path: `/runtime.v1.RuntimeService/RunPodSandbox` is
/// `run_podsandbox`.
fn operation(path: &str) -> String {
    let method = path.rsplit('/').next().unwrap_or_default();
    let mut name = String::with_capacity(method.len() + 4);
    for letter in method.chars() {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    match name.as_str() {
        "update_container_resources" => "update_container".to_owned(),
        _ => name.replace("pod_sandbox", "podsandbox"),
    }
}
