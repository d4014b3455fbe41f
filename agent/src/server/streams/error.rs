//! Pure. What a caller is told when it gets no stream.

use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};

use super::query::QueryError;
use crate::boundary::{RuntimeError, StreamingServerError};

#[cfg(test)]
mod tests;

/// How long a runtime keeps a stream that nobody fetched, and so how long to wait when it has too
/// many of them (cri-streaming v0.36, 1 min).
const RETRY_SECONDS: &str = "60";

/// Why there is no stream; the texts are the kubelet's (v1.36).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StreamError {
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("pod does not exist")]
    NoPod,
    /// There is a pod of that name with another UID.
    #[error("pod not found")]
    OtherPod,
    #[error("container not found ({0:?})")]
    NotRunning(String),
    #[error("container {container} not found in pod {pod}")]
    NotInPod { container: String, pod: String },
    /// The runtime has no live sandbox of it.
    #[error("pod not found ({0:?})")]
    NoSandbox(String),
    #[error("Upgrade request required")]
    NoUpgrade,
    #[error("unable to upgrade: {0}")]
    BadWebSocket(&'static str),
    #[error("maximum number of in-flight requests exceeded")]
    TooMany,
    #[error("{}", rpc_text(.0))]
    Runtime(#[from] RuntimeError),
    #[error(transparent)]
    Server(#[from] StreamingServerError),
    /// A command of `/run`.
    #[error("command '{command}' exited with {code}: {output}")]
    Failed { command: String, code: i32, output: String },
    #[error("invalid upgrade response: status code {0}")]
    NoSwitch(u16),
    #[error("unable to upgrade: missing upgrade headers in response")]
    OtherSwitch,
}

impl StreamError {
    /// A word of a command that the CRI cannot carry.
    pub fn not_text() -> Self {
        let message = "grpc: error while marshaling: string field contains invalid UTF-8";
        RuntimeError::Refused { code: "Internal".to_owned(), message: message.to_owned() }.into()
    }

    fn status(&self) -> StatusCode {
        match self {
            Self::Query(_) | Self::BadWebSocket(_) => StatusCode::BAD_REQUEST,
            Self::NoPod | Self::OtherPod | Self::Runtime(RuntimeError::NotFound(_)) => {
                StatusCode::NOT_FOUND
            }
            Self::TooMany => StatusCode::TOO_MANY_REQUESTS,
            Self::Runtime(RuntimeError::Refused { code, .. }) if code == "ResourceExhausted" => {
                StatusCode::TOO_MANY_REQUESTS
            }
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The answer to the request: the text alone.
    pub fn answer(&self) -> Response {
        let status = self.status();
        let mut response = Response::new(Body::from(self.to_string()));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        if status == StatusCode::TOO_MANY_REQUESTS {
            headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_SECONDS));
        }
        response
    }
}

/// The error as Go's gRPC prints it.
fn rpc_text(error: &RuntimeError) -> String {
    let (code, text) = match error {
        RuntimeError::NotFound(message) => ("NotFound", message.clone()),
        RuntimeError::Unavailable(message) => ("Unavailable", message.clone()),
        RuntimeError::DeadlineExceeded(_) => {
            ("DeadlineExceeded", "context deadline exceeded".to_owned())
        }
        RuntimeError::Unimplemented(call) => (
            "Unimplemented",
            format!("unknown method {call} for service runtime.v1.RuntimeService"),
        ),
        RuntimeError::Refused { code, message } => (code.as_str(), message.clone()),
    };
    format!("rpc error: code = {code} desc = {text}")
}
