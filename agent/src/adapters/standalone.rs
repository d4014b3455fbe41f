//! What stands in for the API server on a node that has none: it knows no objects, and events go
//! to the log.

use std::sync::Arc;

use async_trait::async_trait;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenReviewStatus};
use k8s_openapi::api::authorization::v1::{SubjectAccessReviewSpec, SubjectAccessReviewStatus};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::node::v1::RuntimeClass;
use tokio::sync::mpsc;

use crate::boundary::{ApiError, AuthnApi, BearerToken, EnvService, EventSink, ObjectsApi};

/// No API server. Static pods may not refer to its objects, so nobody asks for one in earnest.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standalone;

fn absent<T>() -> Result<T, ApiError> {
    Err(ApiError::Unavailable("this node runs without one".to_owned()))
}

/// A watch that says nothing and does not end.
fn silent<T: Send + 'static>() -> mpsc::Receiver<T> {
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move { sender.closed().await });
    receiver
}

#[async_trait]
impl ObjectsApi for Standalone {
    async fn get_config_map(&self, _: &str, _: &str) -> Result<api::ConfigMap, ApiError> {
        absent()
    }

    async fn get_secret(&self, _: &str, _: &str) -> Result<api::Secret, ApiError> {
        absent()
    }

    async fn get_service_account(&self, _: &str, _: &str) -> Result<api::ServiceAccount, ApiError> {
        absent()
    }

    async fn get_claim(&self, _: &str, _: &str) -> Result<api::PersistentVolumeClaim, ApiError> {
        absent()
    }

    async fn get_persistent_volume(&self, _: &str) -> Result<api::PersistentVolume, ApiError> {
        absent()
    }

    fn watch_config_map(&self, _: &str, _: &str) -> mpsc::Receiver<Option<Arc<api::ConfigMap>>> {
        silent()
    }

    fn watch_secret(&self, _: &str, _: &str) -> mpsc::Receiver<Option<Arc<api::Secret>>> {
        silent()
    }

    /// There are none, so that a pod which names one is told so at once.
    fn watch_runtime_class(&self, _: &str) -> mpsc::Receiver<Option<Arc<RuntimeClass>>> {
        let (sender, receiver) = mpsc::channel(1);
        tokio::spawn(async move {
            // Whoever asked may be gone.
            let _ = sender.send(None).await;
            sender.closed().await;
        });
        receiver
    }

    async fn services_in(&self, _: &str) -> Option<Vec<EnvService>> {
        None
    }

    async fn request_token(
        &self,
        _: &str,
        _: &str,
        _: &TokenRequest,
    ) -> Result<TokenRequest, ApiError> {
        absent()
    }
}

#[async_trait]
impl EventSink for Standalone {
    async fn create_event(&self, event: &api::Event) -> Result<api::Event, ApiError> {
        let object = &event.involved_object;
        tracing::info!(
            kind = object.kind,
            namespace = object.namespace,
            name = object.name,
            severity = event.type_,
            reason = event.reason,
            message = event.message,
            "event"
        );
        Ok(event.clone())
    }

    async fn patch_event(
        &self,
        _: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<api::Event, ApiError> {
        let (count, message) = (&patch["count"], patch["message"].as_str());
        tracing::info!(event = name, %count, message, "event again");
        Ok(api::Event::default())
    }
}

/// Who calls the kubelet server is nobody then, and may nothing, unless client certificates and
/// `AlwaysAllow` are configured.
#[async_trait]
impl AuthnApi for Standalone {
    async fn review_token(&self, _: &BearerToken) -> Result<TokenReviewStatus, ApiError> {
        Err(no_reviews())
    }

    async fn review_access(
        &self,
        _: &SubjectAccessReviewSpec,
    ) -> Result<SubjectAccessReviewStatus, ApiError> {
        Err(no_reviews())
    }
}

/// Not worth asking again.
fn no_reviews() -> ApiError {
    ApiError::Forbidden("this node runs without an API server".to_owned())
}
