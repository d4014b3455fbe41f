//! Services, EndpointSlices and the own Node, for the proxy.
//!
//! The proxy's slim types are decoded straight from the stream, so that a big cluster's slices are
//! never held in full.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Resource;
use netproxy::input::{self, NodeAddressKind, NodeFacts, ObjectKind, ServiceChange};
use tokio::sync::mpsc;

use super::KubeApi;
use super::nodes::own_node_scope;
use super::outage::Trouble;
use super::watch::{WatchScope, WatchStep, Watched, watch};

/// What kube-proxy v1.36 leaves to others: objects with a proxy of their own, and the slices of
/// headless services.
const FOREIGN_PROXY: &str = "service.kubernetes.io/service-proxy-name";
const HEADLESS: &str = "service.kubernetes.io/headless";
const ZONE_LABEL: &str = "topology.kubernetes.io/zone";
/// A node credential may not list these by itself.
const PERMISSION: &str = "bind group system:nodes to ClusterRole system:node-proxier (the manifest for it is \
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
}

impl ProxyFeed {
    /// `api` may be that of the node or, when the proxy has a kubeconfig of its own, another one;
    /// its node name says whose Node is watched.
    pub fn new(api: KubeApi, changes: mpsc::Sender<ServiceChange>) -> Self {
        Self { api, changes }
    }

    /// Watches until the proxy's end of the channel is dropped.
    pub async fn run(self) {
        let permission = Trouble::NeedsPermission(PERMISSION);
        let services = WatchScope {
            path: api::Service::url_path(&(), None),
            subject: "services".to_owned(),
            fields: None,
            labels: Some(format!("!{HEADLESS},!{FOREIGN_PROXY}")),
            trouble: permission,
        };
        let slices = WatchScope {
            path: EndpointSlice::url_path(&(), None),
            subject: "endpointslices".to_owned(),
            ..services.clone()
        };
        let node = own_node_scope(&self.api.node_name, permission);
        let connections = &self.api.connections;
        // All three end with the receiver, so waiting for all is waiting for that.
        tokio::join!(
            watch(Arc::clone(connections), services, self.changes.clone(), service_change),
            watch(Arc::clone(connections), slices, self.changes.clone(), slice_change),
            watch(Arc::clone(connections), node, self.changes.clone(), node_changes()),
        );
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

fn node_facts(node: &api::Node) -> NodeFacts {
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
    }
}

#[cfg(test)]
mod tests;
