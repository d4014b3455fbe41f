//! Events about this node and its pods.

use async_trait::async_trait;
use k8s_openapi::api::core::v1 as api;
use kube::Resource;
use kube::api::{Patch, PatchParams, PostParams, Request};

use super::KubeApi;
use super::pods::encode;
use crate::boundary::{ApiError, EventSink};

#[async_trait]
impl EventSink for KubeApi {
    async fn create_event(&self, event: &api::Event) -> Result<api::Event, ApiError> {
        let namespace = event.metadata.namespace.as_deref().unwrap_or("default");
        let subject = subject(namespace, event.metadata.name.as_deref().unwrap_or_default());
        let request = events(namespace).create(&PostParams::default(), encode(&subject, event)?);
        self.connections.call(&subject, request).await
    }

    async fn patch_event(
        &self,
        namespace: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<api::Event, ApiError> {
        let patch = Patch::Strategic(patch);
        let request = events(namespace).patch(name, &PatchParams::default(), &patch);
        self.connections.call(&subject(namespace, name), request).await
    }
}

fn events(namespace: &str) -> Request {
    Request::new(api::Event::url_path(&(), Some(namespace)))
}

fn subject(namespace: &str, name: &str) -> String {
    format!("event {namespace}/{name}")
}
