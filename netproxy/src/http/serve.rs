//! Carries a table of routes out, within limits.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tracing::debug;

use super::{Reply, RouteTable};

/// Connections served at once on one port; further ones wait in the kernel. Ample for a few load
/// balancers and scrapers, and some 2 MB at most.
const CONNECTIONS: usize = 64;
/// How long a client may take for the head of a request, or let a connection idle.
const HEAD_DEADLINE: Duration = Duration::from_secs(30);
/// Longest life of a connection, which bounds clients that do not read what they asked for.
const CONNECTION_LIFE: Duration = Duration::from_secs(300);
/// Largest head of a request, in bytes; hyper takes no less than 8 KiB.
const HEAD_BYTES: usize = 16 * 1024;
/// Most headers in a request.
const HEADERS: usize = 64;
/// Pause after a failure to take a connection, which is mostly a lack of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers until dropped, which closes every connection.
pub(super) async fn serve(listener: TcpListener, table: RouteTable) {
    let table = Arc::new(table);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                debug!(%error, "cannot take a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let table = Arc::clone(&table);
        connections.spawn(async move {
            let service = service_fn(move |request| respond(Arc::clone(&table), request));
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_DEADLINE)
                .max_buf_size(HEAD_BYTES)
                .max_headers(HEADERS)
                .serve_connection(TokioIo::new(stream), service);
            let ended = tokio::time::timeout(CONNECTION_LIFE, connection).await;
            if let Ok(Err(error)) = ended {
                debug!(%error, "connection failed");
            }
            drop(place);
        });
    }
}

/// Bodies of requests are never read; hyper drops what comes of one and closes the connection.
async fn respond<B>(
    table: Arc<RouteTable>,
    request: Request<B>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let reply = table.answer(request.uri().path()).await;
    Ok(response(reply, request.method() == Method::HEAD))
}

fn response(reply: Reply, head_only: bool) -> Response<Full<Bytes>> {
    let length = reply.body.len();
    let body = if head_only { Bytes::new() } else { reply.body };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(reply.content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if head_only {
        headers.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    for (name, value) in reply.headers {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
    response
}

#[cfg(test)]
mod tests;
