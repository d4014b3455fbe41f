//! From an answered request to a running stream: what passes, what is translated, what is tunnelled.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, Method, Request, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::sync::OwnedSemaphorePermit;

use super::error::StreamError;
use super::translate::Translation;
use super::{Answer, Streams, copy, negotiate, tunnel};
use crate::boundary::{ContainerStreams, UpgradeAnswer, UpgradeCall};

impl Streams {
    /// Serves an exec or attach whose URL the runtime gave.
    pub(super) async fn remote_command(
        &self,
        mut request: Request<Body>,
        url: String,
        streams: ContainerStreams,
        slot: OwnedSemaphorePermit,
    ) -> Answer {
        if !negotiate::is_translated(request.headers()) {
            return self.pass(request, url, slot).await;
        }
        let protocol = negotiate::REMOTE_COMMAND_V5;
        let headers = negotiate::websocket_answer(request.headers(), protocol)
            .map_err(StreamError::BadWebSocket)?;
        let translation = Translation { server: Arc::clone(&self.parts.server), url, streams };
        let upgraded = hyper::upgrade::on(&mut request);
        // The client is answered first, as the kubelet does it; errors come as a Status.
        tokio::spawn(async move {
            if let Some(client) = client(upgraded).await {
                translation.run(client).await;
            }
            drop(slot);
        });
        Ok(switching(headers))
    }

    /// Serves a port-forward inside a WebSocket. `protocols` are those that the client offers.
    pub(super) async fn tunnel(
        &self,
        mut request: Request<Body>,
        url: String,
        protocols: &[String],
        slot: OwnedSemaphorePermit,
    ) -> Answer {
        // A request that cannot be answered costs the runtime nothing.
        negotiate::websocket_answer(request.headers(), "").map_err(StreamError::BadWebSocket)?;
        let headers = negotiate::spdy_request(protocols.iter().map(String::as_str));
        let upgrade = UpgradeCall { method: Method::POST, url, headers };
        let (headers, connection) = match self.parts.server.upgrade(upgrade).await? {
            UpgradeAnswer::Refused { status, headers, body } => {
                return refused(status, headers, body);
            }
            UpgradeAnswer::Upgraded { headers, connection } => (headers, connection),
        };
        if !negotiate::switches_to_spdy(&headers) {
            return Err(StreamError::OtherSwitch);
        }
        let protocol = match negotiate::chosen_protocol(&headers) {
            "" => String::new(),
            chosen => negotiate::tunnel_name(chosen),
        };
        let headers = negotiate::websocket_answer(request.headers(), &protocol)
            .map_err(StreamError::BadWebSocket)?;
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Some(client) = client(upgraded).await {
                tunnel::tunnel(client, connection).await;
            }
            drop(slot);
        });
        Ok(switching(headers))
    }

    /// Makes the caller's request to the runtime and hands its answer back; after an upgrade the
    /// connections are joined.
    pub(super) async fn pass(
        &self,
        mut request: Request<Body>,
        url: String,
        slot: OwnedSemaphorePermit,
    ) -> Answer {
        let headers = negotiate::passed_on(request.headers());
        let upgrade = UpgradeCall { method: request.method().clone(), url, headers };
        match self.parts.server.upgrade(upgrade).await? {
            UpgradeAnswer::Refused { status, headers, body } => refused(status, headers, body),
            UpgradeAnswer::Upgraded { headers, connection } => {
                let upgraded = hyper::upgrade::on(&mut request);
                tokio::spawn(async move {
                    if let Some(client) = client(upgraded).await {
                        copy::copy_both(client, connection).await;
                    }
                    drop(slot);
                });
                Ok(switching(headers))
            }
        }
    }
}

/// The caller's side of the connection; `None` when it left before.
async fn client(upgraded: OnUpgrade) -> Option<TokioIo<hyper::upgrade::Upgraded>> {
    upgraded.await.ok().map(TokioIo::new)
}

fn switching(headers: HeaderMap) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *response.headers_mut() = headers;
    response
}

/// An answer of the runtime's that is no upgrade. A redirect is never passed on.
fn refused(status: StatusCode, headers: HeaderMap, body: bytes::Bytes) -> Answer {
    if !status.is_client_error() && !status.is_server_error() {
        return Err(StreamError::NoSwitch(status.as_u16()));
    }
    let kept = |name: &http::HeaderName| {
        *name == http::header::CONTENT_TYPE || name.as_str().starts_with("x-")
    };
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().extend(
        headers
            .into_iter()
            .filter_map(|(name, value)| name.map(|name| (name, value)))
            .filter(|(name, _)| kept(name)),
    );
    Ok(response)
}
