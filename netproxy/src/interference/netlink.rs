//! Notifications of the kernel.

use std::io;

use async_trait::async_trait;
use netlink_proto::sys::protocols::NETLINK_NETFILTER;
use netlink_proto::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::time::{Duration, Instant, sleep_until};
use tracing::{debug, warn};

use super::own::OwnWriters;
use super::parse::notices;
use super::pending::Pending;
use super::{Interest, RuleEvent, RuleWatch};

/// `NFNLGRP_NFTABLES`.
const GROUP: u32 = 7;
/// Room for notifications that were not read yet. The kernel sends those of a transaction at
/// once, and one of 20 000 elements takes 6 MB; the memory is used only while they wait.
const RECEIVE_BUFFER: usize = 16 << 20;
/// `ENOBUFS`: notifications did not fit into the buffer.
const NO_BUFFER: i32 = 105;
/// Between two tries to open the socket again after it failed.
const REOPEN: Duration = Duration::from_secs(5);

/// Watches the nftables of the network namespace it was opened in.
pub struct NetlinkWatch {
    socket: TokioSocket,
    own: OwnWriters,
    pending: Pending,
    /// When to open the socket again; `None` while it works.
    broken: Option<Instant>,
}

/// The watch cannot start.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen to notifications of nftables")]
pub struct WatchError(#[from] io::Error);

impl NetlinkWatch {
    /// Listens from now on, in the network namespace of the calling thread. Changes by `own` are
    /// not told.
    pub fn open(interest: Interest, own: OwnWriters) -> Result<Self, WatchError> {
        let pending = Pending::new(interest);
        Ok(Self { socket: subscribe()?, own, pending, broken: None })
    }

    /// A datagram, or what is wrong with the socket.
    fn received(&mut self, received: io::Result<Vec<u8>>) {
        let now = Instant::now();
        match received {
            Ok(datagram) => {
                for notice in notices(&datagram) {
                    self.pending.take(&notice, &self.own, now);
                }
            }
            Err(error) if error.raw_os_error() == Some(NO_BUFFER) => {
                debug!("notifications of nftables did not fit into the buffer");
                self.pending.miss(now);
            }
            Err(error) => {
                warn!(%error, "lost the notifications of nftables, opening them again");
                self.broken = Some(now + REOPEN);
                self.pending.miss(now);
            }
        }
    }

    fn reopen(&mut self) {
        match subscribe() {
            Ok(socket) => {
                self.socket = socket;
                self.broken = None;
                self.pending.miss(Instant::now());
            }
            Err(error) => {
                debug!(%error, "cannot listen to notifications of nftables");
                self.broken = Some(Instant::now() + REOPEN);
            }
        }
    }
}

#[async_trait]
impl RuleWatch for NetlinkWatch {
    async fn next(&mut self) -> RuleEvent {
        loop {
            if let Some(event) = self.pending.tell(&self.own, Instant::now()) {
                return event;
            }
            let (broken, due) = (self.broken, self.pending.due());
            // Cancel safe: a receive takes a datagram only when it is the arm that ends the wait,
            // and everything else is kept in `self`.
            tokio::select! {
                received = self.socket.recv_from_full(), if broken.is_none() => {
                    self.received(received.map(|(datagram, _)| datagram));
                }
                () = until(broken) => self.reopen(),
                () = until(due) => {}
            }
        }
    }
}

/// Returns at that time, never when there is none.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn subscribe() -> io::Result<TokioSocket> {
    let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
    socket.socket_mut().bind(&SocketAddr::new(0, 0))?;
    if let Err(error) = setsockopt(socket.socket_ref(), sockopt::RcvBufForce, &RECEIVE_BUFFER) {
        debug!(%error, "small buffer for notifications of nftables");
    }
    socket.socket_mut().add_membership(GROUP)?;
    Ok(socket)
}
