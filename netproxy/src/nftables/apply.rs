//! Brings the live table to a wanted one.

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use super::boundary::{LiveTable, Nft, NftError};
use super::diff::{ElementChange, NftDiff, diff};
use super::state::{ChainName, Key, NftState, SetName};
use crate::config::IpFamily;

/// Elements written at once while looking for the ones that are refused.
const CAREFUL: usize = 500;

/// A table could not be put in place.
#[derive(Debug, thiserror::Error)]
pub enum NftSyncError {
    /// The live table could not be read.
    #[error("cannot read the {family} table")]
    Read {
        /// Family.
        family: IpFamily,
        /// Why.
        source: NftError,
    },
    /// The table could not be built.
    #[error("cannot build the {family} table with {elements} elements")]
    Build {
        /// Family.
        family: IpFamily,
        /// How many elements it was to have.
        elements: usize,
        /// Why.
        source: NftError,
    },
    /// Changes could not be written.
    #[error("cannot write {chains} chains and {elements} elements of the {family} table")]
    Write {
        /// Family.
        family: IpFamily,
        /// How many chains were to change.
        chains: usize,
        /// How many elements were to change.
        elements: usize,
        /// Why.
        source: NftError,
    },
}

impl NftSyncError {
    /// Whether it is about what was written, so that something else could pass.
    pub fn refused(&self) -> bool {
        match self {
            Self::Read { .. } => false,
            Self::Build { source, .. } | Self::Write { source, .. } => source.refused(),
        }
    }
}

/// What was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Chains and elements written.
    pub written: usize,
    /// Chains and elements deleted.
    pub deleted: usize,
    /// Chains that nothing leads to any more, to be deleted once the changes are in.
    pub stale: BTreeSet<ChainName>,
}

impl Written {
    fn of(changes: &NftDiff) -> Self {
        Self {
            written: changes.written(),
            deleted: changes.deleted(),
            stale: changes.gone_chains.clone(),
        }
    }
}

/// Writes changes that lead from what is live to what is planned.
///
/// Chains come first, in a transaction of their own: nothing leads to a new chain before its
/// elements are there, and elements alone can go the fast way.
pub async fn write_changes(
    nft: &dyn Nft,
    family: IpFamily,
    mut changes: NftDiff,
) -> Result<Written, NftSyncError> {
    let written = Written::of(&changes);
    let elements = std::mem::take(&mut changes.elements);
    changes.gone_chains.clear();
    for part in [changes, NftDiff { elements, ..NftDiff::default() }] {
        update(nft, family, &part).await?;
    }
    Ok(written)
}

/// Reads what is live and writes what differs from `wanted`; builds the table anew when it is
/// missing or not laid out as ours. Either is a single transaction.
pub async fn compare(
    nft: &dyn Nft,
    family: IpFamily,
    wanted: &NftState,
) -> Result<Written, NftSyncError> {
    let live = nft.read().await.map_err(|source| NftSyncError::Read { family, source })?;
    if let LiveTable::Ours(live) = live {
        let changes = diff(&live, wanted);
        drop(live);
        update(nft, family, &changes).await?;
        return Ok(Written::of(&changes));
    }
    if let LiveTable::Foreign(difference) = live {
        info!(%family, difference, "table has another layout, building it anew");
    }
    let elements = wanted.element_count();
    let built = nft.replace(wanted).await;
    built.map_err(|source| NftSyncError::Build { family, elements, source })?;
    Ok(Written { written: wanted.chains.len() + elements, ..Written::default() })
}

/// Elements of `wanted` that the kernel refuses, each with the reason. Everything else is
/// written, a few elements at a time.
///
/// Only called after [`compare`] was refused, which writes everything or nothing. A table that is
/// laid out as ours keeps working meanwhile; any other one is emptied first, for there is no way
/// to find out with it in place.
pub async fn find_refused(
    nft: &dyn Nft,
    family: IpFamily,
    wanted: &NftState,
) -> Result<BTreeMap<(SetName, Key), String>, NftSyncError> {
    let live = nft.read().await.map_err(|source| NftSyncError::Read { family, source })?;
    let live = match live {
        LiveTable::Ours(live) => live,
        LiveTable::Missing | LiveTable::Foreign(_) => {
            warn!(%family, "building the table step by step to find what is refused");
            let bare = NftState {
                sets: BTreeMap::new(),
                chains: wanted.chains.clone(),
                ..NftState::empty(family)
            };
            let built = nft.replace(&bare).await;
            built.map_err(|source| NftSyncError::Build { family, elements: 0, source })?;
            bare
        }
    };
    let mut changes = diff(&live, wanted);
    drop(live);
    let mut elements = std::mem::take(&mut changes.elements);
    changes.gone_chains.clear();
    update(nft, family, &changes).await?;
    let mut refused = BTreeMap::new();
    while !elements.is_empty() {
        let rest = elements.keys().nth(CAREFUL).copied();
        let later = rest.map(|rest| elements.split_off(&rest)).unwrap_or_default();
        refused.extend(write_or_name(nft, family, elements).await?);
        elements = later;
    }
    Ok(refused)
}

/// Writes elements but those that are refused, which come back with the reason.
async fn write_or_name(
    nft: &dyn Nft,
    family: IpFamily,
    mut elements: BTreeMap<(SetName, Key), ElementChange>,
) -> Result<BTreeMap<(SetName, Key), String>, NftSyncError> {
    let mut named = BTreeMap::new();
    loop {
        let part = NftDiff { elements, ..NftDiff::default() };
        match update(nft, family, &part).await {
            Err(NftSyncError::Write {
                source: NftError::Refused { refused, source: cause, .. },
                ..
            }) if !refused.is_empty() => {
                elements = part.elements;
                elements.retain(|element, _| !refused.contains(element));
                named.extend(refused.into_iter().map(|element| (element, cause.to_string())));
            }
            outcome => return outcome.map(|()| named),
        }
    }
}

async fn update(nft: &dyn Nft, family: IpFamily, changes: &NftDiff) -> Result<(), NftSyncError> {
    if changes.is_empty() {
        return Ok(());
    }
    nft.update(changes).await.map_err(|source| NftSyncError::Write {
        family,
        chains: changes.chains.len() + changes.gone_chains.len(),
        elements: changes.elements.len(),
        source,
    })
}
