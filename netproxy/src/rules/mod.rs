//! The rules of one family.
//!
//! **What.** Plans the complete set of netfilter rules from service ports and their endpoints.
//! **Owns.** Nothing.
//! **Reads.** Service ports, endpoints, and [`RuleContext`].
//! **Writes.** Nothing; [`RuleSet`] is data, [`diff`](mod@diff) compares two of them.
//! **Invariants.** Chain names, rule order, comments and matches are kube-proxy's. Equal input
//! gives an equal rule set. A chain that a rule jumps to is part of the set.
//! **Source.** `pkg/proxy/iptables`, v1.36. We order services by name; upstream's order is random.
//!
//! ```text
//! PREROUTING, OUTPUT > KUBE-SERVICES > KUBE-SVC-x ----------> KUBE-SEP-y > DNAT
//!                            |  |                               ^
//!                            |  +--> KUBE-FW-x > KUBE-EXT-x --> KUBE-SVC-x or KUBE-SVL-x
//!                            |                       ^
//!                            +--> KUBE-NODEPORTS ----+
//! ```

pub mod align;
pub mod base;
mod build;
pub mod chains;
mod cluster_ip;
pub mod context;
pub mod diff;
mod endpoints;
mod external;
mod node_port;
mod reject;
pub mod ruleset;
mod service;

pub use context::{Detector, Loopback, Masquerading, NodePortDestinations, RuleContext};
pub use diff::{RuleSetDiff, diff};
pub use ruleset::RuleSet;
pub use service::{ServiceRules, SharedChain, plan_service_port};

use crate::model::endpoint::Endpoint;
use crate::model::port_facts::PortFacts;
use crate::model::service_port::ServicePort;

/// More endpoints than this, counted once for each service port, and the rules go without the
/// comments that repeat for every endpoint (kube-proxy's large cluster mode, v1.36).
pub const LARGE_CLUSTER_ENDPOINTS: usize = 1000;

/// Everything the rules of one family depend on.
#[derive(Clone, Debug)]
pub struct ProxyView {
    /// Settings and facts about the node.
    pub context: RuleContext,
    /// Service ports with their endpoints.
    pub services: Vec<(ServicePort, Vec<Endpoint>)>,
}

/// The complete rules for a view.
pub fn plan(view: &ProxyView) -> RuleSet {
    let mut planned: Vec<ServiceRules> = view
        .services
        .iter()
        .map(|(port, endpoints)| {
            let topology = &view.context.topology;
            let facts = PortFacts::new(port.clone(), endpoints.clone(), topology);
            plan_service_port(&facts, &view.context)
        })
        .collect();
    planned.sort_by(|a, b| a.name.cmp(&b.name));
    base::assemble(&view.context, planned.iter())
}

#[cfg(test)]
mod tests;
