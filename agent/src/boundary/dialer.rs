//! Outgoing connections to pods: probes and hooks.

use std::time::Duration;

use async_trait::async_trait;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpScheme {
    Http,
    Https,
}

/// One GET request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpCall {
    pub scheme: HttpScheme,
    /// Name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// With query, beginning with a slash.
    pub path: String,
    /// In this order; a name may be repeated. The caller sets `User-Agent` and `Accept`.
    pub headers: Vec<(String, String)>,
}

/// How a request was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpAnswer {
    pub status: u16,
    /// The body's first 10 KiB.
    pub body: Vec<u8>,
    /// Where a redirect that was not followed points to, because it leaves the host.
    pub left_for: Option<String>,
}

/// What a gRPC health service says of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcHealth {
    Serving,
    /// `NOT_SERVING`, `UNKNOWN` or `SERVICE_UNKNOWN`, by its number in the health protocol.
    Other(i32),
}

/// Why there is no answer. The text is for users.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    TimedOut(String),
    /// An HTTPS request was answered by a server that speaks plain HTTP.
    #[error("server gave HTTP response to HTTPS client")]
    PlainHttp,
    /// The gRPC server does not have the health service.
    #[error("the server does not implement the grpc health protocol")]
    NoHealthService,
    /// The answer's head came; its body did not, or not whole, or not in time.
    #[error("{0}")]
    BodyLost(String),
    #[error("{0}")]
    Failed(String),
}

/// Connections from the node to its pods. Each is made for one question and closed after it; no
/// proxy is used.
#[async_trait]
pub trait Dialer: Send + Sync {
    /// Follows up to ten redirects within the host.
    async fn http(&self, call: &HttpCall, timeout: Duration) -> Result<HttpAnswer, DialError>;
    /// Connects and closes at once.
    async fn tcp(&self, host: &str, port: u16, timeout: Duration) -> Result<(), DialError>;
    /// Asks the standard health service about `service`; empty asks about the whole server.
    async fn grpc_health(
        &self,
        host: &str,
        port: u16,
        service: &str,
        timeout: Duration,
    ) -> Result<GrpcHealth, DialError>;
}
