//! One connection: HTTP/1.1 or HTTP/2, upgrades, and an end to idleness.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;

use super::dispatch::Dispatcher;
use super::strangers::Pass;
use crate::server::authenticate::PeerCertificates;
use crate::timer::sleep_until;

/// How long a client may take from the handshake to the end of its first request's head.
const FIRST_REQUEST: Duration = Duration::from_secs(10);
/// How long a connection may be without a request (v1.36: IdleTimeout of the server). The head of
/// a later request has as long.
const IDLE: Duration = Duration::from_secs(90);
/// How long a connection that was asked to close may take for it.
const CLOSING: Duration = Duration::from_secs(5);
/// Largest head of a request in bytes, HTTP/1 and HTTP/2. The HTTP library takes no path and query
/// above 64 KiB; the headers get as much again.
const HEAD_BYTES: u32 = 128 << 10;
/// Most headers of an HTTP/1 request.
const HEADERS: usize = 100;
/// Requests at once on one HTTP/2 connection (Go's server: 250).
const STREAMS: u32 = 250;
/// A silent HTTP/2 client is asked for a sign of life after the first and given up after the
/// second.
const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(15));

/// Requests that are being answered on a connection, the bodies of the answers included.
type InFlight = Arc<watch::Sender<Seen>>;

#[derive(Clone, Copy, Default)]
struct Seen {
    now: usize,
    ever: bool,
}

/// Serves a connection to its end.
pub(super) async fn serve<S>(
    stream: S,
    peer: PeerCertificates,
    pass: Pass,
    dispatcher: Arc<Dispatcher>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let in_flight = InFlight::default();
    let mut seen = in_flight.subscribe();
    let pass = Arc::new(pass);
    let service = {
        let pass = Arc::clone(&pass);
        service_fn(move |request: Request<Incoming>| {
            let busy = Busy::begin(&in_flight);
            let (dispatcher, peer) = (Arc::clone(&dispatcher), Arc::clone(&peer));
            let pass = Arc::clone(&pass);
            async move {
                let answer = dispatcher.answer(&peer, request, || pass.know()).await;
                Ok::<_, Infallible>(super::body::guard(answer, busy))
            }
        })
    };
    let builder = builder();
    let mut connection =
        pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
    let mut closing = false;
    loop {
        let now = *seen.borrow_and_update();
        let patience = match now {
            _ if closing => Some(CLOSING),
            Seen { ever: false, .. } => Some(FIRST_REQUEST),
            Seen { now: 0, .. } => Some(IDLE),
            // Each route has its own limits.
            _ => None,
        };
        let over = patience.map(|patience| Instant::now() + patience);
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection to the kubelet server ended");
                }
                return;
            }
            () = sleep_until(over) => {
                if std::mem::replace(&mut closing, true) || !now.ever {
                    return;
                }
                connection.as_mut().graceful_shutdown();
            }
            _ = seen.changed() => {}
            () = pass.revoked() => return,
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE)
        .max_headers(HEADERS)
        .max_buf_size(HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEAD_BYTES)
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    builder
}

/// Counts one request for as long as it lives.
struct Busy(InFlight);

impl Busy {
    fn begin(in_flight: &InFlight) -> Self {
        in_flight.send_modify(|seen| *seen = Seen { now: seen.now + 1, ever: true });
        Self(Arc::clone(in_flight))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|seen| seen.now -= 1);
    }
}
