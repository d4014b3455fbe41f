//! Pure. The plan of one family, with what each service port adds to it.

use std::net::IpAddr;
use std::sync::Arc;

use crate::input::ObjectKey;
use crate::iptables::parse::LiveTables;
use crate::mode::BackendKind;
use crate::model::changes::ServiceMap;
use crate::model::endpoint::Endpoint;
use crate::model::port_facts::PortFacts;
use crate::model::service_port::{ServicePort, service_ports};
use crate::model::slices::endpoints;
use crate::nftables::{NftPlan, NftState, TableContext};
use crate::rules::ruleset::ChainKey;
use crate::rules::{
    LARGE_CLUSTER_ENDPOINTS, Loopback, NodePortDestinations, RuleContext, RuleSet, ServiceRules,
    base, plan_service_port,
};

/// A service port with everything planned for it.
#[derive(Clone, Debug)]
pub struct PlannedPort {
    /// The service port with its endpoints.
    pub facts: PortFacts,
    /// Its rules; nothing in nftables mode, where the table knows what is whose.
    pub rules: Option<ServiceRules>,
}

/// Everything planned for one family.
#[derive(Clone, Debug)]
pub struct FamilyPlan {
    /// What the plan depends on beside the objects.
    pub context: RuleContext,
    /// The service ports, by name.
    pub ports: Vec<PlannedPort>,
    /// All rules.
    pub table: PlannedTable,
}

/// What the kernel is to hold.
#[derive(Clone, Debug)]
pub enum PlannedTable {
    /// In iptables mode.
    Iptables {
        /// The rules.
        rules: RuleSet,
        /// The same as they would be live on a machine without other rules.
        tables: LiveTables,
    },
    /// In nftables mode.
    Nftables {
        /// The plan, which knows whose an element is.
        plan: Box<NftPlan>,
        /// The table.
        state: NftState,
    },
}

impl FamilyPlan {
    /// The plan for the objects of `map`. Leaves comments out as the proxy does in a large cluster.
    pub fn new(map: &ServiceMap, kind: BackendKind, mut context: RuleContext) -> Self {
        let family = context.family;
        let mut found: Vec<(ServicePort, Vec<Endpoint>)> = Vec::new();
        for (key, service) in map.services() {
            for port in service_ports(service, family) {
                let node = &context.topology.node_name;
                let endpoints = endpoints(map.slices_of(key), &port.name, family, node);
                found.push((port, endpoints));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let count: usize = found.iter().map(|(_, endpoints)| endpoints.len()).sum();
        context.endpoint_comments = count <= LARGE_CLUSTER_ENDPOINTS;
        let facts: Vec<PortFacts> = found
            .into_iter()
            .map(|(port, endpoints)| PortFacts::new(port, endpoints, &context.topology))
            .collect();
        match kind {
            BackendKind::Iptables => Self::iptables(facts, context),
            BackendKind::Nftables => Self::nftables(facts, context),
        }
    }

    fn iptables(facts: Vec<PortFacts>, context: RuleContext) -> Self {
        let ports: Vec<PlannedPort> = facts
            .into_iter()
            .map(|facts| {
                let rules = Some(plan_service_port(&facts, &context));
                PlannedPort { facts, rules }
            })
            .collect();
        let rules = base::assemble(&context, ports.iter().filter_map(|port| port.rules.as_ref()));
        let tables = tables_of(&rules);
        Self { context, ports, table: PlannedTable::Iptables { rules, tables } }
    }

    fn nftables(facts: Vec<PortFacts>, context: RuleContext) -> Self {
        let mut plan = Box::new(NftPlan::new(TableContext::new(&context)));
        let of_one = |a: &PortFacts, b: &PortFacts| a.port.name.service == b.port.name.service;
        for ports in facts.chunk_by(of_one) {
            plan.replace_service(&ports[0].port.name.service, ports);
        }
        let state = plan.state();
        let ports = facts.into_iter().map(|facts| PlannedPort { facts, rules: None }).collect();
        Self { context, ports, table: PlannedTable::Nftables { plan, state } }
    }

    /// The ports of a service; empty when the family has none of it.
    pub fn ports_of<'a>(&'a self, key: &'a ObjectKey) -> impl Iterator<Item = &'a PlannedPort> {
        self.ports.iter().filter(move |port| port.facts.port.name.service == *key)
    }

    /// Whether node ports answer on `address`, which belongs to this machine if `is_local`.
    pub fn node_ports_answer_on(&self, address: IpAddr, is_local: bool) -> bool {
        match &self.context.node_ports {
            NodePortDestinations::Only(addresses) => addresses.contains(&address),
            NodePortDestinations::All => {
                let on_loopback = match self.table {
                    PlannedTable::Iptables { .. } => self.context.loopback == Loopback::Open,
                    PlannedTable::Nftables { .. } => false,
                };
                is_local && (!address.is_loopback() || on_loopback)
            }
        }
    }
}

/// A rule set as it would be live on a machine without other rules.
pub fn tables_of(rules: &RuleSet) -> LiveTables {
    let mut live = LiveTables::default();
    for (key, chain) in &rules.chains {
        live.chains.insert(key.clone(), chain.to_vec());
    }
    for jump in &rules.jumps {
        let chain = live.chains.entry(ChainKey::new(jump.table, jump.from)).or_default();
        chain.insert(0, Arc::new(jump.rule.clone()));
    }
    live
}
