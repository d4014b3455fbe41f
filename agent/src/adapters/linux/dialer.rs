//! Connections from the node to its pods, one for each question, from the node's own network and
//! past any proxy.
//!
//! The error texts are what Go's network library says, without the sender's port, because users
//! and scripts know them from the kubelet (v1.36); a text without the port also stays the same from
//! probe to probe, so that its events are counted and not repeated.

mod grpc;
mod http;
mod tls;

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::boundary::{DialError, Dialer, GrpcHealth, HttpAnswer, HttpCall};

/// How long the kernel keeps trying to send what is left after a close
/// (kubelet v1.36, probe dialer, 1 s).
const LINGER: libc::linger = libc::linger { l_onoff: 1, l_linger: 1 };

/// The real network.
pub struct LinuxDialer {
    tls: tokio_rustls::TlsConnector,
    /// What gRPC health checks call themselves. HTTP calls bring theirs along.
    user_agent: &'static str,
}

impl LinuxDialer {
    pub fn new(user_agent: &'static str) -> Self {
        Self { tls: tls::connector(), user_agent }
    }
}

#[async_trait]
impl Dialer for LinuxDialer {
    async fn http(&self, call: &HttpCall, timeout: Duration) -> Result<HttpAnswer, DialError> {
        http::get(&self.tls, call, Instant::now() + timeout).await
    }

    async fn tcp(&self, host: &str, port: u16, timeout: Duration) -> Result<(), DialError> {
        let late = || DialError::TimedOut(format!("dial tcp {}: i/o timeout", join(host, port)));
        let stream = within(Instant::now() + timeout, late, connect(host, port)).await?;
        close(stream);
        Ok(())
    }

    async fn grpc_health(
        &self,
        host: &str,
        port: u16,
        service: &str,
        timeout: Duration,
    ) -> Result<GrpcHealth, DialError> {
        grpc::check(self.user_agent, (host, port), service, timeout).await
    }
}

/// Closes the connection with [`LINGER`]. Such a close can block for as long, so it is not done on
/// the runtime's threads.
fn close(stream: TcpStream) {
    let Ok(stream) = stream.into_std() else { return };
    // Without it the close is an ordinary one.
    let _ = setsockopt(&stream, sockopt::Linger, &LINGER);
    tokio::task::spawn_blocking(move || drop(stream));
}

/// Waits for `work` until `deadline`, then fails with `late`.
async fn within<T>(
    deadline: Instant,
    late: impl FnOnce() -> DialError,
    work: impl Future<Output = Result<T, DialError>>,
) -> Result<T, DialError> {
    match tokio::time::timeout_at(deadline, work).await {
        Ok(result) => result,
        Err(_) => Err(late()),
    }
}

/// A connection to the first address of the host that takes one.
async fn connect(host: &str, port: u16) -> Result<TcpStream, DialError> {
    let addresses: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, port)],
        Err(_) => match tokio::net::lookup_host((host, port)).await {
            Ok(found) => found.collect(),
            Err(_) => Vec::new(),
        },
    };
    let mut failure = DialError::Failed(format!("dial tcp: lookup {host}: no such host"));
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // A request is one small write; it must not wait for another.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => {
                let text = format!("dial tcp {address}: connect: {}", reason(&error));
                failure = match error.kind() {
                    io::ErrorKind::ConnectionRefused => DialError::Refused(text),
                    _ => DialError::Failed(text),
                };
            }
        }
    }
    Err(failure)
}

/// The kernel's text of an error in Go's spelling: `connection refused`.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_lowercase().chain(letters).collect())
}

/// `host:port`, with brackets around an IPv6 address.
fn join(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests;
