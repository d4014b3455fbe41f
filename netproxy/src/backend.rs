//! What the loop of the proxy needs from a back end, for one family.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::input::ObjectKey;
use crate::iptables::apply::SyncError;
use crate::model::port_facts::PortFacts;
use crate::model::service_port::ServicePortName;
use crate::nftables::NftSyncError;
use crate::rules::RuleContext;

/// Keeps the kernel equal to the services planned so far, for one family.
#[async_trait]
pub trait Backend: Send + Sync {
    /// Whether the rules can choose source ports of masqueraded packets at random.
    async fn random_fully(&self) -> bool;

    /// Settings or facts about the node changed: all services are planned anew after this call.
    fn set_context(&mut self, context: &RuleContext);

    /// Plans one service anew; without ports it is gone. Ports come by name.
    fn plan_service(&mut self, key: &ObjectKey, ports: &[PortFacts]);

    /// Brings the kernel to the plan. On failure what was in place before stays, as far as the
    /// kernel allows, and the next call reads what is live.
    async fn sync(&mut self) -> Result<SyncReport, BackendError>;

    /// Whether the next sync reads what is live.
    fn needs_full(&self) -> bool;

    /// Forgets what is live, so that the next sync reads it.
    fn forget(&mut self);

    /// Whether somebody removed our rules since they were written. A quick look; no when nothing
    /// was written yet.
    async fn lost(&mut self) -> Result<bool, BackendError>;

    /// What users should know of the last plan and sync; empty when all is well.
    fn findings(&self) -> &BTreeSet<Finding>;
}

/// What a sync did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SyncReport {
    /// Whether the live rules were read and compared, not only the changes written.
    pub full: bool,
    /// Chains or elements written.
    pub written: usize,
    /// Chains or elements deleted.
    pub deleted: usize,
    /// Rules of each table that the back end counts, by the name of the table.
    pub tables: BTreeMap<&'static str, TableRules>,
}

/// Rules of one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRules {
    /// All that are ours.
    pub total: usize,
    /// Those that the last sync wrote.
    pub written: usize,
}

/// Something that users should know and that does not keep the other services from working. Told
/// once, when it appears.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// The kernel or its tool refuses the rules of this service; they are left out.
    Refused {
        /// The service.
        service: ObjectKey,
        /// What was said.
        cause: Arc<str>,
    },
    /// Two service ports claim the same address or node port; the first one has it.
    Overlap {
        /// Who has it.
        first: ServicePortName,
        /// Who does without.
        second: ServicePortName,
        /// The address with port and protocol, or the node port.
        claim: Arc<str>,
    },
    /// Rules of ours are also in the other flavour of iptables, where we do not touch them.
    OtherFlavour {
        /// The flavour we use, as in `iptables --version`.
        ours: &'static str,
        /// The flavour that has rules beside.
        theirs: &'static str,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { service, cause } => {
                write!(f, "rules of service {service} are refused and left out: {cause}")
            }
            Self::Overlap { first, second, claim } => {
                write!(f, "{second} claims {claim}, which {first} has; it is left out there")
            }
            Self::OtherFlavour { ours, theirs } => write!(
                f,
                "the {theirs} flavour of iptables holds KUBE rules too, which act beside those of \
                 the {ours} flavour in use; remove them with its own iptables-save and \
                 iptables-restore, or restart the machine"
            ),
        }
    }
}

/// A back end could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// iptables could not.
    #[error(transparent)]
    Iptables(#[from] SyncError),
    /// nftables could not.
    #[error(transparent)]
    Nftables(#[from] NftSyncError),
}
