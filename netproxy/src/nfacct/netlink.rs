//! Counters through netlink.

use std::io;
use std::time::Duration;

use async_trait::async_trait;

use super::boundary::{AccountingCounters, Count};
use crate::nfnetlink::message::{ACK, CREATE, EXCLUSIVE};
use crate::nfnetlink::{Message, NetfilterSocket, Request};

/// `NFNL_SUBSYS_ACCT`.
const SUBSYSTEM: u8 = 7;
const NEW: u8 = 0;
const GET: u8 = 1;

const NAME: u16 = 1;
const PACKETS: u16 = 2;
const BYTES: u16 = 3;

/// Longest name (`NFACCT_NAME_MAX`, 32, with the closing zero).
const NAME_LENGTH: usize = 31;
/// Time for one call.
const LIMIT: Duration = Duration::from_secs(5);

/// Counters of the network namespace that the caller is in.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetlinkAccounting;

#[async_trait]
impl AccountingCounters for NetlinkAccounting {
    async fn ensure(&self, name: &str) -> io::Result<()> {
        let request = request(NEW, ACK | CREATE | EXCLUSIVE, name)?;
        match ask(request, &mut |_| {}).await {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            outcome => outcome,
        }
    }

    async fn count(&self, name: &str) -> io::Result<Count> {
        let mut found = None;
        ask(request(GET, ACK, name)?, &mut |message| found = found.or(count_in(&message))).await?;
        found.ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

async fn ask(request: Request, visit: &mut (dyn FnMut(Message<'_>) + Send)) -> io::Result<()> {
    let mut socket = NetfilterSocket::open()?;
    tokio::time::timeout(LIMIT, socket.ask(request, visit)).await?.map(|_| ())
}

fn request(message: u8, flags: u16, name: &str) -> io::Result<Request> {
    if name.len() > NAME_LENGTH || name.contains('\0') {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    Ok(Request::new(SUBSYSTEM, message, flags, 0).with(NAME, &text))
}

/// What an object in an answer counted; nothing in other messages.
pub fn count_in(message: &Message<'_>) -> Option<Count> {
    if message.kind != u16::from_be_bytes([SUBSYSTEM, NEW]) {
        return None;
    }
    let number = |wanted| {
        let (_, value) = message.attributes().find(|(kind, _)| *kind == wanted)?;
        value.first_chunk().map(|bytes| u64::from_be_bytes(*bytes))
    };
    Some(Count { packets: number(PACKETS)?, bytes: number(BYTES)? })
}

#[cfg(test)]
mod tests;
