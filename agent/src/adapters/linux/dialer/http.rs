//! GET requests.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, HOST, LOCATION};
use http::{HeaderName, HeaderValue, Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use reqwest::Url;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use super::{connect, join, reason, within};
use crate::boundary::{DialError, HttpAnswer, HttpCall, HttpScheme};

/// What is read of a body (kubelet v1.36, 10 KiB).
const BODY_LIMIT: usize = 10 * 1024;
/// Redirects followed within the host (kubelet v1.36).
const REDIRECTS: usize = 10;

/// Sends the request and follows its redirects until `deadline`.
pub(super) async fn get(
    tls: &TlsConnector,
    call: &HttpCall,
    deadline: Instant,
) -> Result<HttpAnswer, DialError> {
    let mut hop = call.clone();
    for _ in 0..=REDIRECTS {
        let (answer, location) = exchange(tls, &hop, deadline).await?;
        let Some(location) = location.filter(|_| is_redirect(answer.status)) else {
            return Ok(answer);
        };
        let Some(next) = next_hop(&hop, &location) else {
            return Err(DialError::Failed(format!("failed to parse Location header {location:?}")));
        };
        if next.host != call.host {
            return Ok(HttpAnswer { left_for: Some(location), ..answer });
        }
        hop = next;
    }
    Err(DialError::Failed(format!("stopped after {REDIRECTS} redirects")))
}

fn is_redirect(status: u16) -> bool {
    matches!(status, 301 | 302 | 303 | 307 | 308)
}

/// The request that a redirect leads to. A `Host` of the caller's own goes along only as long as
/// the redirect does not name a host itself. `None` when the location is not one of HTTP.
fn next_hop(hop: &HttpCall, location: &str) -> Option<HttpCall> {
    let scheme = match hop.scheme {
        HttpScheme::Http => "http",
        HttpScheme::Https => "https",
    };
    let at = join(&hop.host, hop.port);
    let here = Url::parse(&format!("{scheme}://{at}{}", hop.path)).ok()?;
    let there = here.join(location).ok()?;
    let scheme = match there.scheme() {
        "http" => HttpScheme::Http,
        "https" => HttpScheme::Https,
        _ => return None,
    };
    let host = there.host_str()?.trim_start_matches('[').trim_end_matches(']').to_owned();
    let port = there.port_or_known_default()?;
    let names_host = Url::parse(location).is_ok() || location.starts_with("//");
    let query = there.query().map_or_else(String::new, |query| format!("?{query}"));
    let mut headers = hop.headers.clone();
    headers.retain(|(name, _)| !names_host || !name.eq_ignore_ascii_case("host"));
    Some(HttpCall { scheme, host, port, path: format!("{}{query}", there.path()), headers })
}

/// One request over a connection of its own: the answer, and where it points to.
async fn exchange(
    tls: &TlsConnector,
    call: &HttpCall,
    deadline: Instant,
) -> Result<(HttpAnswer, Option<String>), DialError> {
    let at = join(&call.host, call.port);
    let no_connection = || {
        DialError::TimedOut(format!(
            "dial tcp {at}: i/o timeout (Client.Timeout exceeded while awaiting headers)"
        ))
    };
    let stream = within(deadline, no_connection, connect(&call.host, call.port)).await?;
    let no_head = || {
        let text =
            "context deadline exceeded (Client.Timeout exceeded while awaiting headers)".to_owned();
        DialError::TimedOut(text)
    };
    match call.scheme {
        HttpScheme::Http => {
            let io = TokioIo::new(stream);
            let hello = async { http1(io).await.map_err(|error| hyper_error(&error, &at)) };
            let (sender, connection) = within(deadline, no_head, hello).await?;
            let talk = talk(Sender::Http1(sender), call, deadline);
            beside(connection, talk).await
        }
        HttpScheme::Https => {
            let secured = within(deadline, no_head, secure(tls, &call.host, stream)).await?;
            let is_http2 = secured.get_ref().1.alpn_protocol() == Some(b"h2");
            let io = TokioIo::new(secured);
            if is_http2 {
                let hello = hyper::client::conn::http2::handshake(TokioExecutor::new(), io);
                let hello = async { hello.await.map_err(|error| hyper_error(&error, &at)) };
                let (sender, connection) = within(deadline, no_head, hello).await?;
                return beside(connection, talk(Sender::Http2(sender), call, deadline)).await;
            }
            let hello = async { http1(io).await.map_err(|error| hyper_error(&error, &at)) };
            let (sender, connection) = within(deadline, no_head, hello).await?;
            beside(connection, talk(Sender::Http1(sender), call, deadline)).await
        }
    }
}

type Http1<T> = (
    hyper::client::conn::http1::SendRequest<Empty<Bytes>>,
    hyper::client::conn::http1::Connection<T, Empty<Bytes>>,
);

/// Header names as `User-Agent`, which some simple servers insist on.
async fn http1<T: hyper::rt::Read + hyper::rt::Write + Unpin>(io: T) -> hyper::Result<Http1<T>> {
    hyper::client::conn::http1::Builder::new().title_case_headers(true).handshake(io).await
}

enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Empty<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Empty<Bytes>>),
}

/// Drives the connection until the talk is over. A connection that ends first has handed over all
/// it had, and the talk finds out by itself.
async fn beside<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    talk: impl Future<Output = T>,
) -> T {
    let drive = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    // Dropping the other side ends the connection, which nobody uses any more.
    tokio::select! {
        result = talk => result,
        () = drive => unreachable!("driving never returns"),
    }
}

async fn talk(
    sender: Sender,
    call: &HttpCall,
    deadline: Instant,
) -> Result<(HttpAnswer, Option<String>), DialError> {
    let at = join(&call.host, call.port);
    let request = request(call, &sender)?;
    let ask = async {
        let sent = match sender {
            Sender::Http1(mut sender) => sender.send_request(request).await,
            Sender::Http2(mut sender) => sender.send_request(request).await,
        };
        sent.map_err(|error| hyper_error(&error, &at))
    };
    let late = || {
        let text = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        DialError::TimedOut(text.to_owned())
    };
    let response = within(deadline, late, ask).await?;
    let status = response.status().as_u16();
    let location = response.headers().get(LOCATION);
    let location = location.and_then(|location| location.to_str().ok()).map(str::to_owned);
    let late = || {
        let text = "context deadline exceeded \
                    (Client.Timeout or context cancellation while reading body)";
        DialError::BodyLost(text.to_owned())
    };
    let body = within(deadline, late, read_body(response, &at)).await?;
    Ok((HttpAnswer { status, body, left_for: None }, location))
}

/// The request in the form the protocol wants: HTTP/1 has the path and a `Host` header, HTTP/2 the
/// whole URL.
fn request(call: &HttpCall, sender: &Sender) -> Result<Request<Empty<Bytes>>, DialError> {
    let own_host = call.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
    let host = own_host
        .map(|(_, host)| host.clone())
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| join(&call.host, call.port));
    let uri = match sender {
        Sender::Http1(_) => call.path.clone(),
        Sender::Http2(_) => format!("https://{host}{}", call.path),
    };
    let unfit = |error: &dyn std::fmt::Display| DialError::Failed(error.to_string());
    let mut request = Request::get(uri).body(Empty::new()).map_err(|error| unfit(&error))?;
    let headers = request.headers_mut();
    for (name, value) in &call.headers {
        if name.eq_ignore_ascii_case("host") {
            continue;
        }
        let name = HeaderName::try_from(name.as_str()).map_err(|error| unfit(&error))?;
        let value = HeaderValue::try_from(value.as_str()).map_err(|error| unfit(&error))?;
        headers.append(name, value);
    }
    if matches!(sender, Sender::Http1(_)) {
        headers.insert(HOST, HeaderValue::try_from(host).map_err(|error| unfit(&error))?);
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(request)
}

/// At most [`BODY_LIMIT`] bytes.
async fn read_body(response: Response<Incoming>, at: &str) -> Result<Vec<u8>, DialError> {
    let mut body = response.into_body();
    let mut read = Vec::new();
    while read.len() < BODY_LIMIT && !body.is_end_stream() {
        let Some(frame) = body.frame().await else { break };
        let frame = frame.map_err(|error| DialError::BodyLost(hyper_text(&error, at)))?;
        if let Some(part) = frame.data_ref() {
            let room = BODY_LIMIT - read.len();
            read.extend_from_slice(&part[..part.len().min(room)]);
        }
    }
    Ok(read)
}

fn hyper_error(error: &hyper::Error, at: &str) -> DialError {
    DialError::Failed(hyper_text(error, at))
}

fn hyper_text(error: &hyper::Error, at: &str) -> String {
    if error.is_incomplete_message() {
        return "EOF".to_owned();
    }
    if error.is_parse() {
        return format!("malformed HTTP response: {error}");
    }
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) => format!("read tcp {at}: read: {}", reason(cause)),
        None => crate::telemetry::Causes(error).to_string(),
    }
}

type Secured = tokio_rustls::client::TlsStream<Overheard<TcpStream>>;

async fn secure(tls: &TlsConnector, host: &str, stream: TcpStream) -> Result<Secured, DialError> {
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| DialError::Failed(format!("tls: {error}")))?;
    let overheard = Overheard { inner: stream, first: Vec::new() };
    tls.connect(name, overheard).into_fallible().await.map_err(|(error, stream)| {
        match stream.first.starts_with(b"HTTP/") {
            true => DialError::PlainHttp,
            false => DialError::Failed(format!("tls: {}", reason(&error))),
        }
    })
}

/// A stream that remembers how the other side began, to tell a server that speaks plain HTTP.
struct Overheard<S> {
    inner: S,
    /// At most the five bytes of a TLS record's head.
    first: Vec<u8>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Overheard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        let room = 5 - self.first.len();
        let news = &buffer.filled()[before..];
        self.first.extend_from_slice(&news[..news.len().min(room)]);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Overheard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}
