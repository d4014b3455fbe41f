//! Packets that tell which rules are in force: TCP connections to a server that says at which
//! address it was reached.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use integration::namespaces::Namespaces;

use super::fixture::{ENDPOINT_NETWORK, TARGET_PORT};

/// A connection that is not there after this time goes nowhere; a new one is tried. Ample for two
/// network namespaces of one machine, and what a measured time can be too long by.
const ATTEMPT: Duration = Duration::from_millis(10);

/// Makes the namespace answer on every endpoint address, until the program ends.
pub fn serve(namespaces: &Arc<Namespaces>) -> Result<()> {
    let mut ip = Command::new("ip");
    namespaces.output(ip.args(["route", "add", "local", ENDPOINT_NETWORK, "dev", "lo"]))?;
    let listener =
        namespaces.run(|| Ok(TcpListener::bind((Ipv4Addr::UNSPECIFIED, TARGET_PORT))?))?;
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            if let Ok(SocketAddr::V4(own)) = stream.local_addr() {
                let _ = stream.write_all(&own.ip().octets());
            }
        }
    });
    Ok(())
}

/// Gives a namespace the way to the endpoints.
pub fn route(namespaces: &Arc<Namespaces>, server: IpAddr) -> Result<()> {
    let mut ip = Command::new("ip");
    let server = server.to_string();
    namespaces.output(ip.args(["route", "add", ENDPOINT_NETWORK, "via", &server])).map(drop)
}

/// Connects once: how long that took, and which endpoint answered.
fn attempt(address: SocketAddr, limit: Duration) -> Result<(Duration, Ipv4Addr)> {
    let began = Instant::now();
    let mut stream = TcpStream::connect_timeout(&address, limit)?;
    let took = began.elapsed();
    stream.set_read_timeout(Some(5 * limit))?;
    let mut octets = [0; 4];
    stream.read_exact(&mut octets)?;
    Ok((took, octets.into()))
}

/// Connects again and again, until somebody answers or `endpoint` does; when that was.
pub async fn until_answer(
    namespaces: &Arc<Namespaces>,
    address: SocketAddr,
    endpoint: Option<Ipv4Addr>,
    limit: Duration,
) -> Result<Instant> {
    let namespaces = Arc::clone(namespaces);
    let work = move || {
        let deadline = Instant::now() + limit;
        loop {
            if let Ok((_, found)) = attempt(address, ATTEMPT)
                && endpoint.is_none_or(|wanted| wanted == found)
            {
                return Ok(Instant::now());
            }
            if Instant::now() > deadline {
                bail!("{address} did not answer from {endpoint:?} within {limit:?}");
            }
            // Leaves the processor to the proxy.
            thread::sleep(Duration::from_micros(500));
        }
    };
    tokio::task::spawn_blocking(move || namespaces.run(work)).await?
}

/// Times of so many new connections, sorted.
pub async fn connection_times(
    namespaces: &Arc<Namespaces>,
    address: SocketAddr,
    count: usize,
) -> Result<Vec<Duration>> {
    let namespaces = Arc::clone(namespaces);
    let work = move || {
        let mut times = Vec::with_capacity(count);
        while times.len() < count {
            let attempt = attempt(address, Duration::from_secs(5));
            times.push(attempt.with_context(|| format!("connection to {address}"))?.0);
        }
        times.sort_unstable();
        Ok(times)
    };
    tokio::task::spawn_blocking(move || namespaces.run(work)).await?
}
