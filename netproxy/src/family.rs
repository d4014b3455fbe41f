//! One family: its planned rules, what of them is stale, and when it syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::time::Instant;

use crate::config::IpFamily;
use crate::conntrack::UdpTargets;
use crate::input::{ObjectKey, Protocol};
use crate::iptables::{Applier, Iptables};
use crate::model::changes::{Dirty, ServiceMap};
use crate::model::service_port::service_ports;
use crate::model::slices::endpoints;
use crate::pacing::Pacer;
use crate::rules::{
    LARGE_CLUSTER_ENDPOINTS, RuleContext, RuleSet, ServiceRules, base, plan_service_port,
};

/// The state of one family.
pub(crate) struct FamilyProxy {
    pub(crate) family: IpFamily,
    pub(crate) applier: Applier,
    pub(crate) pacer: Pacer,
    /// Whether UDP endpoints may have gone since connection tracking was last looked at.
    pub(crate) udp_changed: bool,
    /// Whether iptables knows `--random-fully`.
    pub(crate) random_fully: bool,
    context: Option<RuleContext>,
    planned: BTreeMap<ObjectKey, Vec<PlannedPort>>,
    dirty: BTreeSet<ObjectKey>,
    endpoints: usize,
}

/// One service port with everything planned for it.
struct PlannedPort {
    rules: ServiceRules,
    endpoints: usize,
    udp: Option<UdpTargets>,
}

/// How much is planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) service_ports: usize,
    pub(crate) endpoints: usize,
}

impl FamilyProxy {
    pub(crate) fn new(family: IpFamily, iptables: Arc<dyn Iptables>, pacer: Pacer) -> Self {
        Self {
            family,
            applier: Applier::new(iptables, family),
            pacer,
            udp_changed: true,
            random_fully: false,
            context: None,
            planned: BTreeMap::new(),
            dirty: BTreeSet::new(),
            endpoints: 0,
        }
    }

    /// Remembers what changed for the next plan.
    pub(crate) fn mark(&mut self, dirty: &Dirty, now: Instant) {
        if !dirty.is_empty() {
            self.dirty.extend(dirty.services.iter().cloned());
            self.pacer.changed(now);
        }
    }

    /// The wanted rules. Only services that changed are planned anew, unless the context did.
    pub(crate) fn plan(&mut self, map: &ServiceMap, mut context: RuleContext) -> RuleSet {
        context.endpoint_comments = self.endpoints <= LARGE_CLUSTER_ENDPOINTS;
        if self.context.as_ref() == Some(&context) {
            for key in std::mem::take(&mut self.dirty) {
                self.plan_service(map, &context, &key);
            }
        } else {
            self.plan_all(map, &context);
        }
        let comments = self.endpoints <= LARGE_CLUSTER_ENDPOINTS;
        if comments != context.endpoint_comments {
            context.endpoint_comments = comments;
            self.plan_all(map, &context);
        }
        let rules = self.planned.values().flatten().map(|port| &port.rules);
        let rules = base::assemble(&context, rules);
        self.context = Some(context);
        rules
    }

    /// How much the last plan held.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            service_ports: self.planned.values().map(Vec::len).sum(),
            endpoints: self.endpoints,
        }
    }

    /// UDP service ports of the last plan.
    pub(crate) fn udp_targets(&self) -> impl Iterator<Item = &UdpTargets> {
        self.planned.values().flatten().filter_map(|port| port.udp.as_ref())
    }

    fn plan_all(&mut self, map: &ServiceMap, context: &RuleContext) {
        self.dirty.clear();
        let mut gone: BTreeSet<ObjectKey> = self.planned.keys().cloned().collect();
        for (key, _) in map.services() {
            gone.remove(key);
            self.plan_service(map, context, key);
        }
        for key in gone {
            self.plan_service(map, context, &key);
        }
    }

    fn plan_service(&mut self, map: &ServiceMap, context: &RuleContext, key: &ObjectKey) {
        let ports = map.service(key).map(|service| service_ports(service, self.family));
        let mut planned: Vec<PlannedPort> = ports
            .unwrap_or_default()
            .iter()
            .map(|port| {
                let node = &context.topology.node_name;
                let endpoints = endpoints(map.slices_of(key), &port.name, self.family, node);
                PlannedPort {
                    rules: plan_service_port(port, &endpoints, context),
                    endpoints: endpoints.len(),
                    udp: (port.name.protocol == Protocol::Udp)
                        .then(|| UdpTargets::new(port, &endpoints)),
                }
            })
            .collect();
        // The order of ports in the object says nothing; that of rules should not change with it.
        planned.sort_by(|a, b| a.rules.name.cmp(&b.rules.name));
        let count = |ports: &[PlannedPort]| ports.iter().map(|port| port.endpoints).sum::<usize>();
        let udp = |ports: &[PlannedPort]| -> Vec<Option<UdpTargets>> {
            ports.iter().map(|port| port.udp.clone()).collect()
        };
        let before = self.planned.remove(key).unwrap_or_default();
        self.udp_changed |= udp(&before) != udp(&planned);
        self.endpoints = self.endpoints - count(&before) + count(&planned);
        if !planned.is_empty() {
            self.planned.insert(key.clone(), planned);
        }
    }
}

#[cfg(test)]
mod tests;
