//! Our table through netlink.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Duration;

use netlink_proto::sys::protocols::NETLINK_NETFILTER;
use netlink_proto::sys::{AsyncSocket, AsyncSocketExt, SocketAddr, TokioSocket};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::sync::Mutex;
use tracing::debug;

use super::boundary::NftError;
use super::diff::ElementChange;
use super::netlink_elements::{ElementBatch, answers, table_question};
use super::state::{Key, SetName};
use crate::config::IpFamily;
use crate::interference::OwnWriters;
use crate::nfnetlink::NetfilterSocket;

/// Time for a transaction of elements; the kernel does it while it is sent.
const LIMIT: Duration = Duration::from_secs(30);
/// Room for what is sent at once. An element takes about 150 bytes.
const SEND_BUFFER: usize = 4 << 20;
/// `ENOENT`.
const NOT_FOUND: i32 = 2;
/// `EPERM`, `EAGAIN`, `ENOMEM`, `ENOBUFS`: what says nothing about the element it is told for.
const OF_THE_MACHINE: [i32; 4] = [1, 11, 12, 105];

/// Talks to the kernel about our table of one family.
pub struct NetlinkTable {
    family: IpFamily,
    own: OwnWriters,
    /// Opened by the first call, and anew after a failure.
    socket: Mutex<Option<TokioSocket>>,
}

impl NetlinkTable {
    /// For the network namespace that the first call is made in.
    pub fn new(family: IpFamily, own: OwnWriters) -> Self {
        Self { family, own, socket: Mutex::new(None) }
    }

    /// Makes these changes, all of them or none.
    pub async fn change_elements(
        &self,
        changes: &BTreeMap<(SetName, Key), ElementChange>,
    ) -> Result<(), NftError> {
        let Some(batch) = ElementBatch::new(self.family, changes) else { return Ok(()) };
        let answers = self.ask(&batch.bytes, batch.last).await?;
        let mut refused = BTreeSet::new();
        let mut first = None;
        for (sequence, code) in answers.into_iter().filter(|(_, code)| *code != 0) {
            let source = io::Error::from_raw_os_error(code);
            // What is said about the batch as a whole has the number of its beginning.
            let element = batch.element(sequence).filter(|_| !OF_THE_MACHINE.contains(&code));
            let Some(element) = element else { return Err(NftError::Netlink(source)) };
            refused.insert(element);
            first.get_or_insert((element.0, source));
        }
        match first {
            None => Ok(()),
            Some((set, source)) => {
                Err(NftError::Refused { refused, changes: changes.len(), set, source })
            }
        }
    }

    /// Whether the table is there.
    pub async fn exists(&self) -> Result<bool, NftError> {
        let asked = async {
            let mut socket = NetfilterSocket::open()?;
            socket.ask(table_question(self.family), &mut |_| ()).await
        };
        let limit = NftError::Deadline { command: "nftables", limit: LIMIT };
        match tokio::time::timeout(LIMIT, asked).await.map_err(|_| limit)? {
            Ok(_) => Ok(true),
            Err(error) if error.raw_os_error() == Some(NOT_FOUND) => Ok(false),
            Err(error) => Err(NftError::Netlink(error)),
        }
    }

    /// Sends messages; the answers up to the one to message `last`, or up to one that says that
    /// the whole failed.
    async fn ask(&self, messages: &[u8], last: u32) -> Result<Vec<(u32, i32)>, NftError> {
        let mut socket = self.socket.lock().await;
        let open = match socket.take() {
            Some(open) => open,
            None => self.open().map_err(NftError::Netlink)?,
        };
        let talk = async {
            open.send_to(messages, &SocketAddr::new(0, 0)).await?;
            let mut all = Vec::new();
            loop {
                let (datagram, _) = open.recv_from_full().await?;
                all.extend(answers(&datagram));
                if all.iter().any(|(number, code)| *number == last || *number == 0 && *code != 0) {
                    return Ok(all);
                }
            }
        };
        // After a failure the socket may hold late answers, so it is left behind.
        let answers = tokio::time::timeout(LIMIT, talk)
            .await
            .map_err(|_| NftError::Deadline { command: "nftables", limit: LIMIT })?
            .map_err(NftError::Netlink)?;
        *socket = Some(open);
        Ok(answers)
    }

    fn open(&self) -> io::Result<TokioSocket> {
        let mut socket = TokioSocket::new(NETLINK_NETFILTER)?;
        let address = socket.socket_mut().bind_auto()?;
        self.own.note(address.port_number());
        // Without it, an answer repeats the message that was refused.
        socket.socket_ref().set_cap_ack(true)?;
        if let Err(error) = setsockopt(socket.socket_ref(), sockopt::SndBufForce, &SEND_BUFFER) {
            debug!(%error, "small send buffer for nftables");
        }
        Ok(socket)
    }
}
