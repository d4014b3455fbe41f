//! Pure. The followed state, and which services a change touches.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::service_port::{self, is_foreign};
use super::slices;
use crate::config::IpFamily;
use crate::input::{
    AddressType, EndpointSlice, NodeEligibility, NodeFacts, ObjectKey, ObjectKind, Parsed, Service,
    ServiceChange,
};

/// A value of an object that cannot be read; the rest of the object is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Kind of the object.
    pub kind: ObjectKind,
    /// The object.
    pub object: ObjectKey,
    /// The texts.
    pub texts: Vec<Arc<str>>,
}

/// What changed since the last look.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dirty {
    /// Services to plan anew: they, or slices of them, changed, came or went.
    pub services: BTreeSet<ObjectKey>,
    /// Whether the facts about the node changed, which touches every service.
    pub node: bool,
}

impl Dirty {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty() && !self.node
    }
}

/// How many changes came since the last look, for metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChangeTally {
    /// Changes of services.
    pub services: usize,
    /// Changes of slices, by the family of their addresses.
    pub slices: BTreeMap<IpFamily, usize>,
    /// When the changes of slices were caused, where the slices say so.
    pub triggers: Vec<(IpFamily, Timestamp)>,
}

impl ChangeTally {
    fn slice(&mut self, addresses: AddressType, trigger: Option<Timestamp>) {
        let family = match addresses {
            AddressType::Ipv4 => IpFamily::V4,
            AddressType::Ipv6 => IpFamily::V6,
            AddressType::Other => return,
        };
        *self.slices.entry(family).or_default() += 1;
        self.triggers.extend(trigger.map(|at| (family, at)));
    }
}

/// Services, their slices and the node, as told by the changes so far.
#[derive(Debug, Default)]
pub struct ServiceMap {
    services: HashMap<ObjectKey, Arc<Service>>,
    /// For each service the slices that name it, by slice name; also for services not known yet.
    slices: HashMap<ObjectKey, BTreeMap<Arc<str>, Arc<EndpointSlice>>>,
    /// For each slice the service it names.
    slice_owners: HashMap<ObjectKey, ObjectKey>,
    node: NodeFacts,
    local_down: Arc<BTreeSet<IpAddr>>,
    /// Whether the list of the Node that is running has not shown it so far.
    node_unseen: bool,
    service_cidrs: Vec<IpNet>,
    tally: ChangeTally,
    synced: BTreeSet<ObjectKind>,
    /// Objects known before the list that is running and not seen in it so far.
    unseen_services: Option<HashSet<ObjectKey>>,
    unseen_slices: Option<HashSet<ObjectKey>>,
    dirty: Dirty,
    /// Node and zone names that thousands of endpoints share.
    names: HashSet<Arc<str>>,
}

impl ServiceMap {
    /// Takes one change in. Returns what of its object cannot be read, if anything.
    pub fn apply(&mut self, change: ServiceChange) -> Option<Unreadable> {
        match change {
            ServiceChange::Restart(kind) => self.restart(kind),
            ServiceChange::ServiceApplied(service) => return self.apply_service(*service),
            ServiceChange::ServiceDeleted(key) => self.remove_service(&key),
            ServiceChange::SliceApplied(slice) => return self.apply_slice(*slice),
            ServiceChange::SliceDeleted(key) => self.remove_slice(&key),
            ServiceChange::NodeApplied(node) => {
                self.node_unseen = false;
                self.dirty.node |= !self.node.same_for_rules(&node);
                self.node = *node;
            }
            // The facts stay: rules for a node that is about to go must keep working until it
            // has gone.
            ServiceChange::NodeDeleted => self.node.eligibility = NodeEligibility::Missing,
            ServiceChange::ServiceCidrsApplied(cidrs) => {
                if self.service_cidrs != cidrs {
                    self.service_cidrs = cidrs;
                    self.dirty.node = true;
                }
            }
            ServiceChange::Synced(kind) => self.finish(kind),
            ServiceChange::LocalDown(addresses) => self.take_down(addresses),
        }
        None
    }

    /// Whether every kind was listed completely at least once.
    pub fn all_synced(&self) -> bool {
        [ObjectKind::Services, ObjectKind::EndpointSlices, ObjectKind::Node]
            .iter()
            .all(|kind| self.synced.contains(kind))
    }

    /// Whether something changed since the last [`ServiceMap::take_dirty`].
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// What changed since the last call.
    pub fn take_dirty(&mut self) -> Dirty {
        std::mem::take(&mut self.dirty)
    }

    /// The service of that key.
    pub fn service(&self, key: &ObjectKey) -> Option<&Arc<Service>> {
        self.services.get(key)
    }

    /// Identity of the service of that key over time; empty when it is not known.
    pub fn uid_of(&self, key: &ObjectKey) -> Arc<str> {
        self.services.get(key).map(|service| service.metadata.uid.clone()).unwrap_or_default()
    }

    /// All services, in no particular order.
    pub fn services(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<Service>)> {
        self.services.iter()
    }

    /// The slices that name the service of that key, by name.
    pub fn slices_of(&self, key: &ObjectKey) -> impl Iterator<Item = &EndpointSlice> {
        self.slices.get(key).into_iter().flat_map(BTreeMap::values).map(AsRef::as_ref)
    }

    /// The node.
    pub fn node(&self) -> &NodeFacts {
        &self.node
    }

    /// The networks that addresses of services come from; empty while unknown.
    pub fn service_cidrs(&self) -> &[IpNet] {
        &self.service_cidrs
    }

    /// The changes counted since the last call.
    pub fn take_tally(&mut self) -> ChangeTally {
        std::mem::take(&mut self.tally)
    }

    /// How many services are known.
    pub fn service_count(&self) -> usize {
        self.services.len()
    }

    /// How many slices are known.
    pub fn slice_count(&self) -> usize {
        self.slice_owners.len()
    }

    /// Whether an endpoint of the service on this node is known to take no traffic, at this
    /// address. Never for services whose endpoints are not pods, or need not be ready.
    pub fn is_down(&self, key: &ObjectKey, address: IpAddr) -> bool {
        self.local_down.contains(&address)
            && self.services.get(key).is_some_and(|service| {
                service.spec.has_selector && !service.spec.publish_not_ready_addresses
            })
    }

    fn take_down(&mut self, addresses: Arc<BTreeSet<IpAddr>>) {
        let before = std::mem::replace(&mut self.local_down, addresses);
        let changed: BTreeSet<&IpAddr> = before.symmetric_difference(&self.local_down).collect();
        if changed.is_empty() {
            return;
        }
        let touched = |slice: &Arc<EndpointSlice>| {
            let addresses = slice.endpoints.iter().filter_map(|endpoint| endpoint.address.as_ref());
            addresses.filter_map(Parsed::valid).any(|address| changed.contains(address))
        };
        let services = self.slices.iter().filter(|(_, slices)| slices.values().any(touched));
        self.dirty.services.extend(services.map(|(key, _)| key.clone()));
    }

    fn restart(&mut self, kind: ObjectKind) {
        match kind {
            ObjectKind::Services => {
                self.unseen_services = Some(self.services.keys().cloned().collect());
            }
            ObjectKind::EndpointSlices => {
                self.unseen_slices = Some(self.slice_owners.keys().cloned().collect());
            }
            ObjectKind::Node => self.node_unseen = true,
        }
    }

    fn finish(&mut self, kind: ObjectKind) {
        self.synced.insert(kind);
        match kind {
            ObjectKind::Services => {
                for key in self.unseen_services.take().unwrap_or_default() {
                    self.remove_service(&key);
                }
            }
            ObjectKind::EndpointSlices => {
                for key in self.unseen_slices.take().unwrap_or_default() {
                    self.remove_slice(&key);
                }
            }
            ObjectKind::Node => {
                if std::mem::take(&mut self.node_unseen) {
                    self.node.eligibility = NodeEligibility::Missing;
                }
            }
        }
    }

    fn apply_service(&mut self, service: Service) -> Option<Unreadable> {
        let key = service.metadata.key();
        if let Some(unseen) = &mut self.unseen_services {
            unseen.remove(&key);
        }
        if is_foreign(&service.metadata) {
            self.remove_service(&key);
            return None;
        }
        let same = self
            .services
            .get(&key)
            .is_some_and(|known| known.spec == service.spec && known.status == service.status);
        if same {
            return None;
        }
        let texts = service_port::unreadable(&service);
        self.tally.services += 1;
        self.services.insert(key.clone(), Arc::new(service));
        self.dirty.services.insert(key.clone());
        unreadable(ObjectKind::Services, key, texts)
    }

    fn remove_service(&mut self, key: &ObjectKey) {
        if self.services.remove(key).is_some() {
            self.tally.services += 1;
            self.dirty.services.insert(key.clone());
        }
    }

    fn apply_slice(&mut self, mut slice: EndpointSlice) -> Option<Unreadable> {
        let key = slice.metadata.key();
        if let Some(unseen) = &mut self.unseen_slices {
            unseen.remove(&key);
        }
        let Some(owner) = slices::service_of(&slice) else {
            self.remove_slice(&key);
            return None;
        };
        if self.slice_owners.get(&key).is_some_and(|known| *known != owner) {
            self.remove_slice(&key);
        }
        let of_owner = self.slices.entry(owner.clone()).or_default();
        let same = of_owner.get(&key.name).is_some_and(|known| {
            known.address_type == slice.address_type
                && known.ports == slice.ports
                && known.endpoints == slice.endpoints
        });
        if same {
            return None;
        }
        share_names(&mut self.names, &mut slice);
        self.tally.slice(slice.address_type, slice.triggered_at());
        // Read just now, and not needed any more in thousands of slices.
        slice.metadata.annotations.clear();
        let texts = slices::unreadable(&slice);
        of_owner.insert(key.name.clone(), Arc::new(slice));
        self.slice_owners.insert(key.clone(), owner.clone());
        self.dirty.services.insert(owner);
        unreadable(ObjectKind::EndpointSlices, key, texts)
    }

    fn remove_slice(&mut self, key: &ObjectKey) {
        let Some(owner) = self.slice_owners.remove(key) else { return };
        if let Some(of_owner) = self.slices.get_mut(&owner) {
            if let Some(gone) = of_owner.remove(&key.name) {
                self.tally.slice(gone.address_type, None);
            }
            if of_owner.is_empty() {
                self.slices.remove(&owner);
            }
        }
        self.dirty.services.insert(owner);
    }
}

fn unreadable(kind: ObjectKind, object: ObjectKey, texts: Vec<Arc<str>>) -> Option<Unreadable> {
    (!texts.is_empty()).then_some(Unreadable { kind, object, texts })
}

/// Replaces equal names by one shared copy.
fn share_names(names: &mut HashSet<Arc<str>>, slice: &mut EndpointSlice) {
    let mut share = |name: &mut Arc<str>| match names.get(&**name) {
        Some(known) => *name = known.clone(),
        None => {
            names.insert(name.clone());
        }
    };
    for endpoint in &mut slice.endpoints {
        endpoint.node_name.iter_mut().for_each(&mut share);
        endpoint.zone.iter_mut().for_each(&mut share);
        endpoint.hints.for_zones.iter_mut().for_each(|hint| share(&mut hint.name));
        endpoint.hints.for_nodes.iter_mut().for_each(|hint| share(&mut hint.name));
    }
}

#[cfg(test)]
mod tests;
