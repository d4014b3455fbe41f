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

    /// Hands over all tables line by line. The lines before a failure are no whole dump.
    async fn save_lines(
        &self,
        take: &mut (dyn for<'a> FnMut(&'a str) + Send),
    ) -> Result<(), IptablesError> {
        self.save().await?.lines().for_each(take);
        Ok(())
    }

    /// Whether a chain holds `rule`, as spelled after `-A CHAIN`. For where a dump does not tell.
    async fn has_rule(&self, table: Table, chain: &str, rule: &str) -> Result<bool, IptablesError>;

    /// Whether the chain is there.
    async fn chain_exists(&self, table: Table, chain: &str) -> Result<bool, IptablesError>;

    /// Which of the two kinds of iptables this is.
    fn flavour(&self) -> Flavour;

    /// Version of the binaries.
    async fn version(&self) -> Result<Version, IptablesError>;
}

/// The two kinds of iptables. Both write tables of the same names, which exist side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Flavour {
    /// Writes through nf_tables, rule by rule.
    Nft,
    /// Writes through the older interface of the kernel, a whole table at a time.
    Legacy,
}

impl Flavour {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Nft, Self::Legacy];

    /// Its name in the output of `iptables --version`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nft => "nf_tables",
            Self::Legacy => "legacy",
        }
    }

    /// The flavour in a line such as `iptables v1.8.9 (nf_tables)`. Versions before 1.8 have only
    /// the legacy flavour and do not name it.
    pub fn from_line(line: &str) -> Self {
        if line.contains("(nf_tables)") { Self::Nft } else { Self::Legacy }
    }
}

impl std::fmt::Display for Flavour {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
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

    /// Whether iptables-restore can wait for the lock.
    pub fn restore_waits(self) -> bool {
        self >= Self { major: 1, minor: 6, patch: 2 }
    }

    /// Whether the pause between two tries for the lock can be set. Later versions are told when
    /// the lock is free and complain about the option.
    pub fn has_wait_interval(self) -> bool {
        self.restore_waits() && self < Self { major: 1, minor: 8, patch: 8 }
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
        /// That input line, where it named one.
        line: Option<String>,
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

    /// Whether the input is to blame, and not the moment: the exit status 4 of iptables stands
    /// for a held lock and for missing memory.
    pub fn blames_input(&self) -> bool {
        matches!(self, Self::Failed { status, .. } if status != "exit status: 4")
    }

    /// The input line it is about, if one is named.
    pub fn line(&self) -> Option<&str> {
        match self {
            Self::Failed { line, .. } => line.as_deref(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
