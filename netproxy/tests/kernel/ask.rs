//! Clients: one question, and what became of it.

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netproxy::config::IpFamily;
use netproxy::input::Protocol;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::time::timeout;

use super::network::Netns;
use super::sctp;
use super::server::{AGAIN, ONCE};
use super::topology::{Network, Place};

/// Longest wait for an answer that has to come.
pub const ANSWER: Duration = Duration::from_secs(10);
/// Wait after which a question counts as lost, where it has to be.
pub const LOST: Duration = Duration::from_millis(250);

/// What a server said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Said {
    /// Who answered.
    pub by: IpAddr,
    /// Whom it saw.
    pub saw: IpAddr,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Failure {
    /// The client was told.
    Refused,
    /// Nothing came in time.
    Silence,
    /// Anything else.
    Other(String),
}

/// What became of a question.
pub type Answer = Result<Said, Failure>;

impl Said {
    /// The words of a server, read.
    pub fn parse(text: &str) -> Option<Self> {
        let (by, saw) = text.trim().split_once(' ')?;
        Some(Self { by: by.parse().ok()?, saw: saw.parse().ok()? })
    }
}

fn understood(text: &str) -> Answer {
    Said::parse(text).ok_or_else(|| Failure::Other(format!("the answer was {text:?}")))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionRefused => Self::Refused,
            _ => Self::Other(error.to_string()),
        }
    }
}

async fn in_time(patience: Duration, work: impl Future<Output = Answer>) -> Answer {
    timeout(patience, work).await.unwrap_or(Err(Failure::Silence))
}

impl Network {
    /// Asks once, from the address of a place.
    pub async fn ask(&self, from: Place, protocol: Protocol, to: SocketAddr) -> Answer {
        let own = from_address(from, to);
        self.ask_from(from, own, protocol, to, ANSWER).await
    }

    /// Asks once from a namespace with the given source address, or one that the kernel picks.
    pub async fn ask_from(
        &self,
        place: Place,
        own: Option<IpAddr>,
        protocol: Protocol,
        to: SocketAddr,
        patience: Duration,
    ) -> Answer {
        match protocol {
            Protocol::Tcp => {
                let socket = self.within(place, || tcp_socket(own, to));
                in_time(patience, ask_tcp(socket?, to)).await
            }
            Protocol::Udp => {
                let socket = self.within(place, || udp_socket(own, to));
                in_time(patience, ask_udp(&socket?, to)).await
            }
            Protocol::Sctp => {
                let socket = self.within(place, || sctp::socket(IpFamily::of(to.ip()), own));
                in_time(patience, sctp::ask(socket?, to)).await
            }
        }
    }

    /// A UDP socket that sends from one port as long as it lives.
    pub fn pinned(&self, from: Place, to: SocketAddr) -> UdpSocket {
        self.within(from, || udp_socket(from_address(from, to), to)).unwrap()
    }

    /// A TCP connection that stays open.
    pub async fn connect(&self, from: Place, to: SocketAddr) -> Connection {
        let socket = self.within(from, || tcp_socket(from_address(from, to), to)).unwrap();
        let stream = timeout(ANSWER, socket.connect(to)).await.expect("no connection").unwrap();
        Connection(BufReader::new(stream))
    }
}

/// The address of a place; the kernel picks that of the node, as for its processes.
fn from_address(from: Place, to: SocketAddr) -> Option<IpAddr> {
    (from != super::topology::NODE).then(|| from.ip(IpFamily::of(to.ip())))
}

fn tcp_socket(own: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if to.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    if let Some(own) = own {
        socket.bind(SocketAddr::new(own, 0))?;
    }
    Ok(socket)
}

/// Asks from a namespace over TCP, for threads that have no network at hand.
pub async fn ask_tcp_from(space: &Netns, to: SocketAddr, patience: Duration) -> Answer {
    let socket = space.within(|| tcp_socket(None, to))?;
    in_time(patience, ask_tcp(socket, to)).await
}

async fn ask_tcp(socket: TcpSocket, to: SocketAddr) -> Answer {
    let mut stream = BufReader::new(socket.connect(to).await?);
    stream.write_all(format!("{ONCE}\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_line(&mut text).await?;
    understood(&text)
}

fn udp_socket(own: Option<IpAddr>, to: SocketAddr) -> io::Result<UdpSocket> {
    let any = if to.is_ipv4() { "0.0.0.0" } else { "::" };
    let own = own.unwrap_or_else(|| any.parse().unwrap());
    let socket = std::net::UdpSocket::bind(SocketAddr::new(own, 0))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}

/// Asks from this socket over UDP.
pub async fn ask_udp(socket: &UdpSocket, to: SocketAddr) -> Answer {
    // Connected, so that a rejection is told to the socket.
    socket.connect(to).await?;
    socket.send(b"?").await?;
    let mut buffer = [0; 128];
    let length = socket.recv(&mut buffer).await?;
    understood(&String::from_utf8_lossy(&buffer[..length]))
}

/// Asks from this socket, and gives up after [`ANSWER`].
pub async fn ask_pinned(socket: &UdpSocket, to: SocketAddr) -> Answer {
    in_time(ANSWER, ask_udp(socket, to)).await
}

/// An open TCP connection.
pub struct Connection(BufReader<TcpStream>);

impl Connection {
    /// Asks over it.
    pub async fn ask(&mut self) -> Answer {
        in_time(ANSWER, async {
            self.0.write_all(format!("{AGAIN}\n").as_bytes()).await?;
            let mut text = String::new();
            self.0.read_line(&mut text).await?;
            understood(&text)
        })
        .await
    }
}
