//! One family: what is planned, what of it is stale, and when it syncs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use tokio::time::Instant;

use crate::backend::{Backend, Finding};
use crate::config::IpFamily;
use crate::conntrack::UdpTargets;
use crate::input::{ObjectKey, Protocol, TrafficPolicy};
use crate::model::changes::{Dirty, ServiceMap};
use crate::model::endpoint::EndpointState;
use crate::model::port_facts::PortFacts;
use crate::model::service_port::{ServicePortName, service_ports};
use crate::model::slices::endpoints;
use crate::pacing::Pacer;
use crate::rules::{LARGE_CLUSTER_ENDPOINTS, RuleContext};

/// The state of one family.
pub(crate) struct FamilyProxy {
    pub(crate) family: IpFamily,
    pub(crate) backend: Box<dyn Backend>,
    pub(crate) pacer: Pacer,
    /// Whether UDP endpoints may have gone since connection tracking was last looked at.
    pub(crate) udp_changed: bool,
    /// Whether the rules can choose source ports at random.
    pub(crate) random_fully: bool,
    context: Option<RuleContext>,
    planned: BTreeMap<ObjectKey, Vec<PortSummary>>,
    dirty: BTreeSet<ObjectKey>,
    counts: Counts,
}

/// What is kept of a planned service port, beside what the back end keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortSummary {
    pub(crate) name: ServicePortName,
    /// Endpoints, usable or not.
    pub(crate) endpoints: usize,
    /// What connection tracking is cleared by; UDP only.
    pub(crate) udp: Option<UdpTargets>,
    /// TCP port on which load balancers ask for local endpoints.
    pub(crate) health_check_node_port: Option<u16>,
    /// Addresses of this node that take new connections; only kept for load balancers that ask.
    pub(crate) local_ready: BTreeSet<IpAddr>,
    /// Traffic policies Local that leave the service port without an endpoint here.
    pub(crate) lacks_local: LacksLocal,
}

/// Ways in with policy Local that find no local endpoint though the service has endpoints.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct LacksLocal {
    pub(crate) internal: bool,
    pub(crate) external: bool,
}

impl PortSummary {
    fn new(facts: &PortFacts) -> Self {
        let port = &facts.port;
        let lacks =
            |policy, found: bool| policy == TrafficPolicy::Local && facts.used.any && !found;
        Self {
            name: port.name.clone(),
            endpoints: facts.endpoints.len(),
            udp: (port.name.protocol == Protocol::Udp)
                .then(|| UdpTargets::new(port, &facts.endpoints)),
            health_check_node_port: port.health_check_node_port,
            local_ready: match port.health_check_node_port {
                Some(_) => facts.local_ready_addresses(),
                None => BTreeSet::new(),
            },
            lacks_local: LacksLocal {
                internal: lacks(port.internal_policy, facts.has_internal()),
                external: lacks(port.external_policy, facts.has_external()),
            },
        }
    }
}

/// How much is planned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) service_ports: usize,
    pub(crate) endpoints: usize,
    /// Service ports that lack a local endpoint for traffic from inside, and from outside.
    pub(crate) no_local_internal: usize,
    pub(crate) no_local_external: usize,
}

impl Counts {
    fn add(&mut self, ports: &[PortSummary]) {
        for port in ports {
            self.service_ports += 1;
            self.endpoints += port.endpoints;
            self.no_local_internal += usize::from(port.lacks_local.internal);
            self.no_local_external += usize::from(port.lacks_local.external);
        }
    }

    fn take_away(&mut self, ports: &[PortSummary]) {
        for port in ports {
            self.service_ports -= 1;
            self.endpoints -= port.endpoints;
            self.no_local_internal -= usize::from(port.lacks_local.internal);
            self.no_local_external -= usize::from(port.lacks_local.external);
        }
    }
}

impl FamilyProxy {
    pub(crate) fn new(family: IpFamily, backend: Box<dyn Backend>, pacer: Pacer) -> Self {
        Self {
            family,
            backend,
            pacer,
            udp_changed: true,
            random_fully: false,
            context: None,
            planned: BTreeMap::new(),
            dirty: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Remembers what changed for the next plan.
    pub(crate) fn mark(&mut self, dirty: &Dirty, now: Instant) {
        if !dirty.is_empty() {
            self.dirty.extend(dirty.services.iter().cloned());
            self.pacer.changed(now);
        }
    }

    /// Has services that were refused planned and tried once more.
    pub(crate) fn mark_refused(&mut self) {
        let refused = self.backend.findings().iter().filter_map(|finding| match finding {
            Finding::Refused { service, .. } => Some(service.clone()),
            _ => None,
        });
        self.dirty.extend(refused);
        self.backend.forget();
    }

    /// Whether the last sync left a service out that was refused.
    pub(crate) fn has_refused(&self) -> bool {
        self.backend.findings().iter().any(|finding| matches!(finding, Finding::Refused { .. }))
    }

    /// Hands the back end what it has to plan: services that changed, or all when the context did.
    pub(crate) fn plan(&mut self, map: &ServiceMap, mut context: RuleContext) {
        context.endpoint_comments = self.wants_comments();
        if self.context.as_ref() == Some(&context) {
            for key in std::mem::take(&mut self.dirty) {
                self.plan_service(map, &context, &key);
            }
        } else {
            self.plan_all(map, &context);
        }
        if self.wants_comments() != context.endpoint_comments {
            context.endpoint_comments = self.wants_comments();
            self.plan_all(map, &context);
        }
        self.context = Some(context);
    }

    fn wants_comments(&self) -> bool {
        self.counts.endpoints <= LARGE_CLUSTER_ENDPOINTS
    }

    /// How much the last plan held.
    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }

    /// The service ports of the last plan.
    pub(crate) fn ports(&self) -> impl Iterator<Item = &PortSummary> {
        self.planned.values().flatten()
    }

    /// UDP service ports of the last plan.
    pub(crate) fn udp_targets(&self) -> impl Iterator<Item = &UdpTargets> {
        self.ports().filter_map(|port| port.udp.as_ref())
    }

    fn plan_all(&mut self, map: &ServiceMap, context: &RuleContext) {
        self.backend.set_context(context);
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
        let topology = &context.topology;
        let mut facts: Vec<PortFacts> = ports
            .unwrap_or_default()
            .into_iter()
            .map(|port| {
                let slices = map.slices_of(key);
                let node = &topology.node_name;
                let mut endpoints = endpoints(slices, &port.name, self.family, node);
                for endpoint in endpoints.iter_mut().filter(|endpoint| endpoint.is_local) {
                    if map.is_down(key, endpoint.address) {
                        endpoint.state = EndpointState::Down;
                    }
                }
                PortFacts::new(port, endpoints, topology)
            })
            .collect();
        // The order of ports in the object says nothing; that of rules should not change with it.
        facts.sort_by(|a, b| a.port.name.cmp(&b.port.name));
        self.backend.plan_service(key, &facts);
        let planned: Vec<PortSummary> = facts.iter().map(PortSummary::new).collect();
        let udp = |ports: &[PortSummary]| -> Vec<Option<UdpTargets>> {
            ports.iter().map(|port| port.udp.clone()).collect()
        };
        let before = self.planned.remove(key).unwrap_or_default();
        self.udp_changed |= udp(&before) != udp(&planned);
        self.counts.take_away(&before);
        self.counts.add(&planned);
        if !planned.is_empty() {
            self.planned.insert(key.clone(), planned);
        }
    }
}

#[cfg(test)]
mod tests;
