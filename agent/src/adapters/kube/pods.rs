//! Pods bound to this node.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::core::v1 as api;
use kube::Resource;
use kube::api::{DeleteParams, GetParams, Patch, PatchParams, PostParams, Preconditions, Request};
use tokio::sync::mpsc;

use super::KubeApi;
use super::error::api_error;
use super::outage::Trouble;
use super::watch::{WatchScope, WatchStep, watch};
use crate::boundary::{ApiError, PodWatchEvent, PodsApi};
use crate::model::PodUid;

/// Steps waiting for the reader. A relist of a full node (110 pods) blocks shortly and then flows
/// on; more room would only hold more decoded pods.
const PENDING_STEPS: usize = 32;

#[async_trait]
impl PodsApi for KubeApi {
    fn watch_pods(&self) -> mpsc::Receiver<PodWatchEvent> {
        let (sender, receiver) = mpsc::channel(PENDING_STEPS);
        let scope = WatchScope {
            path: api::Pod::url_path(&(), None),
            subject: "pods of this node".to_owned(),
            fields: Some(format!("spec.nodeName={}", self.node_name)),
            labels: None,
            trouble: Trouble::Warn,
        };
        tokio::spawn(watch(Arc::clone(&self.connections), scope, sender, pod_event));
        receiver
    }

    async fn patch_status(
        &self,
        namespace: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<api::Pod, ApiError> {
        let request = pods(namespace).patch_subresource(
            "status",
            name,
            &PatchParams::default(),
            &Patch::Strategic(patch),
        );
        self.connections.call(&subject(namespace, name), request).await.map(slim)
    }

    async fn delete_finished(
        &self,
        namespace: &str,
        name: &str,
        uid: &PodUid,
    ) -> Result<(), ApiError> {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: Some(uid.as_str().to_owned()),
                resource_version: None,
            }),
            ..DeleteParams::default()
        };
        let request = pods(namespace).delete(name, &params);
        // The answer is the pod or a Status, and neither says more than that it worked.
        let _: serde::de::IgnoredAny =
            self.connections.call(&subject(namespace, name), request).await?;
        Ok(())
    }

    async fn get_pod(&self, namespace: &str, name: &str) -> Result<api::Pod, ApiError> {
        let request = pods(namespace).get(name, &GetParams::default());
        self.connections.call(&subject(namespace, name), request).await.map(slim)
    }

    async fn create_pod(&self, pod: &api::Pod) -> Result<api::Pod, ApiError> {
        let namespace = pod.metadata.namespace.as_deref().unwrap_or("default");
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let subject = subject(namespace, name);
        let text = encode(&subject, pod)?;
        let request = pods(namespace).create(&PostParams::default(), text);
        self.connections.call(&subject, request).await.map(slim)
    }
}

fn pods(namespace: &str) -> Request {
    Request::new(api::Pod::url_path(&(), Some(namespace)))
}

fn subject(namespace: &str, name: &str) -> String {
    format!("pod {namespace}/{name}")
}

/// An object as the body of a request.
pub(super) fn encode<T: serde::Serialize>(subject: &str, object: &T) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(object).map_err(|error| {
        let error = kube::core::request::Error::SerializeBody(error);
        api_error(subject, &kube::Error::BuildRequest(error))
    })
}

/// Without the bookkeeping of server-side apply, which is often larger than the pod and which
/// nothing on a node reads.
fn slim(mut pod: api::Pod) -> api::Pod {
    pod.metadata.managed_fields = None;
    pod
}

fn pod_event(step: WatchStep<api::Pod>) -> Option<PodWatchEvent> {
    Some(match step {
        WatchStep::Restarted => PodWatchEvent::Restarted,
        WatchStep::Applied(pod) => PodWatchEvent::Applied(Arc::new(slim(pod))),
        WatchStep::Deleted(pod) => PodWatchEvent::Deleted(PodUid::from(pod.metadata.uid?)),
        WatchStep::Synced => PodWatchEvent::Synced,
    })
}
