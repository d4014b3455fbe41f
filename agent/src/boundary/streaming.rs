//! Running something inside a container, and streams to it through the runtime's streaming server.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode};
use tokio::io::{AsyncRead, AsyncWrite};

use super::RuntimeError;
use crate::model::{ContainerId, SandboxId};

/// What a command in a container came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecOutput {
    pub exit_code: i32,
    /// Standard output followed by standard error, at most 16 MiB as the runtime cuts it.
    pub output: Vec<u8>,
}

/// Which of a container's streams a caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(clippy::struct_excessive_bools, reason = "each is a stream of its own, in any combination")]
pub struct ContainerStreams {
    pub stdin: bool,
    pub stdout: bool,
    /// Never together with `tty`, which has one stream for both outputs.
    pub stderr: bool,
    pub tty: bool,
}

/// Commands inside running containers, and where the runtime serves streams to them.
#[async_trait]
pub trait Streaming: Send + Sync {
    /// Runs a command to its end. [`RuntimeError::DeadlineExceeded`] when it takes longer than
    /// `timeout`, after which the runtime ends it; zero means no limit. A runtime that does not say
    /// so in time itself is [`RuntimeError::Unavailable`].
    async fn exec_sync(
        &self,
        id: &ContainerId,
        command: &[String],
        timeout: Duration,
    ) -> Result<ExecOutput, RuntimeError>;

    /// The URL under which the runtime runs the command, once and soon.
    async fn exec_url(
        &self,
        id: &ContainerId,
        command: &[String],
        streams: ContainerStreams,
    ) -> Result<String, RuntimeError>;
    /// The URL under which the runtime gives the streams of the container's own process.
    async fn attach_url(
        &self,
        id: &ContainerId,
        streams: ContainerStreams,
    ) -> Result<String, RuntimeError>;
    /// The URL under which the runtime connects to ports in the sandbox. `ports` are those that the
    /// caller named beforehand; empty when it names them for each connection.
    async fn port_forward_url(&self, id: &SandboxId, ports: &[u16])
    -> Result<String, RuntimeError>;
}

/// A request for another protocol, to a URL of the runtime's.
#[derive(Clone, Debug)]
pub struct UpgradeCall {
    pub method: Method,
    pub url: String,
    /// Sent as they are, besides `Host`.
    pub headers: HeaderMap,
}

/// A connection in both directions.
pub trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// What the runtime's streaming server made of the request.
pub enum UpgradeAnswer {
    /// It speaks the other protocol from here on.
    Upgraded { headers: HeaderMap, connection: Box<dyn Duplex> },
    /// It did not switch; at most 64 KiB of the body.
    Refused { status: StatusCode, headers: HeaderMap, body: Bytes },
}

/// Why the runtime's streaming server cannot be spoken to. The texts are the kubelet's (v1.36).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamingServerError {
    /// The URL leads away from this machine, or is none that can be connected to.
    #[error("error dialing backend: {url}: {cause}")]
    Unfit { url: String, cause: &'static str },
    #[error("error dialing backend: {0}")]
    Unreachable(String),
    /// The connection broke before the answer's head was there.
    #[error("error sending request: {0}")]
    Broken(String),
    #[error("no answer from the container runtime's streaming server in {0:?}")]
    TimedOut(Duration),
}

/// The server behind the URLs that [`Streaming`] gives.
#[async_trait]
pub trait StreamingServer: Send + Sync {
    /// Asks for the other protocol over a connection of its own.
    async fn upgrade(&self, call: UpgradeCall) -> Result<UpgradeAnswer, StreamingServerError>;
}
