//! One request on its way to its route: who asks, may he, is there room, and what comes back.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::{Body, Bytes, HttpBody};
use axum::response::Response;
use futures::FutureExt;
use http::{Method, Request};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answers;
use super::body::{guard, limited};
use super::metrics::{Measured, RequestLabels, RequestMetrics, ServerKind};
use crate::config::Handlers;
use crate::server::authenticate::{Authenticator, PeerCertificates};
use crate::server::authorize::{Authorizer, Denied};
use crate::server::route::{Access, Call, Caller, Found, Offer, PathValues, Route, RouteTable};
use crate::telemetry::Causes;

/// The place that a request takes of what its route may answer at once. In the request's
/// extensions: a handler whose answer is an upgrade keeps a clone for as long as that flows.
#[derive(Clone)]
pub struct RouteRoom(#[expect(dead_code, reason = "held, not read")] Arc<OwnedSemaphorePermit>);

/// Who passes a port's gate.
pub enum Gate {
    /// Those who are known and allowed.
    Secure(Box<Callers>),
    /// Everybody, to what is offered to everybody.
    ReadOnly,
}

/// Who callers are and what they may do.
pub struct Callers {
    pub authenticator: Authenticator,
    pub authorizer: Authorizer,
}

impl Gate {
    fn kind(&self) -> ServerKind {
        match self {
            Self::Secure(_) => ServerKind::Secure,
            Self::ReadOnly => ServerKind::ReadOnly,
        }
    }
}

/// Answers the requests of one port.
pub struct Dispatcher {
    table: RouteTable,
    /// Room of the routes, in the order of the table.
    room: Vec<Arc<Semaphore>>,
    gate: Gate,
    handlers: Handlers,
    metrics: Option<Arc<dyn RequestMetrics>>,
}

impl Dispatcher {
    pub fn new(
        table: RouteTable,
        gate: Gate,
        handlers: Handlers,
        metrics: Option<Arc<dyn RequestMetrics>>,
    ) -> Self {
        let table = match gate {
            Gate::Secure(_) => table,
            Gate::ReadOnly => table.offered_to_everybody(),
        };
        let room = table.routes().iter().map(|route| Semaphore::new(route.limits.at_once));
        let room = room.map(Arc::new).collect();
        Self { table, room, gate, handlers, metrics }
    }

    /// The answer to a request from that peer. `allowed` is called once the caller is known to be
    /// allowed what it asks for.
    pub async fn answer<B>(
        &self,
        peer: &PeerCertificates,
        request: Request<B>,
        allowed: impl FnOnce(),
    ) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let labels = RequestLabels::new(self.gate.kind(), &self.table, &method, &path);
        let mut measured = Measured::begin(self.metrics.clone(), labels);
        let found = self.table.find(&method, &path);
        let mut answer = match self.pass(peer, request, access(&found)).await {
            Ok((caller, request)) => {
                allowed();
                self.found((&method, &path), found, (caller, request)).await
            }
            Err(refusal) => *refusal,
        };
        measured.answered(answer.status());
        if method == Method::HEAD {
            // HTTP/1 leaves the body out by itself, HTTP/2 does not.
            *answer.body_mut() = Body::empty();
        }
        guard(answer, measured)
    }

    /// The caller, if he may use what was asked for.
    async fn pass<B>(
        &self,
        peer: &PeerCertificates,
        mut request: Request<B>,
        access: Access,
    ) -> Result<(Caller, Request<B>), Box<Response>> {
        let Gate::Secure(callers) = &self.gate else {
            return Ok((Caller::default(), request));
        };
        let Callers { authenticator, authorizer } = &**callers;
        let caller = authenticator.authenticate(peer, request.headers_mut()).await;
        let caller = caller.map_err(|why| {
            tracing::debug!(path = request.uri().path(), %why, "a caller is not known");
            Box::new(answers::unauthorized())
        })?;
        match authorizer.authorize(&caller, request.method(), access).await {
            Ok(()) => Ok((caller, request)),
            Err(denied @ Denied::Forbidden { .. }) => {
                Err(Box::new(answers::forbidden(denied.to_string())))
            }
            Err(denied @ Denied::Unknown { .. }) => {
                tracing::debug!(error = %Causes(&denied), "a caller's rights are not known");
                Err(Box::new(answers::authorization_failed(denied.to_string())))
            }
        }
    }

    async fn found<B>(
        &self,
        (method, path): (&Method, &str),
        found: Found<'_>,
        (caller, request): (Caller, Request<B>),
    ) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let disabled = |route: &Route| {
            route.offer == Offer::Debugging && self.handlers == Handlers::WithoutDebugging
        };
        match found {
            Found::Nothing => answers::not_found(self.is_below_known(path)),
            Found::Route(route, _) | Found::OtherMethod(route) if disabled(route) => {
                answers::debugging_disabled()
            }
            Found::OtherMethod(route) => answers::method_not_allowed(&route.methods),
            Found::Route(route, values) => {
                tracing::trace!(%method, path = route.path, user = caller.user, "answering");
                self.handle((route, values), caller, request).await
            }
        }
    }

    /// Lets the route answer, within its limits.
    async fn handle<B>(
        &self,
        (route, path): (&Route, PathValues),
        caller: Caller,
        mut request: Request<B>,
    ) -> Response
    where
        B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let limits = route.limits;
        let announced = request.body().size_hint().lower();
        if announced > u64::try_from(limits.body_bytes).unwrap_or(u64::MAX) {
            return answers::body_too_large();
        }
        let Some(Ok(permit)) = self.room_of(route).map(Semaphore::try_acquire_owned) else {
            return answers::too_many();
        };
        let room = RouteRoom(Arc::new(permit));
        request.extensions_mut().insert(room.clone());
        let (parts, body) = request.into_parts();
        let (body, exceeded) = limited(body, limits.body_bytes);
        let call = Call { path, caller, request: Request::from_parts(parts, body) };
        // A handler that panics must not take the connection's other requests with it.
        let answering = AssertUnwindSafe(route.answer(call)).catch_unwind();
        let answer = match tokio::time::timeout(limits.deadline, answering).await {
            Ok(Ok(_)) if exceeded.is_so() => answers::body_too_large(),
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => {
                tracing::error!(path = route.path, "a handler of the kubelet server panicked");
                answers::failed()
            }
            Err(_) => answers::too_late(),
        };
        guard(answer, room)
    }

    /// Whether a route for certain methods begins with the same part.
    fn is_below_known(&self, path: &str) -> bool {
        let first = |path: &str| path.split('/').nth(1).unwrap_or_default().to_owned();
        let asked = first(path);
        let routes = self.table.routes().iter().filter(|route| !route.methods.is_empty());
        routes.map(|route| first(route.path)).any(|known| known == asked)
    }

    fn room_of(&self, route: &Route) -> Option<Arc<Semaphore>> {
        let place = self.table.routes().iter().position(|other| std::ptr::eq(other, route))?;
        self.room.get(place).cloned()
    }
}

/// What must be allowed: what the path asks for whatever the method, and for paths that do not
/// exist the same as for all without rights of their own.
fn access(found: &Found<'_>) -> Access {
    match found {
        Found::Route(route, _) | Found::OtherMethod(route) => route.access,
        Found::Nothing => Access::PROXY,
    }
}
