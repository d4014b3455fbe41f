//! Pure. What the rest of noded may know of the Node.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;

use crate::model::RuntimeFeatures;
use crate::model::resources::{self, Resources};

/// The Node as noded last saw it, published by `node/task`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeView {
    pub name: String,
    /// The API object; `None` until it is registered or read for the first time.
    pub node: Option<Arc<api::Node>>,
    /// What pods may use, from the machine and the reservations; empty until first computed.
    pub allocatable: Resources,
    /// What the machine has; empty until first computed.
    pub capacity: Resources,
    /// The node's own addresses, the primary one first; at most one of each family.
    pub ips: Vec<IpAddr>,
    /// `spec.podCIDRs`; empty where the cluster assigns none.
    pub pod_cidrs: Vec<String>,
    /// Condition types of the pressures the node is under.
    pub pressures: Vec<&'static str>,
    /// What the runtime can do; `None` until it was ready for the first time.
    pub features: Option<RuntimeFeatures>,
    /// `None` when the runtime's network is ready, else why not.
    pub network_problem: Option<String>,
    /// `None` when the runtime is ready, else why not.
    pub runtime_problem: Option<String>,
}

impl NodeView {
    /// A view before anything is known: neither runtime nor network are ready.
    pub fn unknown(name: &str) -> Self {
        let unknown = "runtime status check may not have completed yet".to_owned();
        Self {
            name: name.to_owned(),
            network_problem: Some(unknown.clone()),
            runtime_problem: Some(unknown),
            ..Self::default()
        }
    }

    /// Takes in a newer state of the API object.
    pub fn set_node(&mut self, node: Arc<api::Node>) {
        let spec = node.spec.as_ref();
        let listed = spec.and_then(|spec| spec.pod_cidrs.clone()).unwrap_or_default();
        let single = spec.and_then(|spec| spec.pod_cidr.clone());
        self.pod_cidrs = if listed.is_empty() { single.into_iter().collect() } else { listed };
        self.node = Some(node);
    }

    /// Labels of the API object; empty while there is none.
    pub fn labels(&self) -> BTreeMap<String, String> {
        let labels = self.node.as_ref().and_then(|node| node.metadata.labels.clone());
        labels.unwrap_or_default()
    }

    /// Taints of the API object; empty while there is none.
    pub fn taints(&self) -> &[api::Taint] {
        let spec = self.node.as_ref().and_then(|node| node.spec.as_ref());
        spec.and_then(|spec| spec.taints.as_deref()).unwrap_or_default()
    }

    /// Allocatable CPU in thousandths and memory in bytes.
    pub fn allocatable_cpu_and_memory(&self) -> (i64, i64) {
        (resources::cpu_milli(&self.allocatable), resources::memory_bytes(&self.allocatable))
    }
}
