//! The real iptables and nftables, with a count of what was written and failures on demand.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use netproxy::iptables::{Flavour, Iptables, IptablesCommand, IptablesError, Version};
use netproxy::nftables::boundary::LiveTable;
use netproxy::nftables::diff::NftDiff;
use netproxy::nftables::floor::Release;
use netproxy::nftables::state::{ChainName, NftState};
use netproxy::nftables::{Nft, NftCommand, NftError};
use netproxy::rules::ruleset::Table;

/// How the tools say that something did not work.
const FAILED: &str = "exit status: 4";

/// What happens instead of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It fails without an effect.
    Fails,
    /// The process is killed before it.
    Dies,
}

type Choice = Box<dyn Fn(usize) -> Option<Fault> + Send + Sync>;

/// The writes of a proxy, counted from 1 over both families.
pub struct Steps {
    taken: AtomicUsize,
    fault: Choice,
}

impl Steps {
    /// All of them work.
    pub fn new() -> Arc<Self> {
        Self::with(|_| None)
    }

    /// `fault` says what happens at each.
    pub fn with(fault: impl Fn(usize) -> Option<Fault> + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self { taken: AtomicUsize::new(0), fault: Box::new(fault) })
    }

    /// How many there were.
    pub fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst)
    }

    /// Takes a step; the message of its failure, if it fails.
    fn take(&self) -> Result<(), String> {
        let number = self.taken.fetch_add(1, Ordering::SeqCst) + 1;
        match (self.fault)(number) {
            None => Ok(()),
            Some(Fault::Dies) => {
                let _ = nix::sys::signal::kill(nix::unistd::getpid(), nix::sys::signal::SIGKILL);
                unreachable!("nothing survives this signal")
            }
            Some(Fault::Fails) => Err(format!("write {number} fails in this test")),
        }
    }
}

/// An iptables whose writes are steps.
pub struct Recorder {
    inner: IptablesCommand,
    steps: Arc<Steps>,
}

impl Recorder {
    /// On top of the real one.
    pub fn new(inner: IptablesCommand, steps: Arc<Steps>) -> Self {
        Self { inner, steps }
    }
}

#[async_trait]
impl Iptables for Recorder {
    async fn restore(&self, input: String) -> Result<(), IptablesError> {
        self.steps.take().map_err(|message| IptablesError::Failed {
            command: "iptables-restore",
            status: FAILED.to_owned(),
            message,
            line: None,
        })?;
        self.inner.restore(input).await
    }

    async fn save(&self) -> Result<String, IptablesError> {
        self.inner.save().await
    }

    async fn has_rule(&self, table: Table, chain: &str, rule: &str) -> Result<bool, IptablesError> {
        self.inner.has_rule(table, chain, rule).await
    }

    async fn chain_exists(&self, table: Table, chain: &str) -> Result<bool, IptablesError> {
        self.inner.chain_exists(table, chain).await
    }

    fn flavour(&self) -> Flavour {
        self.inner.flavour()
    }

    async fn version(&self) -> Result<Version, IptablesError> {
        self.inner.version().await
    }
}

/// An nftables whose writes are steps.
pub struct NftRecorder {
    inner: NftCommand,
    steps: Arc<Steps>,
}

impl NftRecorder {
    /// On top of the real one.
    pub fn new(inner: NftCommand, steps: Arc<Steps>) -> Self {
        Self { inner, steps }
    }

    fn take(&self) -> Result<(), NftError> {
        let failed = |message| NftError::Failed { status: FAILED.to_owned(), message };
        self.steps.take().map_err(failed)
    }
}

#[async_trait]
impl Nft for NftRecorder {
    async fn replace(&self, wanted: &NftState) -> Result<(), NftError> {
        self.take()?;
        self.inner.replace(wanted).await
    }

    async fn update(&self, changes: &NftDiff) -> Result<(), NftError> {
        self.take()?;
        self.inner.update(changes).await
    }

    async fn delete_chains(&self, chains: &BTreeSet<ChainName>) -> Result<(), NftError> {
        self.take()?;
        self.inner.delete_chains(chains).await
    }

    async fn read(&self) -> Result<LiveTable, NftError> {
        self.inner.read().await
    }

    async fn exists(&self) -> Result<bool, NftError> {
        self.inner.exists().await
    }

    async fn remove(&self) -> Result<bool, NftError> {
        self.inner.remove().await
    }

    async fn version(&self) -> Result<Release, NftError> {
        self.inner.version().await
    }
}
