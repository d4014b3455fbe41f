//! The fake's ConfigMaps, Secrets, Services, tokens and events.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestStatus};
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::api::node::v1::RuntimeClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::json;
use tokio::sync::mpsc;

use super::{FakeApi, key, merged, name_of};
use crate::boundary::{ApiError, EnvService, EventSink, ObjectsApi};
use crate::testing::fake_host::fake_clock_now;

#[async_trait]
impl ObjectsApi for FakeApi {
    async fn get_config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<api::ConfigMap, ApiError> {
        self.called("get_config_map", &format!("{namespace}/{name}"))?;
        let state = self.state();
        let found = state.config_maps.get(&key(namespace, name));
        found
            .map(|object| (**object).clone())
            .ok_or_else(|| ApiError::NotFound(format!("configmap {namespace}/{name}")))
    }

    async fn get_secret(&self, namespace: &str, name: &str) -> Result<api::Secret, ApiError> {
        self.called("get_secret", &format!("{namespace}/{name}"))?;
        let found = self.state().secrets.get(&key(namespace, name)).cloned();
        found.ok_or_else(|| ApiError::NotFound(format!("secret {namespace}/{name}")))
    }

    async fn get_service_account(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<api::ServiceAccount, ApiError> {
        self.called("get_service_account", &format!("{namespace}/{name}"))?;
        let found = self.state().service_accounts.get(&key(namespace, name)).cloned();
        found.ok_or_else(|| ApiError::NotFound(format!("service account {namespace}/{name}")))
    }

    async fn get_claim(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<api::PersistentVolumeClaim, ApiError> {
        self.called("get_claim", &format!("{namespace}/{name}"))?;
        let found = self.state().claims.get(&key(namespace, name)).cloned();
        found.ok_or_else(|| ApiError::NotFound(format!("persistentvolumeclaims \"{name}\"")))
    }

    async fn get_persistent_volume(&self, name: &str) -> Result<api::PersistentVolume, ApiError> {
        self.called("get_persistent_volume", name)?;
        let found = self.state().volumes.get(name).cloned();
        found.ok_or_else(|| ApiError::NotFound(format!("persistentvolumes \"{name}\"")))
    }

    fn watch_config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> mpsc::Receiver<Option<Arc<api::ConfigMap>>> {
        self.state().calls.push(format!("watch_config_map {namespace}/{name}"));
        let (sender, receiver) = mpsc::channel(1);
        let key = key(namespace, name);
        // The outer `None` is "nothing told yet".
        let mut told: Option<Option<Arc<api::ConfigMap>>> = None;
        self.spawn_watch(sender, move |state, _| {
            let now = state.config_maps.get(&key).cloned();
            if told.as_ref() == Some(&now) {
                return Vec::new();
            }
            told = Some(now.clone());
            vec![now]
        });
        receiver
    }

    fn watch_secret(
        &self,
        namespace: &str,
        name: &str,
    ) -> mpsc::Receiver<Option<Arc<api::Secret>>> {
        self.state().calls.push(format!("watch_secret {namespace}/{name}"));
        let (sender, receiver) = mpsc::channel(1);
        let key = key(namespace, name);
        // The outer `None` is "nothing told yet".
        let mut told: Option<Option<api::Secret>> = None;
        self.spawn_watch(sender, move |state, _| {
            let now = state.secrets.get(&key).cloned();
            if told.as_ref() == Some(&now) {
                return Vec::new();
            }
            told = Some(now.clone());
            vec![now.map(Arc::new)]
        });
        receiver
    }

    fn watch_runtime_class(&self, name: &str) -> mpsc::Receiver<Option<Arc<RuntimeClass>>> {
        self.state().calls.push(format!("watch_runtime_class {name}"));
        let (sender, receiver) = mpsc::channel(1);
        let name = name.to_owned();
        // The outer `None` is "nothing told yet".
        let mut told: Option<Option<Arc<RuntimeClass>>> = None;
        self.spawn_watch(sender, move |state, _| {
            let now = state.runtime_classes.get(&name).cloned();
            if told.as_ref() == Some(&now) {
                return Vec::new();
            }
            told = Some(now.clone());
            vec![now]
        });
        receiver
    }

    async fn services_in(&self, namespace: &str) -> Option<Vec<EnvService>> {
        self.state().services.get(namespace).cloned()
    }

    async fn request_token(
        &self,
        namespace: &str,
        service_account: &str,
        request: &TokenRequest,
    ) -> Result<TokenRequest, ApiError> {
        self.called("request_token", &format!("{namespace}/{service_account}"))?;
        let mut answer = request.clone();
        let life = self.state().token_life;
        if let Some(life) = life {
            self.issue(&mut answer, life);
            return Ok(answer);
        }
        answer.status = Some(TokenRequestStatus {
            token: Some(format!("token-of-{namespace}-{service_account}")),
            // Far off, so that no test depends on when it runs.
            expiration_timestamp: Some(Time(jiff::Timestamp::constant(4_102_444_800, 0))),
        });
        Ok(answer)
    }
}

impl FakeApi {
    /// From now on each token is another one and lasts so long by tokio's clock.
    pub fn limit_tokens(&self, life: Duration) {
        self.state().token_life = Some(life);
    }

    /// Fills an answer in, with a token that is bound and dated as a real one.
    fn issue(&self, answer: &mut TokenRequest, life: Duration) {
        let issued = fake_clock_now();
        let ends = issued + life;
        let number = {
            let mut state = self.state();
            state.tokens += 1;
            state.tokens
        };
        let spec = &mut answer.spec;
        let bound = spec.as_ref().and_then(|spec| spec.bound_object_ref.clone());
        let uid = bound.and_then(|bound| bound.uid);
        let claims = json!({"jti": number, "iat": issued.as_second(), "exp": ends.as_second(),
            "kubernetes.io": {"pod": {"uid": uid}}});
        let token = format!("h.{}.s", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()));
        if let Some(spec) = spec {
            spec.expiration_seconds = i64::try_from(life.as_secs()).ok();
        }
        answer.status =
            Some(TokenRequestStatus { token: Some(token), expiration_timestamp: Some(Time(ends)) });
    }
}

#[async_trait]
impl EventSink for FakeApi {
    async fn create_event(&self, event: &api::Event) -> Result<api::Event, ApiError> {
        let name = name_of(&event.metadata);
        self.called("create_event", &format!("{}/{}", name.0, name.1))?;
        self.change(|state, version| {
            if state.events.contains_key(&name) {
                return Err(ApiError::AlreadyExists(format!("event {}/{}", name.0, name.1)));
            }
            let mut event = event.clone();
            event.metadata.resource_version = Some(version);
            state.events.insert(name, event.clone());
            Ok(event)
        })
    }

    async fn patch_event(
        &self,
        namespace: &str,
        name: &str,
        patch: serde_json::Value,
    ) -> Result<api::Event, ApiError> {
        self.called("patch_event", &format!("{namespace}/{name}"))?;
        self.change(|state, version| {
            let event = state
                .events
                .get_mut(&key(namespace, name))
                .ok_or_else(|| ApiError::NotFound(format!("event {namespace}/{name}")))?;
            *event = merged(&*event, &patch)?;
            event.metadata.resource_version = Some(version);
            Ok(event.clone())
        })
    }
}
