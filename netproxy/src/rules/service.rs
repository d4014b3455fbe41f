//! Pure. The rules of one service port.

use std::sync::Arc;

use super::chains::{self, ServiceChains};
use super::context::RuleContext;
use super::ruleset::{Chain, ChainKey, ChainName, Rule, Table};
use super::{cluster_ip, endpoints, external, node_port, reject};
use crate::input::TrafficPolicy;
use crate::model::endpoint::Endpoint;
use crate::model::service_port::{ServicePort, ServicePortName};
use crate::model::traffic_policy::{Categories, categorize};

/// Chains to which every service port adds rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SharedChain {
    /// nat KUBE-SERVICES.
    NatServices,
    /// nat KUBE-NODEPORTS.
    NatNodePorts,
    /// filter KUBE-SERVICES.
    FilterServices,
    /// filter KUBE-EXTERNAL-SERVICES.
    FilterExternal,
    /// filter KUBE-NODEPORTS.
    FilterNodePorts,
    /// filter KUBE-PROXY-FIREWALL.
    FilterFirewall,
}

impl SharedChain {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::NatServices,
        Self::NatNodePorts,
        Self::FilterServices,
        Self::FilterExternal,
        Self::FilterNodePorts,
        Self::FilterFirewall,
    ];

    /// Its table and name.
    pub fn key(self) -> ChainKey {
        let (table, name) = match self {
            Self::NatServices => (Table::Nat, chains::SERVICES),
            Self::NatNodePorts => (Table::Nat, chains::NODE_PORTS),
            Self::FilterServices => (Table::Filter, chains::SERVICES),
            Self::FilterExternal => (Table::Filter, chains::EXTERNAL_SERVICES),
            Self::FilterNodePorts => (Table::Filter, chains::NODE_PORTS),
            Self::FilterFirewall => (Table::Filter, chains::PROXY_FIREWALL),
        };
        ChainKey::new(table, name)
    }
}

/// What one service port adds to the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRules {
    /// The service port.
    pub name: ServicePortName,
    /// Rules for the shared chains, in order.
    pub shared: Vec<(SharedChain, Arc<Rule>)>,
    /// Its own chains, all in nat.
    pub own: Vec<(ChainName, Chain)>,
}

impl ServiceRules {
    pub(super) fn share(&mut self, chain: SharedChain, rule: Rule) {
        self.shared.push((chain, Arc::new(rule)));
    }

    pub(super) fn own(&mut self, name: ChainName, rules: Vec<Rule>) {
        let rules: Vec<Arc<Rule>> = rules.into_iter().map(Arc::new).collect();
        self.own.push((name, rules.into()));
    }
}

/// A service port with everything derived from it once.
pub(super) struct PortView<'a> {
    pub(super) port: &'a ServicePort,
    pub(super) context: &'a RuleContext,
    /// Name in remarks.
    pub(super) title: String,
    pub(super) chains: ServiceChains,
    pub(super) used: Categories,
}

impl PortView<'_> {
    /// Where traffic to the cluster address goes.
    pub(super) fn internal_chain(&self) -> &ChainName {
        self.policy_chain(self.port.internal_policy)
    }

    /// Where traffic from outside goes in the end.
    pub(super) fn external_chain(&self) -> &ChainName {
        self.policy_chain(self.port.external_policy)
    }

    /// Whether the cluster address leads to an endpoint.
    pub(super) fn has_internal(&self) -> bool {
        self.has_endpoints_for(self.port.internal_policy)
    }

    /// Whether traffic from outside finds an endpoint.
    pub(super) fn has_external(&self) -> bool {
        self.has_endpoints_for(self.port.external_policy)
    }

    /// Whether the service port has a chain for traffic from outside. It has one even without a
    /// local endpoint under policy Local, for clients inside the cluster.
    pub(super) fn has_external_chain(&self) -> bool {
        self.used.any && self.port.externally_accessible()
    }

    /// Whether source ranges stand before the load balancer addresses.
    pub(super) fn has_firewall_chain(&self) -> bool {
        self.used.any
            && !self.port.load_balancer_ips.is_empty()
            && !self.port.source_ranges.is_empty()
    }

    fn policy_chain(&self, policy: TrafficPolicy) -> &ChainName {
        match policy {
            TrafficPolicy::Cluster => &self.chains.cluster,
            TrafficPolicy::Local => &self.chains.local,
        }
    }

    fn has_endpoints_for(&self, policy: TrafficPolicy) -> bool {
        self.used.any && (policy == TrafficPolicy::Cluster || !self.used.local.is_empty())
    }
}

/// The rules of one service port with these endpoints.
pub fn plan_service_port(
    port: &ServicePort,
    endpoints: &[Endpoint],
    context: &RuleContext,
) -> ServiceRules {
    let view = PortView {
        port,
        context,
        title: port.name.to_string(),
        chains: ServiceChains::of(&port.name),
        used: categorize(port, endpoints, &context.topology),
    };
    let mut rules = ServiceRules { name: port.name.clone(), shared: Vec::new(), own: Vec::new() };
    cluster_ip::plan(&view, &mut rules);
    external::plan_addresses(&view, &mut rules);
    node_port::plan(&view, &mut rules);
    reject::plan_health_check(&view, &mut rules);
    external::plan_chains(&view, &mut rules);
    endpoints::plan(&view, endpoints, &mut rules);
    rules
}
