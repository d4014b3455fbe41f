//! Channels to the runtime's socket and the deadline of each kind of call.

use std::future::Future;
use std::time::Duration;

use cri_proto::runtime::v1::image_service_client::ImageServiceClient;
use cri_proto::runtime::v1::runtime_service_client::RuntimeServiceClient;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::error::runtime_error;
use super::measured::Measured;
use crate::boundary::RuntimeError;
use crate::metrics::RuntimeMetrics;

/// Largest CRI message, 16 MiB (kubelet v1.36).
const MESSAGE_LIMIT: usize = 16 * 1024 * 1024;
/// Connecting to a local socket either works at once or the runtime is away.
const CONNECT_DEADLINE: Duration = Duration::from_secs(3);
/// Version and Status: the runtime answers from memory.
pub(super) const SHORT: Duration = Duration::from_secs(10);

/// The runtime's services. Cheap to clone; connects at the first call and again after a loss.
#[derive(Clone)]
pub struct CriClient {
    pub(super) runtime: RuntimeServiceClient<Measured>,
    pub(super) images: ImageServiceClient<Measured>,
    /// Deadline of a plain call, `runtimeRequestTimeout`, 2 min by default (v1.36).
    pub(super) plain: Duration,
}

impl CriClient {
    /// A client for `unix://` endpoints. No connection is made yet; an error means that an
    /// endpoint cannot be one. `metrics` are told of every call.
    pub fn new(
        runtime: &str,
        images: &str,
        plain: Duration,
        metrics: &RuntimeMetrics,
    ) -> Result<Self, RuntimeError> {
        let runtime_channel = lazy_channel(runtime)?;
        let image_channel =
            if runtime == images { runtime_channel.clone() } else { lazy_channel(images)? };
        Ok(Self {
            runtime: RuntimeServiceClient::new(Measured::new(runtime_channel, metrics.clone()))
                .max_decoding_message_size(MESSAGE_LIMIT)
                .max_encoding_message_size(MESSAGE_LIMIT),
            images: ImageServiceClient::new(Measured::new(image_channel, metrics.clone()))
                .max_decoding_message_size(MESSAGE_LIMIT)
                .max_encoding_message_size(MESSAGE_LIMIT),
            plain,
        })
    }
}

/// A channel to a `unix:///path` endpoint.
pub(super) fn lazy_channel(endpoint: &str) -> Result<Channel, RuntimeError> {
    let unusable = |cause: String| RuntimeError::Unavailable(format!("{endpoint}: {cause}"));
    let path = endpoint
        .strip_prefix("unix://")
        .ok_or_else(|| unusable("not a unix:// endpoint".to_owned()))?;
    let endpoint = Endpoint::from_shared(format!("unix:{path}"))
        .map_err(|error| unusable(error.to_string()))?;
    Ok(endpoint.connect_timeout(CONNECT_DEADLINE).connect_lazy())
}

/// Waits for a call at most `deadline`. `what` names the call in an error.
pub(super) async fn within<T>(
    what: &str,
    deadline: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, RuntimeError> {
    match tokio::time::timeout(deadline, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(runtime_error(what, &status)),
        Err(_) => {
            Err(RuntimeError::DeadlineExceeded(format!("{what} after {} s", deadline.as_secs())))
        }
    }
}
