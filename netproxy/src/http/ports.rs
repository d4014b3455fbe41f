//! Boundary: TCP ports that answer HTTP.

use std::io;
use std::net::{Ipv6Addr, SocketAddr};

use nix::sys::socket::{setsockopt, sockopt::Ipv6V6Only};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::AbortHandle;

use super::{RouteTable, serve};

/// Connections that the kernel holds until they are taken (Go takes the kernel's maximum, which
/// is 4096 by default).
const BACKLOG: u32 = 1024;

/// What the wildcard address of IPv4 or IPv6 stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wildcard {
    /// All addresses of both families, as Go's listeners take it.
    BothFamilies,
    /// All addresses of its family.
    OneFamily,
}

/// Opens ports.
pub trait Ports: Send + Sync {
    /// Answers on the address by the table until the returned value is dropped. Fails when the
    /// address is taken or not ours. Never waits.
    fn open(
        &self,
        address: SocketAddr,
        wildcard: Wildcard,
        table: RouteTable,
    ) -> io::Result<OpenPort>;
}

/// A port that answers; closed when dropped.
pub struct OpenPort {
    _guard: Box<dyn Send + Sync>,
}

impl OpenPort {
    /// A port that closes when `guard` is dropped.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Self { _guard: Box::new(guard) }
    }
}

/// Ports of this machine. Must be used within a tokio runtime.
#[derive(Clone, Copy, Debug, Default)]
pub struct TcpPorts;

impl Ports for TcpPorts {
    fn open(
        &self,
        address: SocketAddr,
        wildcard: Wildcard,
        table: RouteTable,
    ) -> io::Result<OpenPort> {
        let listener = listen(address, wildcard)?;
        let serving = tokio::spawn(serve::serve(listener, table));
        Ok(OpenPort::new(Serving(serving.abort_handle())))
    }
}

/// Ends its task when dropped.
struct Serving(AbortHandle);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

pub(super) fn listen(address: SocketAddr, wildcard: Wildcard) -> io::Result<TcpListener> {
    if address.ip().is_unspecified() && wildcard == Wildcard::BothFamilies {
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, address.port()));
        match listen_on(both, false) {
            // No IPv6 here.
            Err(error) if address.is_ipv4() && error.kind() != io::ErrorKind::AddrInUse => {}
            answer => return answer,
        }
    }
    listen_on(address, true)
}

fn listen_on(address: SocketAddr, only_v6: bool) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => {
            let socket = TcpSocket::new_v6()?;
            setsockopt(&socket, Ipv6V6Only, &only_v6)?;
            socket
        }
    };
    // A restart must not wait for connections of the past to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}
