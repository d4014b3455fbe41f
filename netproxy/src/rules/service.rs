//! Pure. The rules of one service port.

use std::sync::Arc;

use super::chains::{self, ServiceChains};
use super::context::RuleContext;
use super::ruleset::{Chain, ChainKey, ChainName, Rule, Table};
use super::{cluster_ip, endpoints, external, node_port, reject};
use crate::input::TrafficPolicy;
use crate::model::port_facts::PortFacts;
use crate::model::service_port::{ServicePort, ServicePortName};
use crate::model::traffic_policy::Categories;

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
        self.shared.push((chain, kept(rule)));
    }

    pub(super) fn own(&mut self, name: ChainName, rules: Vec<Rule>) {
        self.own.push((name, rules.into_iter().map(kept).collect()));
    }
}

/// A rule without room to grow, as there may be a hundred thousand of them.
fn kept(mut rule: Rule) -> Arc<Rule> {
    rule.matches.shrink_to_fit();
    Arc::new(rule)
}

/// A service port with everything derived from it once.
pub(super) struct PortView<'a> {
    pub(super) facts: &'a PortFacts,
    pub(super) port: &'a ServicePort,
    pub(super) used: &'a Categories,
    pub(super) context: &'a RuleContext,
    /// Name in remarks.
    pub(super) title: String,
    pub(super) chains: ServiceChains,
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

    fn policy_chain(&self, policy: TrafficPolicy) -> &ChainName {
        match policy {
            TrafficPolicy::Cluster => &self.chains.cluster,
            TrafficPolicy::Local => &self.chains.local,
        }
    }
}

/// The rules of one service port.
pub fn plan_service_port(facts: &PortFacts, context: &RuleContext) -> ServiceRules {
    let port = &facts.port;
    let view = PortView {
        facts,
        port,
        used: &facts.used,
        context,
        title: port.name.to_string(),
        chains: ServiceChains::of(&port.name),
    };
    let mut rules = ServiceRules { name: port.name.clone(), shared: Vec::new(), own: Vec::new() };
    cluster_ip::plan(&view, &mut rules);
    external::plan_addresses(&view, &mut rules);
    node_port::plan(&view, &mut rules);
    reject::plan_health_check(&view, &mut rules);
    external::plan_chains(&view, &mut rules);
    endpoints::plan(&view, &mut rules);
    rules.shared.shrink_to_fit();
    rules.own.shrink_to_fit();
    rules
}
