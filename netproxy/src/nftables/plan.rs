//! Pure. The wanted table, kept up to date service by service.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::affinity::Classes;
use super::base_chains::base_chains;
use super::diff::{ElementChange, NftDiff};
use super::elements::{ServiceElements, plan_service_port, socket};
use super::layout::{SharedChain, TableContext};
use super::state::{Chain, ChainName, Entry, Key, NftState, SetName, Value};
use crate::input::ObjectKey;
use crate::model::port_facts::PortFacts;
use crate::model::service_port::ServicePortName;

/// The wanted table of one family.
///
/// A change of one service costs as much as that service is large, however many others there are.
#[derive(Clone, Debug)]
pub struct NftPlan {
    context: TableContext,
    services: BTreeMap<ObjectKey, Vec<PlannedPort>>,
    /// The elements in force, each with the service port that has it.
    claims: BTreeMap<(SetName, Key), Claim>,
    /// Everybody who wants an element that more than one wants.
    contested: BTreeMap<(SetName, Key), BTreeMap<Arc<ServicePortName>, Entry>>,
    /// How many service ports lead to a chain.
    chains: BTreeMap<SharedChain, usize>,
    classes: Classes,
    /// Names of chains that elements lead to, each once in memory.
    names: BTreeSet<ChainName>,
    /// What changed since the last look, as it was before; nothing before the first look.
    before: Option<Before>,
}

#[derive(Clone, Debug)]
struct PlannedPort {
    name: Arc<ServicePortName>,
    keys: Vec<(SetName, Key)>,
    chains: Vec<SharedChain>,
}

#[derive(Clone, Debug)]
struct Claim {
    owner: Arc<ServicePortName>,
    entry: Entry,
}

#[derive(Clone, Debug, Default)]
struct Before {
    elements: BTreeMap<(SetName, Key), Option<Entry>>,
    /// Whether the chain was there.
    chains: BTreeMap<SharedChain, bool>,
}

/// Two service ports that want the same address or node port. The first by name has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Overlap {
    /// Who has it.
    pub first: ServicePortName,
    /// Who does without.
    pub second: ServicePortName,
    /// What both want; an address with port and protocol, or a node port.
    pub claim: OverlapClaim,
}

/// What two service ports want.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct OverlapClaim(Key);

impl fmt::Display for OverlapClaim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Key::Front(front) => {
                let address = std::net::SocketAddr::new(front.address, front.port);
                write!(f, "{address}/{}", front.protocol.name())
            }
            Key::NodePort(protocol, port) => write!(f, "node port {port}/{}", protocol.name()),
            other => write!(f, "{other:?}"),
        }
    }
}

impl NftPlan {
    /// The table without services.
    pub fn new(context: TableContext) -> Self {
        Self {
            context,
            services: BTreeMap::new(),
            claims: BTreeMap::new(),
            contested: BTreeMap::new(),
            chains: BTreeMap::new(),
            classes: Classes::default(),
            names: BTreeSet::new(),
            before: None,
        }
    }

    /// What the table depends on beside services.
    pub fn context(&self) -> &TableContext {
        &self.context
    }

    /// Sets what the table depends on beside services. Services planned before are as they were,
    /// so all of them have to be planned anew; their session affinity stays.
    pub fn set_context(&mut self, context: TableContext) {
        self.context = context;
    }

    /// Plans one service anew; without ports it is gone.
    pub fn replace_service(&mut self, key: &ObjectKey, ports: &[PortFacts]) {
        let planned: Vec<(PlannedPort, ServiceElements)> =
            ports.iter().map(|facts| self.plan_port(facts)).collect();
        let before = self.services.remove(key).unwrap_or_default();
        for port in &before {
            let now = planned.iter().find(|(now, _)| now.name == port.name);
            if now.is_none() {
                self.classes.release(&port.name);
            }
            for element in &port.keys {
                if now.is_none_or(|(_, now)| !now.elements.contains_key(element)) {
                    self.drop_claim(&port.name, *element);
                }
            }
        }
        let mut ports = Vec::with_capacity(planned.len());
        for (port, elements) in planned {
            for (element, entry) in elements.elements {
                self.claim(&port.name, element, entry);
            }
            for chain in &port.chains {
                self.use_chain(chain, true);
            }
            ports.push(port);
        }
        for chain in before.iter().flat_map(|port| &port.chains) {
            self.use_chain(chain, false);
        }
        if !ports.is_empty() {
            self.services.insert(key.clone(), ports);
        }
    }

    /// What changed since the last call, as changes to the table; nothing for the first call,
    /// from which on changes are recorded. Changes of the context are not among them.
    pub fn take_changes(&mut self) -> NftDiff {
        let before = self.before.replace(Before::default()).unwrap_or_default();
        let mut changes = NftDiff::default();
        for (element, before) in before.elements {
            let after = self.claims.get(&element).map(|claim| &claim.entry);
            if let Some(change) = ElementChange::between(before.as_ref(), after) {
                changes.elements.insert(element, change);
            }
        }
        for (chain, was_there) in before.chains {
            match (was_there, self.chains.contains_key(&chain)) {
                (false, true) => {
                    changes.chains.insert(chain.name(), chain.chain(&self.context));
                }
                (true, false) => {
                    changes.gone_chains.insert(chain.name());
                }
                _ => {}
            }
        }
        changes
    }

    /// The whole table.
    pub fn state(&self) -> NftState {
        let mut sets = self.context.elements();
        for ((set, key), claim) in &self.claims {
            sets.entry(*set).or_default().insert(*key, claim.entry.clone());
        }
        NftState { family: self.context.family, chains: self.all_chains(), sets }
    }

    /// The service port that an element belongs to; nothing for one of the context.
    pub fn owner(&self, set: SetName, key: &Key) -> Option<&ServicePortName> {
        Some(&*self.claims.get(&(set, *key))?.owner)
    }

    /// Service ports that want what another one has. One that has endpoints comes before one that
    /// has none.
    pub fn overlaps(&self) -> Vec<Overlap> {
        let overlap = |first: &ServicePortName, second: &ServicePortName, key: Key| Overlap {
            first: first.clone(),
            second: second.clone(),
            claim: OverlapClaim(key),
        };
        let contested = self.contested.iter().filter(|((set, _), _)| is_exclusive(*set));
        let mut found: Vec<Overlap> = contested
            .flat_map(|((_, key), wanted)| {
                let mut names = wanted.keys();
                let first = names.next();
                names.filter_map(move |second| Some(overlap(first?, second, *key)))
            })
            .collect();
        for (without, with) in [
            (SetName::NoEndpointServices, SetName::ServiceIps),
            (SetName::NoEndpointNodePorts, SetName::ServiceNodePorts),
        ] {
            let refused = self.claims.range((without, Key::FIRST)..);
            let refused = refused.take_while(|((set, _), _)| *set == without);
            found.extend(refused.filter_map(|((_, key), refused)| {
                let owner = self.owner(with, key)?;
                (*owner != *refused.owner).then(|| overlap(owner, &refused.owner, *key))
            }));
        }
        found
    }

    fn all_chains(&self) -> BTreeMap<ChainName, Chain> {
        let mut chains = base_chains(&self.context);
        let shared = self.chains.keys();
        chains.extend(shared.map(|chain| (chain.name(), chain.chain(&self.context))));
        chains
    }

    fn plan_port(&mut self, facts: &PortFacts) -> (PlannedPort, ServiceElements) {
        let name = Arc::new(facts.port.name.clone());
        let classes = if facts.port.affinity_seconds.is_some() {
            let reachable = facts.used.reachable.iter();
            let endpoints = reachable.filter_map(|at| facts.endpoints.get(*at)).map(socket);
            self.classes.assign(&name, endpoints)
        } else {
            self.classes.release(&name);
            None
        };
        let elements = plan_service_port(facts, classes, &self.context);
        let planned = PlannedPort {
            name,
            keys: elements.elements.keys().copied().collect(),
            chains: elements.chains.iter().cloned().collect(),
        };
        (planned, elements)
    }

    fn claim(&mut self, name: &Arc<ServicePortName>, element: (SetName, Key), mut entry: Entry) {
        if let Value::Goto(chain) = &mut entry.value {
            match self.names.get(chain) {
                Some(known) => *chain = known.clone(),
                None => {
                    self.names.insert(chain.clone());
                }
            }
        }
        let Some(claim) = self.claims.get(&element) else {
            self.set(element, Some(Claim { owner: name.clone(), entry }));
            return;
        };
        if claim.owner != *name || self.contested.contains_key(&element) {
            let wanted = self
                .contested
                .entry(element)
                .or_insert_with(|| BTreeMap::from([(claim.owner.clone(), claim.entry.clone())]));
            wanted.insert(name.clone(), entry);
            self.settle(element);
        } else {
            self.set(element, Some(Claim { owner: name.clone(), entry }));
        }
    }

    fn drop_claim(&mut self, name: &Arc<ServicePortName>, element: (SetName, Key)) {
        if let Some(wanted) = self.contested.get_mut(&element) {
            wanted.remove(name);
            self.settle(element);
        } else {
            self.set(element, None);
        }
    }

    /// Gives a contested element to the first who wants it.
    fn settle(&mut self, element: (SetName, Key)) {
        let Some(wanted) = self.contested.get(&element) else { return };
        let first = wanted.first_key_value();
        let claim =
            first.map(|(owner, entry)| Claim { owner: owner.clone(), entry: entry.clone() });
        if wanted.len() < 2 {
            self.contested.remove(&element);
        }
        self.set(element, claim);
    }

    fn set(&mut self, element: (SetName, Key), claim: Option<Claim>) {
        let entry = claim.as_ref().map(|claim| &claim.entry);
        let before = self.claims.get(&element).map(|claim| &claim.entry);
        if let Some(recorded) = self.before.as_mut().filter(|_| before != entry) {
            recorded.elements.entry(element).or_insert_with(|| before.cloned());
        }
        match claim {
            Some(claim) => self.claims.insert(element, claim),
            None => self.claims.remove(&element),
        };
    }

    fn use_chain(&mut self, chain: &SharedChain, used: bool) {
        let users = self.chains.get(chain).copied().unwrap_or(0);
        let users_now = if used { users + 1 } else { users.saturating_sub(1) };
        let changes = (users == 0) != (users_now == 0);
        if let Some(recorded) = self.before.as_mut().filter(|_| changes) {
            recorded.chains.entry(chain.clone()).or_insert(users > 0);
        }
        if users_now == 0 {
            self.chains.remove(chain);
            self.names.remove(&chain.name());
        } else {
            self.chains.insert(chain.clone(), users_now);
        }
    }
}

/// The table with these services.
pub fn assemble<'a>(
    context: TableContext,
    services: impl IntoIterator<Item = (&'a ObjectKey, &'a [PortFacts])>,
) -> NftState {
    let mut plan = NftPlan::new(context);
    for (key, ports) in services {
        plan.replace_service(key, ports);
    }
    plan.state()
}

/// Whether two service ports cannot both have an element of the set.
fn is_exclusive(set: SetName) -> bool {
    matches!(
        set,
        SetName::ServiceIps
            | SetName::ServiceNodePorts
            | SetName::NoEndpointServices
            | SetName::NoEndpointNodePorts
    )
}

#[cfg(test)]
mod tests;
