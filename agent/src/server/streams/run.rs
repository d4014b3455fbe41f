//! `/run`: a command without streams.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::HeaderValue;
use http::header::CONTENT_TYPE;

use super::error::StreamError;
use super::{Answer, Streams, query};
use crate::server::route::Call;

impl Streams {
    /// Runs the command to its end and answers with both outputs. A command that fails answers 500
    /// with its code and what it wrote, in the kubelet's words (v1.36).
    pub(super) async fn run(self: Arc<Self>, call: Call) -> Answer {
        let pod = self.pod(&call)?;
        let name = call.path.get("container");
        let container = self.running(&pod, name).await?;
        let container = container.ok_or_else(|| StreamError::NotRunning(name.to_owned()))?;
        let command = query(&call).run_command().ok_or_else(StreamError::not_text)?;
        let done = self.parts.streaming.exec_sync(&container, &command, Duration::ZERO).await?;
        if done.exit_code != 0 {
            return Err(StreamError::Failed {
                command: command.join(" "),
                code: done.exit_code,
                output: String::from_utf8_lossy(&done.output).into_owned(),
            });
        }
        let silent = done.output.is_empty();
        let mut response = Response::new(Body::from(done.output));
        if !silent {
            // The kubelet's label for it, although it is whatever the command wrote.
            let label = HeaderValue::from_static("application/json");
            response.headers_mut().insert(CONTENT_TYPE, label);
        }
        Ok(response)
    }
}
