//! The routes of the kubelet server as data: each names who may use it and within which limits
//! beside what answers it, so that a route without them cannot be written.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use futures::future::BoxFuture;
use http::{Method, Request};

#[cfg(test)]
mod tests;

/// Where and when a route is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offer {
    /// On the secure port.
    Secure,
    /// On the secure port, and without credentials on the read-only port when there is one.
    SecureAndReadOnly,
    /// On the secure port unless `enableDebuggingHandlers` is false; then it answers 405.
    Debugging,
}

/// What the caller must be allowed: the verb of the method on `nodes/SUBRESOURCE` of this node, for
/// one of these subresources. They are asked for in this order; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access(pub &'static [&'static str]);

impl Access {
    /// What everything without a subresource of its own asks for.
    pub const PROXY: Self = Self(&["proxy"]);
}

/// What one route may take of the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest request body in bytes; 0 takes none. What flows after an upgrade does not count.
    pub body_bytes: usize,
    /// Requests answered at once, the body of the answer included; further ones get 429.
    pub at_once: usize,
    /// Until the head of the answer is there; then 504.
    pub deadline: Duration,
}

/// Values of the names in a route's path, in the order of the path, percent-decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PathValues(Vec<(&'static str, String)>);

impl PathValues {
    /// The value of `{name}`; empty when the path of this route has no such name.
    pub fn get(&self, name: &str) -> &str {
        self.0.iter().find(|(known, _)| *known == name).map_or("", |(_, value)| value)
    }
}

/// Who asks, as the authentication found out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub user: String,
    pub uid: String,
    pub groups: Vec<String>,
    pub extra: Vec<(String, Vec<String>)>,
}

/// One request on its way to its handler; the caller is known and allowed.
pub struct Call {
    pub path: PathValues,
    pub caller: Caller,
    /// The request itself, with what `hyper::upgrade::on` needs.
    pub request: Request<Body>,
}

impl Call {
    /// The pairs of the query string in their order, percent-decoded.
    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.request.uri().query().unwrap_or_default();
        form_urlencoded::parse(query.as_bytes()).into_owned().collect()
    }
}

type Handler = Arc<dyn Fn(Call) -> BoxFuture<'static, Response> + Send + Sync>;

/// One path with what answers it.
#[derive(Clone)]
pub struct Route {
    /// Empty takes every method.
    pub methods: Vec<Method>,
    /// `/containerLogs/{namespace}/{pod}/{container}`; a last `{*rest}` takes what is left, also
    /// nothing.
    pub path: &'static str,
    pub offer: Offer,
    pub access: Access,
    pub limits: Limits,
    handler: Handler,
}

impl Route {
    /// The route of `methods` on `path`; without methods it takes all of them.
    pub fn new<F>(
        (methods, path): (&[Method], &'static str),
        offer: Offer,
        access: Access,
        limits: Limits,
        handler: impl Fn(Call) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Response> + Send + 'static,
    {
        let handler: Handler = Arc::new(move |call| Box::pin(handler(call)));
        Self { methods: methods.to_vec(), path, offer, access, limits, handler }
    }

    /// Answers a call that is allowed.
    pub async fn answer(&self, call: Call) -> Response {
        (self.handler)(call).await
    }

    fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }

    /// The values of the path's names; `None` when `path` is another one. One slash at the end
    /// makes no difference.
    fn matches(&self, path: &str) -> Option<PathValues> {
        let mut values = Vec::new();
        let mut rest = path.strip_suffix('/').unwrap_or(path).split('/');
        for part in self.path.split('/') {
            let name = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
            if let Some(name) = name.and_then(|name| name.strip_prefix('*')) {
                let left: Vec<&str> = rest.collect();
                values.push((name, decoded(&left.join("/"))?));
                return Some(PathValues(values));
            }
            let found = rest.next()?;
            match name {
                Some(name) if !found.is_empty() => values.push((name, decoded(found)?)),
                None if found == part => {}
                _ => return None,
            }
        }
        rest.next().is_none().then_some(PathValues(values))
    }
}

fn decoded(part: &str) -> Option<String> {
    percent_encoding::percent_decode_str(part).decode_utf8().ok().map(Into::into)
}

/// What a table has for a request.
pub enum Found<'a> {
    Route(&'a Route, PathValues),
    /// The path exists for other methods.
    OtherMethod(&'a Route),
    Nothing,
}

/// All routes of the server.
#[derive(Clone, Default)]
pub struct RouteTable(Vec<Route>);

impl RouteTable {
    pub fn new(routes: Vec<Route>) -> Self {
        Self(routes)
    }

    pub fn routes(&self) -> &[Route] {
        &self.0
    }

    /// The routes that need no credentials.
    pub fn offered_to_everybody(mut self) -> Self {
        self.0.retain(|route| route.offer == Offer::SecureAndReadOnly);
        self
    }

    /// The first route of that method and path.
    pub fn find(&self, method: &Method, path: &str) -> Found<'_> {
        let mut other = None;
        for route in &self.0 {
            let Some(values) = route.matches(path) else { continue };
            if route.takes(method) {
                return Found::Route(route, values);
            }
            other.get_or_insert(route);
        }
        other.map_or(Found::Nothing, Found::OtherMethod)
    }
}
