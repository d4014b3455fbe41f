//! The first two packets of SCTP by hand, because most kernels here have its connection tracking
//! but not its sockets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU16, Ordering};

use netproxy::config::IpFamily;
use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType};
use tokio::net::UdpSocket;

use super::ask::{Answer, Failure, Said};
use super::server::line;
use super::topology::POD_PORT;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
/// The tag with which clients begin. Any but zero will do.
const TAG: u32 = 0x5eed_1e55;
/// Ports, verification tag and checksum, then type, flags and length of the chunk, then tag,
/// window, numbers of streams and sequence number of INIT.
const HEADERS: usize = 12 + 4 + 16;

/// A socket for the packets to `own`, or to whatever address the kernel picks, in the namespace
/// that the thread is in. It is a raw one, to which the calls for UDP apply as well.
pub fn socket(family: IpFamily, own: Option<IpAddr>) -> io::Result<UdpSocket> {
    let kind = match family {
        IpFamily::V4 => AddressFamily::Inet,
        IpFamily::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = nix::sys::socket::socket(kind, SockType::Raw, flags, SockProtocol::Sctp)?;
    if let Some(own) = own {
        let own = nix::sys::socket::SockaddrStorage::from(SocketAddr::new(own, 0));
        nix::sys::socket::bind(socket.as_raw_fd(), &own)?;
    }
    UdpSocket::from_std(socket.into())
}

/// Tries to open an association; the answer comes with the acknowledgement.
pub async fn ask(socket: UdpSocket, to: SocketAddr) -> Answer {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(20_000);
    let port = NEXT_PORT.fetch_add(1, Ordering::Relaxed);
    // Connected, so that a rejection is told to the socket.
    socket.connect(SocketAddr::new(to.ip(), 0)).await?;
    socket.send(&packet([port, to.port()], 0, INIT, b"")).await?;
    let mut buffer = [0; 512];
    loop {
        let length = socket.recv(&mut buffer).await?;
        let Some(packet) = Received::parse(&buffer[..length], to.ip()) else { continue };
        if packet.chunk == INIT_ACK && packet.ports == [to.port(), port] {
            let text = String::from_utf8_lossy(packet.rest).into_owned();
            return Said::parse(&text).ok_or(Failure::Other(text));
        }
    }
}

/// Answers on the pod port of `own` as long as the socket works.
pub async fn serve(socket: UdpSocket, own: IpAddr) {
    let mut buffer = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let Some(asked) = Received::parse(&buffer[..length], from.ip()) else { continue };
        if asked.chunk != INIT || asked.ports[1] != POD_PORT {
            continue;
        }
        let text = line(own, from.ip());
        let [theirs, ours] = asked.ports;
        let packet = packet([ours, theirs], asked.tag, INIT_ACK, text.as_bytes());
        let _ = socket.send_to(&packet, SocketAddr::new(from.ip(), 0)).await;
    }
}

struct Received<'a> {
    ports: [u16; 2],
    chunk: u8,
    tag: u32,
    rest: &'a [u8],
}

impl<'a> Received<'a> {
    fn parse(packet: &'a [u8], from: IpAddr) -> Option<Self> {
        // Only IPv4 comes with the header of the packet.
        let skipped = if from.is_ipv4() { usize::from(packet.first()? & 0xf) * 4 } else { 0 };
        let packet = packet.get(skipped..)?;
        let (headers, rest) = packet.split_at_checked(HEADERS)?;
        let port = |at: usize| u16::from_be_bytes([headers[at], headers[at + 1]]);
        let tag = u32::from_be_bytes(headers[16..20].try_into().ok()?);
        Some(Self { ports: [port(0), port(2)], chunk: headers[12], tag, rest })
    }
}

fn packet(ports: [u16; 2], verification: u32, chunk: u8, rest: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(ports.iter().flat_map(|port| port.to_be_bytes()));
    packet.extend(verification.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([chunk, 0]);
    let length = u16::try_from(HEADERS - 12 + rest.len()).unwrap();
    packet.extend(length.to_be_bytes());
    packet.extend(TAG.to_be_bytes());
    packet.extend(0xffff_u32.to_be_bytes());
    packet.extend([0, 1, 0, 1]);
    packet.extend(1_u32.to_be_bytes());
    packet.extend(rest);
    packet.resize(packet.len().next_multiple_of(4), b' ');
    let checksum = crc32c(&packet).to_le_bytes();
    packet[8..12].copy_from_slice(&checksum);
    packet
}

/// The checksum of RFC 9260, which connection tracking verifies.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ if sum & 1 == 1 { 0x82f6_3b78 } else { 0 }
        })
    })
}

#[test]
fn checksum_is_that_of_sctp() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283);
}
