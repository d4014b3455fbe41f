//! Which back end runs on this machine, and what it takes over from the other.
//!
//! **What.** Settles `mode` at start, makes its back ends, and removes the rules of the mode that
//! is not in use.
//! **Invariants.** Rules of the other mode go only after ours are in place, so that no moment is
//! without any.
//! **Source.** kube-proxy v1.36 removes the leftovers at start, before its own rules are in; the
//! order is ours, and so is `auto`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use tracing::info;

use crate::backend::Backend;
use crate::config::{IpFamily, ProxyMode};
use crate::interference::{Interest, OwnWriters, watch_nftables};
use crate::iptables::cleanup::cleanup as cleanup_iptables;
use crate::iptables::flavour::in_use;
use crate::iptables::{Flavour, Iptables, IptablesCommand, IptablesError};
use crate::machine::LinuxMachine;
use crate::nftables::cleanup::cleanup as cleanup_nftables;
use crate::nftables::floor::{FloorError, FloorFacts};
use crate::nftables::{Nft, NftBackend, NftCommand, NftError};
use crate::task::{Backends, ProxyError};

/// A back end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum BackendKind {
    /// Chains in the tables of iptables.
    Iptables,
    /// A table of our own.
    Nftables,
}

impl BackendKind {
    /// The word at `/proxyMode`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Iptables => "iptables",
            Self::Nftables => "nftables",
        }
    }
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// The back end that runs, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenMode {
    /// The back end.
    pub kind: BackendKind,
    /// For the log, such as `auto chose nftables: kernel 6.18.0, nft 1.0.6`.
    pub reason: String,
}

/// Settles the mode. Without `facts` about the machine it is iptables. Fails when nftables is
/// wanted by name on a machine that is not fit for it.
pub fn choose(wanted: ProxyMode, facts: Option<FloorFacts>) -> Result<ChosenMode, FloorError> {
    let chosen = |kind, reason| Ok(ChosenMode { kind, reason });
    let Some(facts) = facts.filter(|_| wanted != ProxyMode::Iptables) else {
        return chosen(BackendKind::Iptables, "iptables is configured".to_owned());
    };
    match (wanted, facts.check()) {
        (ProxyMode::Nftables, Ok(fit)) => {
            chosen(BackendKind::Nftables, format!("nftables is configured: {fit}"))
        }
        (ProxyMode::Nftables, Err(error)) => Err(error),
        (_, Ok(fit)) => chosen(BackendKind::Nftables, format!("auto chose nftables: {fit}")),
        (_, Err(error)) => {
            let cause = std::error::Error::source(&error);
            let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
            chosen(BackendKind::Iptables, format!("auto chose iptables: {error}{cause}"))
        }
    }
}

/// What is to be used.
pub struct Detected {
    /// The mode, and why.
    pub chosen: ChosenMode,
    /// Its back ends, with the watch and the leftovers that belong to it.
    pub backends: Backends,
}

/// The mode cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModeError {
    /// The machine is not fit for nftables mode.
    #[error("nftables mode is not possible here")]
    Floor(#[from] FloorError),
    /// Those of iptables.
    #[error("iptables mode is not possible here")]
    Iptables(#[source] ProxyError),
    /// nftables works for no family.
    #[error("nftables works neither for IPv4 nor for IPv6")]
    Nftables(#[source] NftError),
}

/// Finds out what to use on this machine, in the network namespace of the caller. Writes nothing.
pub async fn detect(wanted: ProxyMode) -> Result<Detected, ModeError> {
    let own = OwnWriters::of_this_process();
    let chosen = if wanted == ProxyMode::Iptables {
        choose(wanted, None)?
    } else {
        let nft = NftCommand::new(IpFamily::V4, own.clone());
        choose(wanted, Some(FloorFacts::gather(&LinuxMachine, &nft).await))?
    };
    let backends = match chosen.kind {
        BackendKind::Iptables => Backends {
            leftovers: nftables_leftovers(&own),
            ..Backends::detect().await.map_err(ModeError::Iptables)?
        },
        BackendKind::Nftables => Backends {
            watch: watch_nftables(Interest::Nftables),
            leftovers: iptables_leftovers().await,
            ..nftables_backends(&own).await?
        },
    };
    Ok(Detected { chosen, backends })
}

const FAMILIES: [IpFamily; 2] = [IpFamily::V4, IpFamily::V6];

/// Back ends for every family whose tables the kernel knows.
async fn nftables_backends(own: &OwnWriters) -> Result<Backends, ModeError> {
    let mut families: BTreeMap<IpFamily, Box<dyn Backend>> = BTreeMap::new();
    let mut failure = None;
    for family in FAMILIES {
        let nft = NftCommand::new(family, own.clone());
        match nft.exists().await {
            Ok(_) => {
                families.insert(family, Box::new(NftBackend::new(Arc::new(nft), family)));
            }
            Err(error) => {
                info!(%family, %error, "family is not programmed");
                failure.get_or_insert(error);
            }
        }
    }
    match failure {
        Some(failure) if families.is_empty() => Err(ModeError::Nftables(failure)),
        // No rule of this mode counts in them.
        _ => Ok(Backends { counters: None, ..Backends::over_kernel(families) }),
    }
}

fn nftables_leftovers(own: &OwnWriters) -> Vec<Leftovers> {
    let of_family = |family| Leftovers {
        family,
        place: LeftoverPlace::Nftables(Arc::new(NftCommand::new(family, own.clone()))),
    };
    FAMILIES.map(of_family).into()
}

/// All flavours that the kernel has tables of.
async fn iptables_leftovers() -> Vec<Leftovers> {
    let mut found = Vec::new();
    for flavour in Flavour::ALL {
        for family in FAMILIES {
            if in_use(flavour, family).await {
                let iptables = Arc::new(IptablesCommand::new(family, flavour));
                found.push(Leftovers { family, place: LeftoverPlace::Iptables(iptables) });
            }
        }
    }
    found
}

/// Rules of every mode that there may be on this machine.
pub async fn all_leftovers() -> Vec<Leftovers> {
    let mut found = iptables_leftovers().await;
    found.extend(nftables_leftovers(&OwnWriters::of_this_process()));
    found
}

/// What the other mode may have left behind in one family.
#[derive(Clone)]
pub struct Leftovers {
    /// The family.
    pub family: IpFamily,
    /// Where to look.
    pub place: LeftoverPlace,
}

/// Where rules of the other mode may be.
#[derive(Clone)]
pub enum LeftoverPlace {
    /// In the tables of one flavour of iptables.
    Iptables(Arc<dyn Iptables>),
    /// In the table of our name.
    Nftables(Arc<dyn Nft>),
}

/// Leftovers could not be removed.
#[derive(Debug, thiserror::Error)]
pub enum LeftoverError {
    /// Those of iptables.
    #[error("cannot remove the {family} rules of iptables mode")]
    Iptables {
        /// Family.
        family: IpFamily,
        /// Why.
        source: IptablesError,
    },
    /// Those of nftables.
    #[error("cannot remove the {family} table of nftables mode")]
    Nftables {
        /// Family.
        family: IpFamily,
        /// Why.
        source: NftError,
    },
}

impl fmt::Display for Leftovers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mode = match &self.place {
            LeftoverPlace::Iptables(_) => BackendKind::Iptables,
            LeftoverPlace::Nftables(_) => BackendKind::Nftables,
        };
        write!(f, "{} {mode}", self.family)
    }
}

impl Leftovers {
    /// Removes what is there, exactly ours; whether there was anything. To be called once the
    /// rules of the mode in use are in place.
    pub async fn remove(&self) -> Result<bool, LeftoverError> {
        let family = self.family;
        match &self.place {
            LeftoverPlace::Iptables(iptables) => {
                match cleanup_iptables(&**iptables, family).await {
                    // Without its tool there is nobody who wrote rules either.
                    Err(IptablesError::Start { source, .. })
                        if source.kind() == std::io::ErrorKind::NotFound =>
                    {
                        Ok(false)
                    }
                    outcome => outcome.map_err(|source| LeftoverError::Iptables { family, source }),
                }
            }
            LeftoverPlace::Nftables(nft) => cleanup_nftables(&**nft)
                .await
                .map_err(|source| LeftoverError::Nftables { family, source }),
        }
    }
}

#[cfg(test)]
mod tests;
