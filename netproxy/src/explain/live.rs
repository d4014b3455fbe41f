//! What the kernel says, read through the boundaries of the proxy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::packet::{Connection, Question};
use super::plan::FamilyPlan;
use crate::config::{ConntrackSettings, IpFamily, ProxyConfig, ProxyMode};
use crate::conntrack::{Conntrack, ConntrackError, Entry, Flow};
use crate::interference::OwnWriters;
use crate::iptables::parse::{LiveTables, parse_saved};
use crate::iptables::{Iptables, IptablesError, flavour};
use crate::machine::{LinuxMachine, Machine};
use crate::mode::{BackendKind, choose};
use crate::model::changes::ServiceMap;
use crate::nfacct::{
    AccountingCounters, AccountingObjects, INVALID_DROPPED, LOCALHOST_ACCEPTED, NetlinkAccounting,
};
use crate::nftables::floor::{FloorError, FloorFacts};
use crate::nftables::{LiveTable, Nft, NftCommand, NftError};
use crate::rules::RuleContext;
use crate::rules::context::MachineFacts;
use crate::rules::ruleset::{ChainKey, Table};
use crate::sysctl;

/// What becomes of packets at the end of built-in chains.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policies {
    /// Chains that drop them.
    pub dropping: BTreeSet<ChainKey>,
}

impl Policies {
    /// The policies in the text of iptables-save.
    pub fn of_saved(text: &str) -> Self {
        let mut dropping = BTreeSet::new();
        let mut table = None;
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('*') {
                table = Table::ALL.into_iter().find(|table| table.name() == name.trim());
            }
            let (Some(table), Some(chain)) = (table, line.strip_prefix(':')) else { continue };
            let mut words = chain.split_whitespace();
            if let (Some(name), Some("DROP")) = (words.next(), words.next()) {
                dropping.insert(ChainKey::new(table, name));
            }
        }
        Self { dropping }
    }
}

/// The live rules of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LiveRules {
    /// Chains and rules, those of others included.
    pub tables: LiveTables,
    /// Policies of the built-in chains.
    pub policies: Policies,
}

impl LiveRules {
    /// The rules in the text of iptables-save.
    pub fn of_saved(text: &str, family: IpFamily) -> Self {
        Self { tables: parse_saved(text, family), policies: Policies::of_saved(text) }
    }
}

/// What one family's part of the kernel holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveState {
    /// In iptables mode.
    Iptables(LiveRules),
    /// In nftables mode.
    Nftables(LiveTable),
}

/// Why live rules could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Those of iptables.
    #[error(transparent)]
    Iptables(#[from] IptablesError),
    /// Those of nftables.
    #[error(transparent)]
    Nftables(#[from] NftError),
    /// The machine is not fit for the mode that is configured.
    #[error("nftables mode is not possible here")]
    Floor(#[from] FloorError),
}

/// What reads and writes the rules of one family.
#[derive(Clone)]
pub enum RuleSource {
    /// In iptables mode.
    Iptables(Arc<dyn Iptables>),
    /// In nftables mode.
    Nftables(Arc<dyn Nft>),
}

/// Where facts about the machine come from.
#[derive(Clone)]
pub struct Sources {
    /// The mode that is in use.
    pub kind: BackendKind,
    /// Rules of each family.
    pub rules: BTreeMap<IpFamily, RuleSource>,
    /// Addresses and settings.
    pub machine: Arc<dyn Machine>,
    /// Counters that rules may count in; nothing when there can be none.
    pub counters: Option<Arc<dyn AccountingCounters>>,
}

impl Sources {
    /// This machine in the mode that the proxy chooses on it, with the flavour of iptables that it
    /// uses. An error comes with sources without rules.
    pub async fn of_this_machine(wanted: ProxyMode) -> (Self, Option<ReadError>) {
        let own = OwnWriters::of_this_process();
        let chosen = if wanted == ProxyMode::Iptables {
            choose(wanted, None)
        } else {
            let nft = NftCommand::new(IpFamily::V4, own.clone());
            choose(wanted, Some(FloorFacts::gather(&LinuxMachine, &nft).await))
        };
        let kind = match chosen {
            Ok(chosen) => chosen.kind,
            // Only nftables that was asked for by name is ever refused.
            Err(error) => return (Self::without_rules(BackendKind::Nftables), Some(error.into())),
        };
        let mut sources = Self::without_rules(kind);
        match kind {
            BackendKind::Iptables => match flavour::detect().await {
                Err(error) => return (sources, Some(error.into())),
                Ok(choice) => sources.rules.extend([IpFamily::V4, IpFamily::V6].map(|family| {
                    (family, RuleSource::Iptables(Arc::new(choice.command(family))))
                })),
            },
            BackendKind::Nftables => {
                sources.rules.extend([IpFamily::V4, IpFamily::V6].map(|family| {
                    let nft = NftCommand::new(family, own.clone());
                    (family, RuleSource::Nftables(Arc::new(nft)))
                }));
            }
        }
        (sources, None)
    }

    fn without_rules(kind: BackendKind) -> Self {
        Self {
            kind,
            rules: BTreeMap::new(),
            machine: Arc::new(LinuxMachine),
            counters: Some(Arc::new(NetlinkAccounting)),
        }
    }
}

impl RuleSource {
    async fn read(&self, family: IpFamily) -> Result<LiveState, ReadError> {
        Ok(match self {
            Self::Iptables(iptables) => {
                LiveState::Iptables(LiveRules::of_saved(&iptables.save().await?, family))
            }
            Self::Nftables(nft) => LiveState::Nftables(nft.read().await?),
        })
    }

    /// Yes when it does not tell, as every version since 1.6.2 can.
    async fn random_fully(&self) -> bool {
        match self {
            Self::Iptables(iptables) => {
                iptables.version().await.map_or(true, |version| version.has_random_fully())
            }
            Self::Nftables(_) => true,
        }
    }
}

/// What the kernel says about one family.
#[derive(Debug)]
pub struct FamilyKernel {
    /// The live rules, or why they could not be read.
    pub live: Result<LiveState, ReadError>,
    /// Whether source ports of masqueraded packets can be chosen at random.
    pub random_fully: bool,
}

/// What the kernel says.
#[derive(Debug)]
pub struct Kernel {
    /// By family.
    pub families: BTreeMap<IpFamily, FamilyKernel>,
    /// The mode that is in use.
    pub kind: BackendKind,
    /// Why there is no family at all, if so.
    pub unusable: Option<ReadError>,
    /// Addresses of all interfaces.
    pub local_addresses: Vec<IpAddr>,
    /// Whether the kernel has conntrack be liberal about TCP, whatever the configuration says.
    pub liberal_conntrack: bool,
    /// Counters that are there.
    pub counters: AccountingObjects,
}

impl Kernel {
    /// Reads everything on this machine, in the mode that the proxy chooses on it.
    pub async fn of_this_machine(wanted: ProxyMode) -> Self {
        let (sources, unusable) = Sources::of_this_machine(wanted).await;
        Self { unusable, ..Self::read(&sources).await }
    }

    /// Reads everything. What cannot be read is said in its place.
    pub async fn read(sources: &Sources) -> Self {
        let mut families = BTreeMap::new();
        for (family, source) in &sources.rules {
            let random_fully = source.random_fully().await;
            let live = source.read(*family).await;
            families.insert(*family, FamilyKernel { live, random_fully });
        }
        let counters = match &sources.counters {
            Some(counters) => AccountingObjects {
                invalid_dropped: counters.count(INVALID_DROPPED).await.is_ok(),
                localhost_accepted: counters.count(LOCALHOST_ACCEPTED).await.is_ok(),
            },
            None => AccountingObjects::default(),
        };
        Self {
            families,
            kind: sources.kind,
            unusable: None,
            local_addresses: sources.machine.local_addresses().unwrap_or_default(),
            liberal_conntrack: sysctl::liberal_conntrack(
                &ConntrackSettings::default(),
                &*sources.machine,
            ),
            counters,
        }
    }

    /// The live rules of a family; nothing when they could not be read.
    pub fn live(&self, family: IpFamily) -> Option<&LiveState> {
        self.families.get(&family)?.live.as_ref().ok()
    }

    /// Families that the proxy programs: those whose rules can be read. Empty when none can.
    pub fn usable(&self) -> impl Iterator<Item = (IpFamily, &LiveState)> {
        self.families
            .iter()
            .filter_map(|(family, known)| Some((*family, known.live.as_ref().ok()?)))
    }

    /// Why no family's rules could be read; nothing when one's could.
    pub fn failure(&self) -> Option<&ReadError> {
        if self.usable().next().is_some() {
            return None;
        }
        let failed = self.families.values().find_map(|known| known.live.as_ref().err());
        failed.or(self.unusable.as_ref())
    }

    /// The plan of a family, as the proxy on this machine would make it.
    pub fn plan(&self, config: &ProxyConfig, map: &ServiceMap, family: IpFamily) -> FamilyPlan {
        let facts = MachineFacts {
            local_addresses: &self.local_addresses,
            random_fully: self.families.get(&family).is_none_or(|known| known.random_fully),
            liberal_conntrack: self.liberal_conntrack || config.conntrack.tcp_be_liberal,
        };
        let of_mode = match self.kind {
            BackendKind::Iptables => config.clone(),
            BackendKind::Nftables => config.clone().in_nftables_mode(),
        };
        let context = RuleContext::new(&of_mode, family, map.node(), facts)
            .with_counters(self.counters)
            .with_service_cidrs(map.service_cidrs());
        FamilyPlan::new(map, self.kind, context)
    }
}

/// Entries of connection tracking from the source of a packet to its destination, by source.
pub async fn connections(
    conntrack: &dyn Conntrack,
    question: &Question<'_>,
) -> Result<Vec<Connection>, ConntrackError> {
    let (source, destination) = (question.source, question.destination);
    let mut found = Vec::new();
    let mut keep = |entry: Entry| {
        let flow = entry.flow;
        if flow.source.ip() == source && flow.destination == destination {
            let Flow { source, destination, answered_by } = flow;
            found.push(Connection { source, destination, answered_by });
        }
    };
    conntrack.visit(IpFamily::of(source), question.protocol, &mut keep).await?;
    found.sort_unstable_by_key(|known| known.source);
    Ok(found)
}

#[cfg(test)]
mod tests;
