//! What the proxy answers over HTTP, as data.
//!
//! **What.** Tables of paths with who may ask and what is answered; one for each port.
//! **Owns.** Nothing; [`Ports`] carries a table out.
//! **Invariants.** Every route says who may use it. Nothing in a request but its path is looked
//! at, and no route takes a body.
//! **Source.** Answers to unknown paths and their headers as those of Go's `net/http`.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use http::StatusCode;

mod ports;
mod serve;

pub use ports::{OpenPort, Ports, TcpPorts, Wildcard};

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever reaches the port: kube-proxy asks nobody who they are, and load balancers could
    /// not tell.
    Open,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status.
    pub status: StatusCode,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// More headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Bytes,
}

impl Reply {
    /// 200 with a plain text.
    pub fn text(body: impl Into<Bytes>) -> Self {
        Self {
            status: StatusCode::OK,
            content_type: "text/plain; charset=utf-8",
            headers: Vec::new(),
            body: body.into(),
        }
    }

    /// JSON with this status.
    pub fn json(status: StatusCode, body: impl Into<Bytes>) -> Self {
        Self { status, content_type: "application/json", headers: Vec::new(), body: body.into() }
    }

    fn not_found() -> Self {
        Self { status: StatusCode::NOT_FOUND, ..Self::text("404 page not found\n") }
    }
}

type Answer = Arc<dyn Fn() -> BoxFuture<'static, Reply> + Send + Sync>;

/// One path.
#[derive(Clone)]
struct Route {
    /// Empty for every path.
    path: &'static str,
    access: Access,
    answer: Answer,
}

/// What one port answers.
#[derive(Clone, Default)]
pub struct RouteTable {
    routes: Vec<Route>,
}

impl RouteTable {
    /// A table that knows no path.
    pub fn new() -> Self {
        Self::default()
    }

    /// The table with an answer that needs no waiting. An empty path stands for all.
    #[must_use]
    pub fn with(
        self,
        path: &'static str,
        access: Access,
        answer: impl Fn() -> Reply + Send + Sync + 'static,
    ) -> Self {
        self.with_async(path, access, move || Box::pin(std::future::ready(answer())))
    }

    /// The table with an answer that may take a moment. An empty path stands for all.
    #[must_use]
    pub fn with_async(
        mut self,
        path: &'static str,
        access: Access,
        answer: impl Fn() -> BoxFuture<'static, Reply> + Send + Sync + 'static,
    ) -> Self {
        self.routes.push(Route { path, access, answer: Arc::new(answer) });
        self
    }

    /// The paths and who may use them, in the order in which they were added.
    pub fn paths(&self) -> impl Iterator<Item = (&'static str, Access)> {
        self.routes.iter().map(|route| (route.path, route.access))
    }

    /// The answer to a request for `path`; 404 when the table does not know it.
    pub async fn answer(&self, path: &str) -> Reply {
        let found = self.routes.iter().find(|route| route.path.is_empty() || route.path == path);
        match found {
            Some(Route { access: Access::Open, answer, .. }) => answer().await,
            None => Reply::not_found(),
        }
    }
}

#[cfg(test)]
mod tests;
