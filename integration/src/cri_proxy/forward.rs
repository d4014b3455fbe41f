//! Connections, and the way of one call through the proxy.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tonic::Code;

use super::State;
use super::calls::{Outcome, Subject};
use super::faults::{Fault, Gate, Moment};

type Body = BoxBody<Bytes, hyper::Error>;
type Upstream = SendRequest<Full<Bytes>>;

/// A call that broke because the runtime went away is followed by the end of its connection, which
/// tells the caller more than the end of one call. A call that broke alone is given up after this.
const CONNECTION_END: Duration = Duration::from_secs(1);

/// Serves until the task is aborted.
pub(super) async fn accept(listener: UnixListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            // The caller sees its connection end, which is all there is to say.
            let _ = serve(stream, state).await;
        });
    }
}

/// Serves one connection until either side ends.
async fn serve(stream: UnixStream, state: Arc<State>) -> Result<()> {
    let runtime = UnixStream::connect(&state.runtime).await?;
    let (upstream, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(runtime)).await?;
    let (ended, runtime_gone) = oneshot::channel::<Infallible>();
    tokio::spawn(async move {
        // Not ended by the caller's end: held calls may still go on.
        let _ = connection.await;
        drop(ended);
    });
    let service = service_fn(move |request| {
        let way = Way { state: Arc::clone(&state), upstream: upstream.clone() };
        async move { way.answer(request).await }
    });
    let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    tokio::select! {
        served = server.serve_connection(TokioIo::new(stream), service) => Ok(served?),
        _ = runtime_gone => Ok(()),
    }
}

/// How a call gets to the runtime.
struct Way {
    state: Arc<State>,
    upstream: Upstream,
}

/// A call that was read whole.
struct Received {
    number: usize,
    method: String,
    subject: Subject,
    request: Request<Full<Bytes>>,
}

impl Way {
    async fn answer(self, request: Request<Incoming>) -> Result<Response<Body>> {
        let call = self.receive(request).await?;
        let gate = self.state.faults().gate(&call.method, &call.subject);
        if let Some(gate) = gate {
            self.state.calls().meet(call.number, "held");
            // A task of its own: it goes on when the caller dies.
            return tokio::spawn(self.hold(call, gate)).await?;
        }
        let fault = self.state.faults().fault(&call.method, &call.subject);
        if let Some(fault) = fault {
            self.state.calls().meet(call.number, fault.name());
        }
        match fault {
            Some(Fault::Refuse(code)) => {
                self.state.calls().end(call.number, Outcome::Withheld);
                return Ok(status(code, "refused by the test"));
            }
            Some(Fault::Hang) => {
                self.state.calls().end(call.number, Outcome::Withheld);
                return std::future::pending().await;
            }
            Some(Fault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(Fault::Cut) | None => {}
        }
        let answer = self.forward(call).await?;
        Ok(if fault == Some(Fault::Cut) { connection_broke() } else { answer })
    }

    async fn hold(self, call: Received, mut gate: Gate) -> Result<Response<Body>> {
        if gate.moment == Moment::Before && !gate.pass().await {
            self.state.calls().end(call.number, Outcome::Withheld);
            return Ok(connection_broke());
        }
        let answer = self.forward(call).await?;
        if gate.moment == Moment::After && !gate.pass().await {
            return Ok(connection_broke());
        }
        Ok(answer)
    }

    async fn receive(&self, request: Request<Incoming>) -> Result<Received> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await?.to_bytes();
        let path = parts.uri.path().to_owned();
        let method = path.rsplit('/').next().unwrap_or_default().to_owned();
        let (subject, number) = {
            let mut calls = self.state.calls();
            let subject = calls.subject(&method, &body);
            (subject.clone(), calls.begin(&method, subject))
        };
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = parts.method;
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority("localhost")
            .path_and_query(path)
            .build()
            .context("path of a call")?;
        *request.headers_mut() = parts.headers;
        request.headers_mut().remove(header::HOST);
        Ok(Received { number, method, subject, request })
    }

    async fn forward(&self, call: Received) -> Result<Response<Body>> {
        let streams = call.request.uri().path().starts_with("/containerd.")
            || call.method == "GetContainerEvents";
        let answer = match self.upstream.clone().send_request(call.request).await {
            Ok(answer) => answer,
            Err(error) => {
                tokio::time::sleep(CONNECTION_END).await;
                return Err(error).context("the runtime went away");
            }
        };
        let (parts, body) = answer.into_parts();
        if streams {
            return Ok(Response::from_parts(parts, body.boxed()));
        }
        let collected = body.collect().await?;
        let trailers = collected.trailers().cloned();
        let body = collected.to_bytes();
        let code = trailers.as_ref().and_then(grpc_code).or_else(|| grpc_code(&parts.headers));
        let code = code.unwrap_or(0);
        {
            let mut calls = self.state.calls();
            calls.end(call.number, Outcome::Answered(code));
            if code == 0 {
                calls.learn(&call.method, &call.subject, &body);
            }
        }
        let body = Full::new(body).map_err(|never| match never {});
        let body = body.with_trailers(std::future::ready(trailers.map(Ok)));
        Ok(Response::from_parts(parts, body.boxed()))
    }
}

fn grpc_code(headers: &HeaderMap) -> Option<i32> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}

/// What a client library says when its connection breaks during a call.
fn connection_broke() -> Response<Body> {
    status(Code::Unavailable, "error reading from server: EOF")
}

/// An answer that is nothing but a gRPC status.
fn status(code: Code, message: &'static str) -> Response<Body> {
    let mut response =
        Response::new(Full::new(Bytes::new()).map_err(|never| match never {}).boxed());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert("grpc-status", HeaderValue::from(code as i32));
    headers.insert("grpc-message", HeaderValue::from_static(message));
    response
}
