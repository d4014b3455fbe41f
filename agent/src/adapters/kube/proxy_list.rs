//! One list of what the proxy follows, for commands that look once.

use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::networking::v1::ServiceCIDR;
use kube::api::{ListParams, Request};
use netproxy::input::{self, ObjectKind, ServiceChange};
use serde::de::DeserializeOwned;

use super::KubeApi;
use super::error::api_error;
use super::nodes::own_node_scope;
use super::outage::Trouble;
use super::services::{node_facts, proxied_scopes, service_cidr_changes, service_cidr_scope};
use super::watch::{PAGE, Page, WatchScope, WatchStep};
use crate::boundary::ApiError;

impl KubeApi {
    /// Services, EndpointSlices and the own Node as changes that make them known, each kind
    /// listed completely. A Node that does not exist is told as none, networks of Services that
    /// may not be seen likewise.
    pub async fn list_for_proxy(&self) -> Result<Vec<ServiceChange>, ApiError> {
        let (services, slices) = proxied_scopes(Trouble::Warn);
        let node = own_node_scope(&self.node_name, Trouble::Warn);
        let cidrs = service_cidr_scope();
        let cidrs = async { Ok(self.list_all::<ServiceCIDR>(&cidrs).await.unwrap_or_default()) };
        let (services, slices, nodes, cidrs) = tokio::try_join!(
            self.list_all::<input::Service>(&services),
            self.list_all::<input::EndpointSlice>(&slices),
            self.list_all::<api::Node>(&node),
            cidrs,
        )?;
        let mut changes = vec![ServiceChange::Restart(ObjectKind::Services)];
        let services = services.into_iter().map(Box::new);
        changes.extend(services.map(ServiceChange::ServiceApplied));
        changes.push(ServiceChange::Synced(ObjectKind::Services));
        changes.push(ServiceChange::Restart(ObjectKind::EndpointSlices));
        changes.extend(slices.into_iter().map(Box::new).map(ServiceChange::SliceApplied));
        changes.push(ServiceChange::Synced(ObjectKind::EndpointSlices));
        changes.push(ServiceChange::Restart(ObjectKind::Node));
        let nodes = nodes.iter().map(|node| Box::new(node_facts(node)));
        changes.extend(nodes.map(ServiceChange::NodeApplied));
        changes.push(ServiceChange::Synced(ObjectKind::Node));
        let mut convert = service_cidr_changes();
        let steps = cidrs.into_iter().map(WatchStep::Applied);
        changes.extend(steps.chain([WatchStep::Synced]).filter_map(&mut convert));
        Ok(changes)
    }

    /// Every object of a collection, page by page.
    async fn list_all<K: DeserializeOwned>(&self, scope: &WatchScope) -> Result<Vec<K>, ApiError> {
        let mut params = ListParams { limit: Some(PAGE), ..ListParams::default() };
        params.field_selector.clone_from(&scope.fields);
        params.label_selector.clone_from(&scope.labels);
        let mut all = Vec::new();
        loop {
            let request = Request::new(&*scope.path)
                .list(&params)
                .map_err(|error| api_error(&scope.subject, &kube::Error::BuildRequest(error)))?;
            let page: Page<K> = self.connections.call(&scope.subject, Ok(request)).await?;
            all.extend(page.items);
            params.continue_token = page.metadata.next.filter(|token| !token.is_empty());
            if params.continue_token.is_none() {
                return Ok(all);
            }
        }
    }
}
