//! Services, EndpointSlices, the own Node and, if wanted, ServiceCIDRs, for the proxy.
//!
//! The proxy's slim types are decoded straight from the stream, so that a big cluster's slices are
//! never held in full.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::Resource;
use netproxy::input::{
    self, NodeAddressKind, NodeEligibility, NodeFacts, ObjectKind, ServiceChange,
};
use tokio::sync::mpsc;

use super::KubeApi;
use super::nodes::own_node_scope;
use super::outage::Trouble;
use super::watch::{WatchScope, WatchStep, Watched, watch};

/// What kube-proxy v1.36 leaves to others: services with a proxy of their own or without a cluster
/// address, and the slices of headless services.
const FOREIGN_PROXY: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// Put by the cluster autoscaler on a Node that it is about to delete (KEP-3836).
const AUTOSCALER_TAINT: &str = "ToBeDeletedByClusterAutoscaler";
/// What to do about it: a node credential may not list these by itself.
pub const PERMISSION: &str = "bind group system:nodes to ClusterRole system:node-proxier (the manifest for it is \
     shipped with noded), or give the proxy a kubeconfig of its own";

impl Watched for input::Service {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Watched for input::EndpointSlice {
    fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

/// Feeds the proxy from the API server.
pub struct ProxyFeed {
    api: KubeApi,
    changes: mpsc::Sender<ServiceChange>,
    service_cidrs: bool,
}

impl ProxyFeed {
    /// `api` may be that of the node or, when the proxy has a kubeconfig of its own, another one;
    /// its node name says whose Node is watched.
    pub fn new(api: KubeApi, changes: mpsc::Sender<ServiceChange>) -> Self {
        Self { api, changes, service_cidrs: false }
    }

    /// Feeds the networks of Service addresses, too. Nothing waits for them: servers before v1.33
    /// have none, and a credential may lack the right to see them.
    #[must_use]
    pub fn with_service_cidrs(mut self) -> Self {
        self.service_cidrs = true;
        self
    }

    /// Watches until the proxy's end of the channel is dropped.
    pub async fn run(self) {
        let permission = Trouble::NeedsPermission(PERMISSION);
        let (services, slices) = proxied_scopes(permission);
        let node = own_node_scope(&self.api.node_name, permission);
        let connections = &self.api.connections;
        let cidrs = async {
            if self.service_cidrs {
                let changes = self.changes.clone();
                watch(
                    Arc::clone(connections),
                    service_cidr_scope(),
                    changes,
                    service_cidr_changes(),
                )
                .await;
            }
        };
        // All end with the receiver, so waiting for all is waiting for that.
        tokio::join!(
            watch(Arc::clone(connections), services, self.changes.clone(), service_change),
            watch(Arc::clone(connections), slices, self.changes.clone(), slice_change),
            watch(Arc::clone(connections), node, self.changes.clone(), node_changes()),
            cidrs,
        );
    }
}

/// Services and EndpointSlices that are not left to others.
pub(super) fn proxied_scopes(trouble: Trouble) -> (WatchScope, WatchScope) {
    let services = WatchScope {
        path: api::Service::url_path(&(), None),
        subject: "services".to_owned(),
        fields: Some("spec.clusterIP!=None".to_owned()),
        labels: Some(format!("!{FOREIGN_PROXY}")),
        trouble,
    };
    let slices = WatchScope {
        path: EndpointSlice::url_path(&(), None),
        subject: "endpointslices".to_owned(),
        fields: None,
        labels: Some(format!("!{HEADLESS}")),
        trouble,
    };
    (services, slices)
}

/// Networks of Service addresses.
pub(super) fn service_cidr_scope() -> WatchScope {
    WatchScope {
        path: ServiceCIDR::url_path(&(), None),
        subject: "servicecidrs".to_owned(),
        fields: None,
        labels: None,
        trouble: Trouble::Optional,
    }
}

fn service_change(step: WatchStep<input::Service>) -> Option<ServiceChange> {
    Some(match step {
        WatchStep::Restarted => ServiceChange::Restart(ObjectKind::Services),
        WatchStep::Applied(service) => ServiceChange::ServiceApplied(Box::new(service)),
        WatchStep::Deleted(service) => ServiceChange::ServiceDeleted(service.metadata.key()),
        WatchStep::Synced => ServiceChange::Synced(ObjectKind::Services),
    })
}

fn slice_change(step: WatchStep<input::EndpointSlice>) -> Option<ServiceChange> {
    Some(match step {
        WatchStep::Restarted => ServiceChange::Restart(ObjectKind::EndpointSlices),
        WatchStep::Applied(slice) => ServiceChange::SliceApplied(Box::new(slice)),
        WatchStep::Deleted(slice) => ServiceChange::SliceDeleted(slice.metadata.key()),
        WatchStep::Synced => ServiceChange::Synced(ObjectKind::EndpointSlices),
    })
}

/// Tells of all networks together, each time one of them changes after the first list.
pub(super) fn service_cidr_changes()
-> impl FnMut(WatchStep<ServiceCIDR>) -> Option<ServiceChange> + Send {
    let mut known: BTreeMap<String, Vec<IpNet>> = BTreeMap::new();
    let mut synced = false;
    move |step| {
        match step {
            WatchStep::Restarted => {
                known.clear();
                synced = false;
            }
            WatchStep::Applied(object) => {
                let listed = object.spec.and_then(|spec| spec.cidrs).unwrap_or_default();
                let cidrs = listed.iter().filter_map(|cidr| input::parse_cidr(cidr)).collect();
                known.insert(object.metadata.name.unwrap_or_default(), cidrs);
            }
            WatchStep::Deleted(object) => {
                known.remove(object.metadata.name.as_deref().unwrap_or_default());
            }
            WatchStep::Synced => synced = true,
        }
        let all = || known.values().flatten().copied().collect::<BTreeSet<IpNet>>();
        synced.then(|| ServiceChange::ServiceCidrsApplied(all().into_iter().collect()))
    }
}

/// Tells of the Node only when something the proxy looks at changed: the object itself is written
/// with every status report.
fn node_changes() -> impl FnMut(WatchStep<api::Node>) -> Option<ServiceChange> + Send {
    let mut told: Option<NodeFacts> = None;
    move |step| match step {
        WatchStep::Restarted => {
            // What is not repeated in a list counts as gone.
            told = None;
            Some(ServiceChange::Restart(ObjectKind::Node))
        }
        WatchStep::Applied(node) => {
            let facts = node_facts(&node);
            if told.as_ref() == Some(&facts) {
                return None;
            }
            told = Some(facts.clone());
            Some(ServiceChange::NodeApplied(Box::new(facts)))
        }
        WatchStep::Deleted(_) => {
            told = None;
            Some(ServiceChange::NodeDeleted)
        }
        WatchStep::Synced => Some(ServiceChange::Synced(ObjectKind::Node)),
    }
}

pub(super) fn node_facts(node: &api::Node) -> NodeFacts {
    let labels = node.metadata.labels.as_ref();
    let zone = labels.and_then(|labels| labels.get(ZONE_LABEL)).filter(|zone| !zone.is_empty());
    let addresses = node.status.iter().flat_map(|status| status.addresses.iter().flatten());
    let addresses = addresses.filter_map(|address| {
        let kind = match address.type_.as_str() {
            "InternalIP" => NodeAddressKind::Internal,
            "ExternalIP" => NodeAddressKind::External,
            _ => return None,
        };
        Some((kind, input::parse_ip(&address.address)?))
    });
    let spec = node.spec.as_ref();
    let cidrs = spec.and_then(|spec| spec.pod_cidrs.as_ref()).into_iter().flatten();
    NodeFacts {
        name: node.metadata.name.as_deref().unwrap_or_default().into(),
        zone: zone.map(|zone| zone.as_str().into()),
        addresses: addresses.collect(),
        pod_cidrs: cidrs.filter_map(|cidr| input::parse_cidr(cidr)).collect(),
        eligibility: eligibility(node),
    }
}

fn eligibility(node: &api::Node) -> NodeEligibility {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_ref());
    if node.metadata.deletion_timestamp.is_some() {
        NodeEligibility::Deleting
    } else if taints.into_iter().flatten().any(|taint| taint.key == AUTOSCALER_TAINT) {
        NodeEligibility::ToBeDeleted
    } else {
        NodeEligibility::Eligible
    }
}

#[cfg(test)]
mod tests;
