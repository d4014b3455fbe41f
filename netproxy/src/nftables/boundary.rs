//! What we need from nftables, for our table in one family.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;

use super::diff::NftDiff;
use super::floor::Release;
use super::state::{ChainName, Key, NftState, SetName};

/// The table `kube-proxy` of one family.
#[async_trait]
pub trait Nft: Send + Sync {
    /// Puts this table in place of whatever is there, in one transaction. What the kernel filled
    /// is lost.
    async fn replace(&self, wanted: &NftState) -> Result<(), NftError>;

    /// Makes these changes to the table in one transaction: all of them or none. Chains that are
    /// gone are only emptied.
    async fn update(&self, changes: &NftDiff) -> Result<(), NftError>;

    /// Deletes chains in one transaction. Before Linux 6.2 the kernel may refuse it right after
    /// the elements that led to them are gone.
    async fn delete_chains(&self, chains: &BTreeSet<ChainName>) -> Result<(), NftError>;

    /// What is there.
    async fn read(&self) -> Result<LiveTable, NftError>;

    /// Whether the table is there. Cheap.
    async fn exists(&self) -> Result<bool, NftError>;

    /// Removes the table; whether there was one.
    async fn remove(&self) -> Result<bool, NftError>;

    /// Release of the tool.
    async fn version(&self) -> Result<Release, NftError>;
}

/// The table as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveTable {
    /// There is none.
    Missing,
    /// It is laid out in another way: by kube-proxy, by another version, or damaged. The text
    /// says where it differs.
    Foreign(String),
    /// It is laid out as ours; content may differ.
    Ours(NftState),
}

/// A failed call of nftables.
#[derive(Debug, thiserror::Error)]
pub enum NftError {
    /// The tool could not be started.
    #[error("cannot run {command}")]
    Start {
        /// Command.
        command: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The tool broke off.
    #[error("lost contact with {command}")]
    Talk {
        /// Command.
        command: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The tool refused; `message` is what it printed.
    #[error("nft failed with {status}: {message}")]
    Failed {
        /// Exit status.
        status: String,
        /// What it printed, and the input line it complained about.
        message: String,
    },
    /// The kernel refused changes of elements.
    #[error("{} of {changes} changes of elements are refused, the first in {set}", .refused.len())]
    Refused {
        /// Those that were refused; not empty.
        refused: BTreeSet<(SetName, Key)>,
        /// How many there were.
        changes: usize,
        /// The set of the first one that was refused.
        set: SetName,
        /// Why the first one was refused.
        source: std::io::Error,
    },
    /// The kernel cannot be asked, or did not answer properly.
    #[error("no talk with nftables")]
    Netlink(#[source] std::io::Error),
    /// No answer in time.
    #[error("{command} gave no answer within {limit:?}")]
    Deadline {
        /// Who was asked.
        command: &'static str,
        /// Time allowed.
        limit: Duration,
    },
}

impl NftError {
    /// Whether another try with other input can help.
    pub fn refused(&self) -> bool {
        matches!(self, Self::Failed { .. } | Self::Refused { .. })
    }
}
