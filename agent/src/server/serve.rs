//! The ports of the kubelet server: accepts connections, speaks TLS and HTTP on them, and gives
//! their requests to the routes.
//!
//! ```text
//! listener ─> handshake ─> connection (HTTP/1.1, HTTP/2) ─> Dispatcher ─> Route
//!             10 s         idle 90 s                        who, may he, limits
//! ```
//!
//! A connection counts as a stranger's until a request on it was allowed. Strangers have little
//! time and little room, and the oldest gives way to the newest; so idle or slow clients without
//! rights hold nobody else.

mod answers;
mod body;
mod connection;
mod dispatch;
mod metrics;
mod strangers;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

pub use dispatch::{Callers, Dispatcher, Gate, RouteRoom};
pub use metrics::{RequestLabels, RequestMetrics, ServerKind};

use super::authenticate::PeerCertificates;
use super::tls::ServerTls;
use strangers::Strangers;

/// How long a handshake may take. The slowest links need a second or two.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);
/// Connections at once, those of allowed callers included; further ones wait in the kernel. What
/// flows after an upgrade does not count. Ample for an API server and a dozen of scrapers, and
/// a fraction of the descriptors a daemon gets.
const CONNECTIONS: usize = 2048;
/// Of them, those on which nothing was allowed yet.
const STRANGERS: usize = 256;
/// Silence before the first question whether the client is still there, and between two of them;
/// the kernel gives up after nine (Go 1.26 asks as often).
const KEEP_ALIVE_SECONDS: u32 = 15;
/// Pause after a failed accept: descriptors or memory are short, and at once they still are.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What a client that does not speak TLS is told.
const PLAIN_HTTP: &[u8] =
    b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// One port that is served.
struct Port {
    listener: TcpListener,
    dispatcher: Arc<Dispatcher>,
    room: Arc<Semaphore>,
    strangers: Strangers,
}

impl Port {
    fn new(listener: TcpListener, dispatcher: Arc<Dispatcher>) -> Self {
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        Self { listener, dispatcher, room, strangers: Strangers::new(STRANGERS) }
    }

    /// Serves each connection in a task of its own, after `greet` made a stream of it. Never
    /// returns.
    async fn serve<S, G, F>(self, mut greet: G)
    where
        G: FnMut(TcpStream) -> F,
        F: Future<Output = Option<(S, PeerCertificates)>> + Send + 'static,
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut failing = false;
        loop {
            let room = Arc::clone(&self.room).acquire_owned().await;
            let socket = match self.listener.accept().await {
                Ok((socket, _)) => socket,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "the kubelet server cannot accept connections");
                    }
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            failing = false;
            // Small answers and frames should not wait for more.
            let _ = socket.set_nodelay(true);
            keep_alive(&socket);
            let pass = self.strangers.admit();
            let greeting = greet(socket);
            let dispatcher = Arc::clone(&self.dispatcher);
            tokio::spawn(async move {
                let _room = room;
                let greeted = tokio::select! {
                    greeted = tokio::time::timeout(HANDSHAKE_DEADLINE, greeting) => greeted,
                    () = pass.revoked() => return,
                };
                if let Ok(Some((stream, peer))) = greeted {
                    connection::serve(stream, peer, pass, dispatcher).await;
                }
            });
        }
    }
}

/// Lets the kernel find out that a client has vanished, so that a stream without traffic ends too.
/// Where that cannot be set such a stream stays until somebody writes.
fn keep_alive(socket: &TcpStream) {
    let _ = setsockopt(socket, sockopt::KeepAlive, &true);
    let _ = setsockopt(socket, sockopt::TcpKeepIdle, &KEEP_ALIVE_SECONDS);
    let _ = setsockopt(socket, sockopt::TcpKeepInterval, &KEEP_ALIVE_SECONDS);
}

/// Serves the secure port. Never returns.
pub async fn serve_secure(listener: TcpListener, mut tls: ServerTls, dispatcher: Arc<Dispatcher>) {
    let port = Port::new(listener, dispatcher);
    port.serve(move |socket| {
        let acceptor = TlsAcceptor::from(tls.current());
        async move {
            let socket = without_plain_http(socket).await?;
            let stream = acceptor.accept(socket).await;
            let stream = stream
                .inspect_err(|error| tracing::debug!(%error, "a TLS handshake failed"))
                .ok()?;
            let shown = stream.get_ref().1.peer_certificates().unwrap_or_default();
            let peer = shown.iter().map(|certificate| certificate.clone().into_owned()).collect();
            Some((stream, peer))
        }
    })
    .await;
}

/// The connection, unless its client speaks HTTP without TLS: then it is told so, in the words of
/// Go's server. A handshake never begins with a letter.
async fn without_plain_http(mut socket: TcpStream) -> Option<TcpStream> {
    let mut first = [0];
    let seen = socket.peek(&mut first).await.ok()?;
    if seen == 1 && first[0].is_ascii_uppercase() {
        let _ = socket.write_all(PLAIN_HTTP).await;
        return None;
    }
    Some(socket)
}

/// Serves the port without TLS and authentication. Never returns.
pub async fn serve_read_only(listener: TcpListener, dispatcher: Arc<Dispatcher>) {
    let port = Port::new(listener, dispatcher);
    port.serve(|socket| async move { Some((socket, PeerCertificates::from([]))) }).await;
}
