//! Runs a probe once and says what came of it.

use std::time::Duration;

use super::ProbeContext;
use super::action::Action;
use crate::boundary::{
    DialError, ExecOutput, GrpcHealth, HttpAnswer, HttpCall, HttpScheme, RuntimeError,
};
use crate::model::ContainerId;

#[cfg(test)]
mod tests;

/// How much of a command's output is told (kubelet v1.36, 10 KiB).
const OUTPUT_LIMIT: usize = 10 * 1024;

/// What one attempt came to. The texts are the kubelet's (v1.36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Success,
    /// A success that the user should hear of.
    Warning(String),
    Failure(String),
    /// The probe could not be made, which says nothing about the container.
    Errored(String),
}

/// Runs the action against one container.
pub(super) async fn attempt(
    context: &ProbeContext,
    id: &ContainerId,
    action: &Action,
    timeout: Duration,
) -> Outcome {
    match action {
        Action::Exec(command) => {
            judge_exec(command, timeout, context.streaming.exec_sync(id, command, timeout).await)
        }
        Action::Http(call) => judge_http(call, context.dialer.http(call, timeout).await),
        Action::Tcp { host, port } => match context.dialer.tcp(host, *port, timeout).await {
            Ok(()) => Outcome::Success,
            Err(error) => Outcome::Failure(error.to_string()),
        },
        Action::Grpc { host, port, service } => {
            judge_grpc(context.dialer.grpc_health(host, *port, service, timeout).await)
        }
    }
}

/// A command that takes too long has failed; a runtime that cannot run it says nothing.
fn judge_exec(
    command: &[String],
    timeout: Duration,
    result: Result<ExecOutput, RuntimeError>,
) -> Outcome {
    match result {
        Ok(end) if end.exit_code == 0 => Outcome::Success,
        Ok(end) => {
            let told = &end.output[..end.output.len().min(OUTPUT_LIMIT)];
            Outcome::Failure(String::from_utf8_lossy(told).into_owned())
        }
        Err(RuntimeError::DeadlineExceeded(_)) => Outcome::Failure(format!(
            "command timed out: {:?} timed out after {}s",
            command.join(" "),
            timeout.as_secs()
        )),
        Err(error) => Outcome::Errored(error.to_string()),
    }
}

/// 200 to 399 is well. A redirect that was not followed to its end is well too, but told.
fn judge_http(call: &HttpCall, result: Result<HttpAnswer, DialError>) -> Outcome {
    match result {
        Ok(answer) if (200..300).contains(&answer.status) => Outcome::Success,
        Ok(answer) if (300..400).contains(&answer.status) => {
            let body = String::from_utf8_lossy(&answer.body);
            Outcome::Warning(format!("Probe terminated redirects, Response body: {body}"))
        }
        Ok(answer) => {
            Outcome::Failure(format!("HTTP probe failed with statuscode: {}", answer.status))
        }
        Err(DialError::BodyLost(message)) => Outcome::Errored(message),
        Err(error @ DialError::PlainHttp) => {
            Outcome::Failure(format!("Get {:?}: http: {error}", url(call)))
        }
        Err(error) => Outcome::Failure(format!("Get {:?}: {error}", url(call))),
    }
}

fn judge_grpc(result: Result<GrpcHealth, DialError>) -> Outcome {
    match result {
        Ok(GrpcHealth::Serving) => Outcome::Success,
        Ok(GrpcHealth::Other(status)) => {
            let status = match status {
                0 => "UNKNOWN".to_owned(),
                2 => "NOT_SERVING".to_owned(),
                3 => "SERVICE_UNKNOWN".to_owned(),
                other => other.to_string(),
            };
            Outcome::Failure(format!("service unhealthy (responded with {status:?})"))
        }
        Err(DialError::NoHealthService) => Outcome::Failure(
            "error: this server does not implement the grpc health protocol \
             (grpc.health.v1.Health)"
                .to_owned(),
        ),
        Err(error) => Outcome::Failure(error.to_string()),
    }
}

fn url(call: &HttpCall) -> String {
    let scheme = match call.scheme {
        HttpScheme::Http => "http",
        HttpScheme::Https => "https",
    };
    let host = match call.host.contains(':') {
        true => format!("[{}]", call.host),
        false => call.host.clone(),
    };
    format!("{scheme}://{host}:{}{}", call.port, call.path)
}
