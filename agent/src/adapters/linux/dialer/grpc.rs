//! The standard health service of gRPC servers. Texts are the kubelet's (v1.36), except that a
//! refused connection fails at once, as it does from v1.38 on, and not at the end of the timeout.

use std::time::Duration;

use cri_proto::grpc::health::v1::HealthCheckRequest;
use cri_proto::grpc::health::v1::health_check_response::ServingStatus;
use cri_proto::grpc::health::v1::health_client::HealthClient;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tower::service_fn;

use super::{connect, join, within};
use crate::boundary::{DialError, GrpcHealth};

/// Asks over a connection in the clear.
pub(super) async fn check(
    user_agent: &'static str,
    (host, port): (&str, u16),
    service: &str,
    timeout: Duration,
) -> Result<GrpcHealth, DialError> {
    let deadline = Instant::now() + timeout;
    let at = join(host, port);
    let seconds = timeout.as_secs();
    let late = || {
        DialError::TimedOut(format!(
            "timeout: failed to connect service {at:?} within {seconds}s: context deadline exceeded"
        ))
    };
    let channel = within(deadline, late, open(user_agent, host, port)).await?;
    let late =
        || DialError::TimedOut(format!("timeout: health rpc did not complete within {seconds}s"));
    let question = HealthCheckRequest { service: service.to_owned() };
    let mut client = HealthClient::new(channel);
    let ask = async { client.check(question).await.map_err(|status| rpc_error(&status, late())) };
    let status = within(deadline, late, ask).await?.into_inner().status;
    Ok(match status == ServingStatus::Serving as i32 {
        true => GrpcHealth::Serving,
        false => GrpcHealth::Other(status),
    })
}

/// A channel over one connection, which is not made again when it is lost.
async fn open(user_agent: &'static str, host: &str, port: u16) -> Result<Channel, DialError> {
    let at = join(host, port);
    let failed = |cause: &dyn std::fmt::Display| {
        format!("error: failed to connect service at {at:?}: {cause}")
    };
    let stream = connect(host, port).await.map_err(|error| match error {
        DialError::Refused(text) => DialError::Refused(failed(&text)),
        other => DialError::Failed(failed(&other)),
    })?;
    let endpoint = Endpoint::from_shared(format!("http://{at}"))
        .and_then(|endpoint| endpoint.user_agent(user_agent))
        .map_err(|error| DialError::Failed(failed(&error)))?;
    let mut stream = Some(TokioIo::new(stream));
    let once = service_fn(move |_| {
        let stream = stream.take().ok_or_else(|| std::io::Error::other("connection is closed"));
        std::future::ready(stream)
    });
    endpoint
        .connect_with_connector(once)
        .await
        .map_err(|error| DialError::Failed(failed(&crate::telemetry::Causes(&error))))
}

fn rpc_error(status: &Status, late: DialError) -> DialError {
    match status.code() {
        Code::Unimplemented => DialError::NoHealthService,
        Code::DeadlineExceeded => late,
        code => DialError::Failed(format!(
            "error: health rpc probe failed: rpc error: code = {code:?} desc = {}",
            status.message()
        )),
    }
}
