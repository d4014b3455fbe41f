//! What we need from iptables, for one family.

use std::time::Duration;

use async_trait::async_trait;

use crate::rules::ruleset::Table;

/// The iptables of one family.
#[async_trait]
pub trait Iptables: Send + Sync {
    /// Applies `input`, the text of iptables-restore, on top of what is there. Each table of it
    /// changes completely or not at all.
    async fn restore(&self, input: String) -> Result<(), IptablesError>;

    /// All tables, as iptables-save prints them.
    async fn save(&self) -> Result<String, IptablesError>;

    /// Puts `rule`, as spelled after `-A CHAIN`, first into a built-in chain unless it is in
    /// there already.
    async fn ensure_jump(&self, table: Table, chain: &str, rule: &str)
    -> Result<(), IptablesError>;

    /// Whether the chain is there.
    async fn chain_exists(&self, table: Table, chain: &str) -> Result<bool, IptablesError>;

    /// Version of the binaries.
    async fn version(&self) -> Result<Version, IptablesError>;
}

/// Version of iptables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major.
    pub major: u16,
    /// Minor.
    pub minor: u16,
    /// Patch.
    pub patch: u16,
}

impl Version {
    /// The version in a line such as `iptables v1.8.9 (nf_tables)`.
    pub fn from_line(line: &str) -> Option<Self> {
        let word = line.split_whitespace().find_map(|word| word.strip_prefix('v'))?;
        let mut numbers = word.split('.').map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { major: next()?, minor: next()?, patch: next().unwrap_or(0) })
    }

    /// Whether MASQUERADE knows `--random-fully`.
    pub fn has_random_fully(self) -> bool {
        self >= Self { major: 1, minor: 6, patch: 2 }
    }
}

/// A failed call of iptables.
#[derive(Debug, thiserror::Error)]
pub enum IptablesError {
    /// The binary could not be started.
    #[error("cannot run {command}")]
    Start {
        /// Command.
        command: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The binary broke off.
    #[error("lost contact with {command}")]
    Talk {
        /// Command.
        command: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// The binary refused; `message` is what it printed.
    #[error("{command} failed with {status}: {message}")]
    Failed {
        /// Command.
        command: &'static str,
        /// Exit status.
        status: String,
        /// What it printed, and the input line it complained about.
        message: String,
    },
    /// The binary gave no answer in time.
    #[error("{command} gave no answer within {limit:?}")]
    Deadline {
        /// Command.
        command: &'static str,
        /// Time allowed.
        limit: Duration,
    },
}

impl IptablesError {
    /// Whether another try with other input can help.
    pub fn refused(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

#[cfg(test)]
mod tests;
