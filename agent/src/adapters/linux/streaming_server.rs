//! Connections to the container runtime's streaming server, which listens on this machine.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::future::{Either, select};
use http::header::HOST;
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpSocket, TcpStream};

use super::dialer::reason;
use crate::boundary::{StreamingServer, StreamingServerError, UpgradeAnswer, UpgradeCall};

/// From the first packet to the head of the answer; the server is on this machine and answers
/// before it starts anything (time that Kubernetes v1.36 gives a dialed connection).
const DEADLINE: Duration = Duration::from_secs(30);
/// For the body of an answer that is no upgrade (kubelet v1.36, 10 s).
const BODY_DEADLINE: Duration = Duration::from_secs(10);
/// What is read of such a body: it is the text of an error.
const BODY_LIMIT: usize = 64 * 1024;

/// The streaming server over plain HTTP.
///
/// Its URLs carry the right to a stream, and what a stream carries is not encrypted. So only
/// addresses of this machine are connected to, whatever the runtime says.
#[derive(Clone, Copy, Debug, Default)]
pub struct LocalStreamingServer;

#[async_trait]
impl StreamingServer for LocalStreamingServer {
    async fn upgrade(&self, call: UpgradeCall) -> Result<UpgradeAnswer, StreamingServerError> {
        let target = Target::parse(&call.url)?;
        let ask = async {
            let stream = connect(&target).await?;
            ask(stream, &target, call).await
        };
        let late = || StreamingServerError::TimedOut(DEADLINE);
        tokio::time::timeout(DEADLINE, ask).await.map_err(|_| late())?
    }
}

/// Where a URL of the runtime's leads.
#[derive(Debug)]
struct Target {
    authority: Authority,
    addresses: Vec<SocketAddr>,
    path: PathAndQuery,
}

impl Target {
    /// Fails for anything but plain HTTP to an address literal or `localhost`.
    fn parse(url: &str) -> Result<Self, StreamingServerError> {
        let unfit = |cause| StreamingServerError::Unfit { url: url.to_owned(), cause };
        let uri: Uri = url.parse().map_err(|_| unfit("not a URL"))?;
        if uri.scheme_str() != Some("http") {
            return Err(unfit("the streaming server must speak plain HTTP"));
        }
        let parts = uri.into_parts();
        let authority = parts.authority.ok_or_else(|| unfit("it names no host"))?;
        let host = authority.host().trim_start_matches('[').trim_end_matches(']');
        let hosts: Vec<IpAddr> = if host.eq_ignore_ascii_case("localhost") {
            vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]
        } else {
            vec![host.parse().map_err(|_| unfit("its host is no address of this machine"))?]
        };
        let port = authority.port_u16().unwrap_or(80);
        let addresses = hosts.into_iter().map(|host| SocketAddr::new(host, port)).collect();
        let path = parts.path_and_query.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Ok(Self { authority, addresses, path })
    }
}

async fn connect(target: &Target) -> Result<TcpStream, StreamingServerError> {
    let mut failure = String::new();
    for address in &target.addresses {
        match connect_to(*address).await {
            Ok(stream) => {
                // Keys that are typed must not wait for more to come.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => {
                failure = format!("dial tcp {address}: connect: {}", reason(&error));
            }
        }
    }
    Err(StreamingServerError::Unreachable(failure))
}

/// The kernel gives a socket none but this machine's own addresses, so a connection from the
/// address that it goes to stays here.
async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    if !address.ip().is_loopback() {
        socket.bind(SocketAddr::new(address.ip(), 0))?;
    }
    socket.connect(address).await
}

async fn ask(
    stream: TcpStream,
    target: &Target,
    call: UpgradeCall,
) -> Result<UpgradeAnswer, StreamingServerError> {
    let broken = |error: hyper::Error| {
        StreamingServerError::Broken(crate::telemetry::Causes(&error).to_string())
    };
    let request = request(target, call)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    let connection = Box::pin(connection.with_upgrades());
    let sent = Box::pin(sender.send_request(request));
    // The connection moves only while it is polled; it ends by itself when it is handed over.
    let (response, connection) = match select(sent, connection).await {
        Either::Left((response, connection)) => (response.map_err(broken)?, Some(connection)),
        Either::Right((ended, sent)) => {
            ended.map_err(broken)?;
            (sent.await.map_err(broken)?, None)
        }
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(refused(response, connection).await);
    }
    let headers = response.headers().clone();
    let upgrade = Box::pin(hyper::upgrade::on(response));
    let upgraded = match connection {
        None => upgrade.await,
        Some(connection) => match select(upgrade, connection).await {
            Either::Left((upgraded, _)) => upgraded,
            Either::Right((_, upgrade)) => upgrade.await,
        },
    };
    let connection = Box::new(TokioIo::new(upgraded.map_err(broken)?));
    Ok(UpgradeAnswer::Upgraded { headers, connection })
}

fn request(
    target: &Target,
    call: UpgradeCall,
) -> Result<Request<Empty<Bytes>>, StreamingServerError> {
    let unfit = |cause| StreamingServerError::Unfit { url: call.url.clone(), cause };
    let host = HeaderValue::from_str(target.authority.as_str())
        .map_err(|_| unfit("its host cannot be sent"))?;
    let mut request = Request::new(Empty::new());
    *request.method_mut() = call.method;
    *request.uri_mut() = Uri::from(target.path.clone());
    *request.headers_mut() = call.headers;
    request.headers_mut().insert(HOST, host);
    Ok(request)
}

/// An answer without an upgrade, with what came of its body in time.
async fn refused(
    response: Response<Incoming>,
    connection: Option<impl Future<Output = hyper::Result<()>> + Unpin>,
) -> UpgradeAnswer {
    let (head, mut body) = response.into_parts();
    let mut read = BytesMut::new();
    let reading = Box::pin(async {
        while read.len() < BODY_LIMIT {
            let Some(Ok(frame)) = body.frame().await else { break };
            if let Some(part) = frame.data_ref() {
                let room = BODY_LIMIT - read.len();
                read.extend_from_slice(&part[..part.len().min(room)]);
            }
        }
    });
    let moving = async {
        match connection {
            None => reading.await,
            Some(connection) => {
                if let Either::Right((_, reading)) = select(reading, connection).await {
                    reading.await;
                }
            }
        }
    };
    // A body that is late is passed on as far as it came.
    let _ = tokio::time::timeout(BODY_DEADLINE, moving).await;
    UpgradeAnswer::Refused { status: head.status, headers: head.headers, body: read.freeze() }
}

#[cfg(test)]
mod tests;
