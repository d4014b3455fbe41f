//! What we need from connection tracking.

use std::net::SocketAddr;

use async_trait::async_trait;

use crate::config::IpFamily;

/// One UDP entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flow {
    /// Who sent the first packet.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub destination: SocketAddr,
    /// Who answers; the chosen endpoint if the destination was translated.
    pub answered_by: SocketAddr,
}

/// Connection tracking of the kernel.
#[async_trait]
pub trait Conntrack: Send + Sync {
    /// The UDP entries of a family.
    async fn list_udp(&self, family: IpFamily) -> Result<Vec<Flow>, ConntrackError>;

    /// Deletes entries; those that are gone already count as deleted.
    async fn delete(&self, flows: &[Flow]) -> Result<(), ConntrackError>;
}

/// A failed call.
#[derive(Debug, thiserror::Error)]
pub enum ConntrackError {
    /// No socket.
    #[error("cannot open a netfilter socket")]
    Open(#[source] std::io::Error),
    /// The request did not go out.
    #[error("cannot send a conntrack request")]
    Send(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The kernel refused.
    #[error("conntrack {action} failed")]
    Refused {
        /// What was asked for.
        action: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The kernel gave no answer in time.
    #[error("conntrack {0} gave no answer in time")]
    Deadline(&'static str),
}
