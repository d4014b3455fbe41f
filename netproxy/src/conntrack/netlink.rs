//! Connection tracking through netlink.

use std::io;
use std::time::Duration;

use async_trait::async_trait;

use super::boundary::{Conntrack, ConntrackError, Entry};
use super::parse::{delete_request, dump_request, read_entry};
use crate::config::IpFamily;
use crate::input::Protocol;
use crate::nfnetlink::NetfilterSocket;

/// Time for one dump or one batch of deletions. A table of ten million entries takes some
/// seconds.
const LIMIT: Duration = Duration::from_secs(60);
/// Deletions sent at once; their answers fit into the socket's receive buffer.
const BATCH: usize = 100;
/// Dumps until one is whole; a busy table may never give one, and most entries are in each.
const DUMPS: usize = 4;
/// `ENOENT`.
const NOT_FOUND: i32 = 2;
/// `EINVAL`, `EOPNOTSUPP` and `ERANGE`: the kernel does not take the filter.
const NO_FILTER: [i32; 3] = [22, 95, 34];

/// Connection tracking of the network namespace that the caller is in.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetlinkConntrack;

#[async_trait]
impl Conntrack for NetlinkConntrack {
    async fn visit(
        &self,
        family: IpFamily,
        protocol: Protocol,
        visit: &mut (dyn FnMut(Entry) + Send),
    ) -> Result<(), ConntrackError> {
        // Calls are rare, so no socket is kept.
        let mut socket = NetfilterSocket::open().map_err(ConntrackError::Open)?;
        let mut filter = true;
        for _ in 0..DUMPS {
            let outcome = dump(&mut socket, (family, protocol), filter, visit).await?;
            match outcome {
                Ok(true) => break,
                // The table grew or shrank; what was told already may be told again.
                Ok(false) => {}
                Err(error) if filter && is_unfilterable(&error) => filter = false,
                Err(source) => return Err(ConntrackError::Refused { action: "dump", source }),
            }
        }
        Ok(())
    }

    async fn delete(&self, entries: &[Entry]) -> Result<usize, ConntrackError> {
        if entries.is_empty() {
            return Ok(0);
        }
        let mut socket = NetfilterSocket::open().map_err(ConntrackError::Open)?;
        let (mut deleted, mut failure) = (0, None);
        for batch in entries.chunks(BATCH) {
            let answers = socket.change(batch.iter().map(delete_request));
            let outcomes = tokio::time::timeout(LIMIT, answers)
                .await
                .map_err(|_| ConntrackError::Deadline("delete"))?
                .map_err(|source| ConntrackError::Refused { action: "delete", source })?;
            for outcome in outcomes {
                match outcome {
                    None => deleted += 1,
                    Some(NOT_FOUND) => {}
                    Some(code) => failure = Some(io::Error::from_raw_os_error(code)),
                }
            }
        }
        match failure {
            None => Ok(deleted),
            Some(source) => Err(ConntrackError::Refused { action: "delete", source }),
        }
    }
}

fn is_unfilterable(error: &io::Error) -> bool {
    error.raw_os_error().is_some_and(|code| NO_FILTER.contains(&code))
}

/// One dump, and whether it is whole. Other protocols are left out here too, as the kernel may
/// not know the filter.
async fn dump(
    socket: &mut NetfilterSocket,
    (family, protocol): (IpFamily, Protocol),
    filter: bool,
    visit: &mut (dyn FnMut(Entry) + Send),
) -> Result<io::Result<bool>, ConntrackError> {
    let request = dump_request(family, filter.then_some(protocol));
    let mut each = |message: crate::nfnetlink::Message<'_>| {
        if let Some(entry) = read_entry(&message, protocol) {
            visit(entry);
        }
    };
    tokio::time::timeout(LIMIT, socket.ask(request, &mut each))
        .await
        .map_err(|_| ConntrackError::Deadline("dump"))
}
