//! Real packets: HTTP, TCP and UDP from a chosen place on the network.
//!
//! The places: `None` is the control plane, `Some(node.namespaces())` a node's own processes,
//! `Some(cluster.network().outside())` somebody who knows node addresses only.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::namespaces::Namespaces;

/// Where packets start; `None` is the control plane.
pub type Place<'a> = Option<&'a Arc<Namespaces>>;

/// Runs blocking `work` at a place of the network, off the async runtime's threads.
async fn at<T: Send + 'static>(
    place: Place<'_>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let namespaces = place.map(Arc::clone);
    tokio::task::spawn_blocking(move || match namespaces {
        Some(namespaces) => namespaces.run(work),
        None => work(),
    })
    .await?
}

/// Status and text of a plain HTTP answer to `GET path`; a new connection each time. Errors when
/// nothing answers within `limit`.
pub async fn http_get(
    place: Place<'_>,
    server: SocketAddr,
    path: &str,
    limit: Duration,
) -> Result<(u16, String)> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: {server}\r\n\r\n");
    let answer = tcp_exchange(place, server, request.into_bytes(), limit).await?;
    let text = String::from_utf8_lossy(&answer);
    let (head, body) = text.split_once("\r\n\r\n").context("no head in the answer")?;
    let status = head.split_whitespace().nth(1).context("no status in the answer")?;
    Ok((status.parse()?, body.to_owned()))
}

/// Sends bytes on a new TCP connection and returns all that comes back until the other side
/// closes it.
pub async fn tcp_exchange(
    place: Place<'_>,
    server: SocketAddr,
    request: Vec<u8>,
    limit: Duration,
) -> Result<Vec<u8>> {
    at(place, move || {
        let mut stream = TcpStream::connect_timeout(&server, limit)
            .with_context(|| format!("cannot connect to {server}"))?;
        stream.set_read_timeout(Some(limit))?;
        stream.write_all(&request)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).with_context(|| format!("no answer of {server}"))?;
        Ok(answer)
    })
    .await
}

/// Sends one datagram from a new socket and returns the answer.
pub async fn udp_exchange(
    place: Place<'_>,
    server: SocketAddr,
    request: Vec<u8>,
    limit: Duration,
) -> Result<Vec<u8>> {
    at(place, move || {
        let socket = UdpSocket::bind(if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
        socket.set_read_timeout(Some(limit))?;
        socket.connect(server)?;
        socket.send(&request).with_context(|| format!("cannot send to {server}"))?;
        let mut answer = vec![0; 64 * 1024];
        let length = socket.recv(&mut answer).with_context(|| format!("no answer of {server}"))?;
        answer.truncate(length);
        Ok(answer)
    })
    .await
}

/// The host name that an agnhost `netexec` behind an address gives, asked once.
pub async fn hostname(place: Place<'_>, server: SocketAddr) -> Result<String> {
    match http_get(place, server, "/hostname", Duration::from_secs(3)).await? {
        (200, name) => Ok(name.trim().to_owned()),
        (status, text) => bail!("{server} answered {status}: {text}"),
    }
}
