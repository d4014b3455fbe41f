//! Asks credential provider plugins, and remembers what they said.
//! Source: Kubernetes v1.36 `pkg/credentialprovider/plugin/plugin.go`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::credentials::{CredentialSource, Keyring, Origin, TrackedAuth, pattern_matches};
use super::reference::ImageReference;
use crate::adapters::kube::kubeconfig::Secret;
use crate::boundary::{
    ApiError, CredentialPlugins, ObjectsApi, PluginCall, PluginError, RegistryAuth,
};
use crate::config::resolve::parse_duration;
use crate::config::{CredentialProvider, TokenAttributes, TokenCache};
use crate::model::Pod;
use crate::telemetry::Causes;

#[cfg(test)]
mod tests;

/// Why a plugin gave no credentials.
#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("the plugin cannot be run")]
    Plugin(#[from] PluginError),
    #[error("the plugin's answer is no {0}")]
    Answer(String),
    #[error("the plugin's answer has an unknown cacheKeyType {0:?}")]
    CacheKey(String),
    #[error("cannot get the pod's service account")]
    Account(#[source] ApiError),
    #[error("cannot get a token of the pod's service account")]
    Token(#[source] ApiError),
    #[error("the API server answered a token request without a token")]
    NoToken,
    #[error("there is no API server to get a token from")]
    NoApi,
}

/// All plugins of the node.
pub(super) struct Providers {
    plugins: Vec<Plugin>,
    runner: Arc<dyn CredentialPlugins>,
    objects: Option<Arc<dyn ObjectsApi>>,
}

/// One plugin and its answers. The lock is held while it is asked, so that pods that want the same
/// at one time make one call.
struct Plugin {
    config: CredentialProvider,
    answers: Mutex<HashMap<CacheKey, Answer>>,
}

/// For which images and whom an answer holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct CacheKey {
    /// Repository, registry, or `*` for all.
    scope: String,
    identity: Option<String>,
}

#[derive(Clone)]
struct Answer {
    auths: Vec<(String, RegistryAuth)>,
    until: Instant,
}

/// On whose behalf a plugin is asked.
struct Identity {
    origin: Origin,
    annotations: BTreeMap<String, String>,
    key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    kind: &'static str,
    api_version: &'a str,
    image: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_account_annotations: Option<&'a BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Response {
    kind: String,
    api_version: String,
    #[serde(default)]
    cache_key_type: String,
    cache_duration: Option<String>,
    auth: Option<BTreeMap<String, ResponseAuth>>,
}

/// Not `Debug`: it holds a password.
#[derive(Deserialize)]
struct ResponseAuth {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
}

impl Providers {
    pub fn new(
        plugins: Vec<CredentialProvider>,
        runner: Arc<dyn CredentialPlugins>,
        objects: Option<Arc<dyn ObjectsApi>>,
    ) -> Self {
        let plugin = |config| Plugin { config, answers: Mutex::default() };
        Self { plugins: plugins.into_iter().map(plugin).collect(), runner, objects }
    }

    /// Credentials of all plugins for the image, in the order of the configuration. A plugin that
    /// fails is logged and passed over.
    pub async fn credentials(&self, pod: &Pod, image: &ImageReference) -> Vec<TrackedAuth> {
        let name = image.repository_name();
        let mut found = Vec::new();
        for plugin in &self.plugins {
            if !plugin.config.match_images.iter().any(|pattern| pattern_matches(pattern, &name)) {
                continue;
            }
            match self.ask(plugin, pod, image).await {
                Ok(keyring) => found.extend(keyring.for_image(image)),
                Err(error) => {
                    let plugin = &plugin.config.name;
                    tracing::warn!(plugin, image = name, pod = %pod.full_name(), error = %Causes(&error), "no credentials from plugin");
                }
            }
        }
        found
    }

    async fn ask(
        &self,
        plugin: &Plugin,
        pod: &Pod,
        image: &ImageReference,
    ) -> Result<Keyring, AskError> {
        let identity = match &plugin.config.token {
            None => None,
            Some(wanted) => match self.identity(wanted, pod).await? {
                Some(identity) => Some(identity),
                None if wanted.required => return Ok(Keyring::default()),
                None => None,
            },
        };
        let key = |scope: String| CacheKey {
            scope,
            identity: identity.as_ref().map(|identity| identity.key.clone()),
        };
        let scopes =
            [image.repository_name(), image.registry().to_owned(), "*".to_owned()].map(key);
        let mut answers = plugin.answers.lock().await;
        let now = Instant::now();
        answers.retain(|_, answer| answer.until > now);
        let auths = match scopes.iter().find_map(|key| answers.get(key)) {
            Some(answer) => answer.auths.clone(),
            None => {
                let response = self.call(plugin, pod, image, identity.as_ref()).await?;
                let index = scope_index(&response.cache_key_type)?;
                let lasts = lifetime(&response, &plugin.config)?;
                let auths = auths(response);
                if !lasts.is_zero() {
                    let answer = Answer { auths: auths.clone(), until: Instant::now() + lasts };
                    answers.insert(scopes[index].clone(), answer);
                }
                auths
            }
        };
        let source = match (&identity, plugin.config.token.as_ref().map(|token| token.cache)) {
            (Some(identity), Some(TokenCache::ServiceAccount)) => {
                CredentialSource::ServiceAccount(identity.origin.clone())
            }
            (Some(_), _) => CredentialSource::Pod,
            (None, _) => CredentialSource::Node,
        };
        let mut keyring = Keyring::default();
        for (registry, auth) in auths {
            keyring.add(&registry, TrackedAuth { auth, source: source.clone() });
        }
        Ok(keyring)
    }

    /// The pod's service account as the plugin is to see it; `None` when the pod has none, or one
    /// without a required annotation.
    async fn identity(
        &self,
        wanted: &TokenAttributes,
        pod: &Pod,
    ) -> Result<Option<Identity>, AskError> {
        let name = pod.spec().service_account_name.as_deref().filter(|name| !name.is_empty());
        let Some(name) = name else { return Ok(None) };
        let objects = self.objects.as_ref().ok_or(AskError::NoApi)?;
        let account = objects.get_service_account(pod.namespace(), name).await;
        let account = account.map_err(AskError::Account)?;
        Ok(identity_of(wanted, pod, name, account.metadata))
    }

    async fn call(
        &self,
        plugin: &Plugin,
        pod: &Pod,
        image: &ImageReference,
        identity: Option<&Identity>,
    ) -> Result<Response, AskError> {
        let config = &plugin.config;
        let token = match (identity, &config.token) {
            (Some(identity), Some(wanted)) => Some(self.token(wanted, pod, identity).await?),
            _ => None,
        };
        let request = Request {
            kind: "CredentialProviderRequest",
            api_version: &config.api_version,
            image: &image.repository_name(),
            service_account_token: token.as_ref().map(Secret::expose),
            service_account_annotations: identity
                .map(|identity| &identity.annotations)
                .filter(|annotations| !annotations.is_empty()),
        };
        let env = config.env.iter().map(|(name, value)| (name.clone(), value.expose().to_owned()));
        let call = PluginCall {
            program: config.program.clone(),
            args: config.args.clone(),
            env: env.collect(),
            // A struct of texts always has a JSON form.
            input: serde_json::to_vec(&request).unwrap_or_default(),
        };
        let answer = self.runner.run(call).await?;
        let wanted = || format!("CredentialProviderResponse of {}", config.api_version);
        let response: Response =
            serde_json::from_slice(&answer).map_err(|_| AskError::Answer(wanted()))?;
        let fits = response.kind == "CredentialProviderResponse"
            && response.api_version == config.api_version;
        if fits { Ok(response) } else { Err(AskError::Answer(wanted())) }
    }

    async fn token(
        &self,
        wanted: &TokenAttributes,
        pod: &Pod,
        identity: &Identity,
    ) -> Result<Secret, AskError> {
        let objects = self.objects.as_ref().ok_or(AskError::NoApi)?;
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![wanted.audience.clone()]),
                bound_object_ref: Some(pod.token_binding()),
                ..Default::default()
            }),
            ..Default::default()
        };
        let origin = &identity.origin;
        let answer = objects.request_token(&origin.namespace, &origin.name, &request).await;
        let status = answer.map_err(AskError::Token)?.status;
        let token = status.and_then(|status| status.token).filter(|token| !token.is_empty());
        token.map(Secret::new).ok_or(AskError::NoToken)
    }
}

fn identity_of(
    wanted: &TokenAttributes,
    pod: &Pod,
    name: &str,
    account: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta,
) -> Option<Identity> {
    let all = account.annotations.unwrap_or_default();
    let mut annotations = BTreeMap::new();
    for key in &wanted.required_annotations {
        annotations.insert(key.clone(), all.get(key)?.clone());
    }
    for key in &wanted.optional_annotations {
        annotations.extend(all.get(key).map(|value| (key.clone(), value.clone())));
    }
    let uid = account.uid.unwrap_or_default();
    let of_pod = match wanted.cache {
        TokenCache::ServiceAccount => String::new(),
        TokenCache::Token => pod.uid().as_str().to_owned(),
    };
    let key = format!("{}/{name}/{uid}/{of_pod} {annotations:?}", pod.namespace());
    let origin = Origin { uid, namespace: pod.namespace().to_owned(), name: name.to_owned() };
    Some(Identity { origin, annotations, key })
}

/// Place of the scope that an answer holds for among repository, registry and all.
fn scope_index(kind: &str) -> Result<usize, AskError> {
    match kind {
        "Image" => Ok(0),
        "Registry" => Ok(1),
        "Global" => Ok(2),
        other => Err(AskError::CacheKey(other.to_owned())),
    }
}

/// How long the answer holds; zero is only this once.
fn lifetime(
    response: &Response,
    config: &CredentialProvider,
) -> Result<std::time::Duration, AskError> {
    match response.cache_duration.as_deref() {
        None | Some("") => Ok(config.default_cache_duration),
        Some(text) => parse_duration(text)
            .ok_or_else(|| AskError::Answer(format!("duration in cacheDuration: {text:?}"))),
    }
}

fn auths(response: Response) -> Vec<(String, RegistryAuth)> {
    let auth = |(registry, auth): (String, ResponseAuth)| {
        let server_address = registry.clone();
        let (username, password) = (auth.username, auth.password);
        let auth = RegistryAuth { username, password, server_address, ..RegistryAuth::default() };
        (registry, auth)
    };
    response.auth.into_iter().flatten().map(auth).collect()
}
