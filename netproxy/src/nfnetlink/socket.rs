//! The socket.

use std::io;

use netlink_sys::protocols::NETLINK_NETFILTER;
use netlink_sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};

use super::message::{Meaning, Message, Request, messages};

/// Room for one datagram. The kernel fills dumps in pieces of at most 32 KiB.
const DATAGRAM: usize = 64 * 1024;

/// A netfilter socket of the network namespace that the caller is in.
pub struct NetfilterSocket {
    socket: TokioSocket,
    buffer: Vec<u8>,
    sequence: u32,
}

impl NetfilterSocket {
    /// Opens a socket. Has to be called within a tokio runtime.
    pub fn open() -> io::Result<Self> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        socket.socket_mut().bind_auto()?;
        // Answers need no copy of the request; those would only fill the receive buffer.
        socket.socket_ref().set_cap_ack(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(DATAGRAM), sequence: 0 })
    }

    /// Sends one request and hands the objects in its answer to `visit`, each as it arrives. Of a
    /// dump the kernel collects the next ones when those before were read, so that memory stays
    /// the same for any number. Tells whether a dump is whole; otherwise something changed
    /// meanwhile and objects may be missing.
    pub async fn ask(
        &mut self,
        request: Request,
        visit: &mut (dyn FnMut(Message<'_>) + Send),
    ) -> io::Result<bool> {
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        self.send(&request.finish(sequence)).await?;
        let mut whole = true;
        loop {
            self.receive().await?;
            for message in messages(&self.buffer).filter(|one| one.sequence == sequence) {
                whole &= !message.is_interrupted();
                match message.meaning() {
                    Meaning::Object => visit(message),
                    Meaning::Done => return Ok(whole),
                    Meaning::Failed(code) => return Err(io::Error::from_raw_os_error(code)),
                }
            }
        }
    }

    /// Sends requests that ask for an answer ([`ACK`](super::message::ACK)) together, and tells
    /// for each the error number it failed with, if it did. At most about a hundred at a time, so
    /// that the answers fit into the socket.
    pub async fn change(
        &mut self,
        requests: impl ExactSizeIterator<Item = Request>,
    ) -> io::Result<Vec<Option<i32>>> {
        let first = self.sequence.wrapping_add(1);
        let mut outcomes = vec![None; requests.len()];
        let mut bytes = Vec::new();
        for request in requests {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(request.finish(self.sequence));
        }
        let mut waiting = outcomes.len();
        if waiting > 0 {
            self.send(&bytes).await?;
        }
        while waiting > 0 {
            self.receive().await?;
            for message in messages(&self.buffer) {
                let position = message.sequence.wrapping_sub(first);
                let outcome =
                    usize::try_from(position).ok().and_then(|position| outcomes.get_mut(position));
                let Some(outcome) = outcome else { continue };
                match message.meaning() {
                    Meaning::Object => continue,
                    Meaning::Done => {}
                    Meaning::Failed(code) => *outcome = Some(code),
                }
                waiting = waiting.saturating_sub(1);
            }
        }
        Ok(outcomes)
    }

    async fn send(&self, bytes: &[u8]) -> io::Result<()> {
        self.socket.send_to(bytes, &SocketAddr::new(0, 0)).await.map(|_| ())
    }

    async fn receive(&mut self) -> io::Result<()> {
        self.buffer.clear();
        self.socket.recv(&mut self.buffer).await
    }
}
