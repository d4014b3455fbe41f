//! What we need from connection tracking.

use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;

use crate::config::IpFamily;
use crate::input::Protocol;

/// Who talks to whom in one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// Who sent the first packet.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub destination: SocketAddr,
    /// Who answers; the chosen endpoint if the destination was translated.
    pub answered_by: SocketAddr,
}

/// One entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Entry {
    /// Who talks to whom.
    pub flow: Flow,
    /// The zone it is kept in, 0 unless somebody sorts connections into zones.
    pub zone: u16,
    /// The kernel's number for it, so that a younger entry of the same flow is told apart.
    pub id: Option<u32>,
}

/// Connection tracking of the kernel.
#[async_trait]
pub trait Conntrack: Send + Sync {
    /// Shows every entry of a family and protocol to `visit`, as the kernel tells them; none is
    /// kept. An entry may be shown twice.
    async fn visit(
        &self,
        family: IpFamily,
        protocol: Protocol,
        visit: &mut (dyn FnMut(Entry) + Send),
    ) -> Result<(), ConntrackError>;

    /// Deletes entries and tells how many of them were still there. One that cannot be deleted
    /// keeps none of the others from being tried.
    async fn delete(&self, entries: &[Entry]) -> Result<usize, ConntrackError>;
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// No socket.
    #[error("cannot open a netfilter socket")]
    Open(#[source] io::Error),
    /// The kernel refused.
    #[error("conntrack {action} failed")]
    Refused {
        /// What was asked for.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// The kernel gave no answer in time.
    #[error("conntrack {0} gave no answer in time")]
    Deadline(&'static str),
}
