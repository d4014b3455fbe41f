//! What pods answer with: their own address and the one they see.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

use netproxy::config::IpFamily;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::sctp;
use super::topology::POD_PORT;

/// A request after which the server closes the connection.
pub const ONCE: &str = "once";
/// A request after which it waits for another.
pub const AGAIN: &str = "again";

/// A running server; it ends when dropped.
pub struct Server(Vec<JoinHandle<()>>);

impl Server {
    /// Answers on these addresses of the namespace that the thread is in.
    pub fn start(addresses: impl IntoIterator<Item = IpAddr>, runtime: &Handle) -> Self {
        let _inside = runtime.enter();
        let mut tasks = Vec::new();
        for ip in addresses {
            let at = SocketAddr::new(ip, POD_PORT);
            let tcp = TcpListener::bind(at).unwrap();
            let udp = UdpSocket::bind(at).unwrap();
            tcp.set_nonblocking(true).unwrap();
            udp.set_nonblocking(true).unwrap();
            let tcp = tokio::net::TcpListener::from_std(tcp).unwrap();
            let udp = tokio::net::UdpSocket::from_std(udp).unwrap();
            tasks.push(runtime.spawn(accept(tcp)));
            tasks.push(runtime.spawn(answer_datagrams(udp, ip)));
            tasks.push(
                runtime.spawn(sctp::serve(sctp::socket(IpFamily::of(ip), Some(ip)).unwrap(), ip)),
            );
        }
        Self(tasks)
    }

    /// Closes the sockets; connections that are open stay.
    pub async fn stop(mut self) {
        for task in std::mem::take(&mut self.0) {
            task.abort();
            let _ = task.await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.0.iter().for_each(JoinHandle::abort);
    }
}

async fn accept(listener: tokio::net::TcpListener) {
    while let Ok((stream, peer)) = listener.accept().await {
        tokio::spawn(answer(stream, peer));
    }
}

async fn answer(stream: TcpStream, peer: SocketAddr) -> std::io::Result<()> {
    let text = line(stream.local_addr()?.ip(), peer.ip());
    let mut stream = BufReader::new(stream);
    let mut request = String::new();
    while stream.read_line(&mut request).await? > 0 {
        stream.write_all(text.as_bytes()).await?;
        if request.trim() == ONCE {
            break;
        }
        request.clear();
    }
    Ok(())
}

async fn answer_datagrams(socket: tokio::net::UdpSocket, own: IpAddr) {
    let mut buffer = [0; 64];
    while let Ok((_, from)) = socket.recv_from(&mut buffer).await {
        let _ = socket.send_to(line(own, from.ip()).as_bytes(), from).await;
    }
}

/// An answer in words.
pub fn line(own: IpAddr, seen: IpAddr) -> String {
    format!("{own} {seen}\n")
}
