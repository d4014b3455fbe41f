//! Objects as pods use them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;

use crate::boundary::ApiError;

/// A Secret. Debug output shows its keys, never a value.
#[derive(Clone)]
pub struct SecretObject(Arc<api::Secret>);

impl SecretObject {
    pub fn new(secret: api::Secret) -> Self {
        Self(Arc::new(secret))
    }

    /// The object as the API server has it.
    pub fn object(&self) -> &api::Secret {
        &self.0
    }

    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&[u8]> {
        self.0.data.as_ref()?.get(key).map(|value| value.0.as_slice())
    }

    /// Keys and values, by key.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.data.iter().flatten().map(|(key, value)| (key.as_str(), value.0.as_slice()))
    }

    /// `type`, e.g. `kubernetes.io/dockerconfigjson`; empty when absent.
    pub fn kind(&self) -> &str {
        self.0.type_.as_deref().unwrap_or_default()
    }
}

impl From<Arc<api::Secret>> for SecretObject {
    fn from(secret: Arc<api::Secret>) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for SecretObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.entries().map(|(key, _)| key)).finish()
    }
}

/// Objects by name, all of one namespace; `None` means known not to exist.
#[derive(Clone, Debug, Default)]
pub struct ObjectSet {
    pub config_maps: BTreeMap<String, Option<Arc<api::ConfigMap>>>,
    pub secrets: BTreeMap<String, Option<SecretObject>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKind {
    ConfigMap,
    Secret,
    RuntimeClass,
}

impl ObjectKind {
    /// As messages of the API server spell it.
    pub fn resource(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
            Self::RuntimeClass => "runtimeclass.node.k8s.io",
        }
    }
}

/// Why an object could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    #[error("{} \"{name}\" not found", kind.resource())]
    NotFound { kind: ObjectKind, namespace: String, name: String },
    #[error("cannot get {} {}", kind.resource(), place(.namespace, .name))]
    Api {
        kind: ObjectKind,
        namespace: String,
        name: String,
        #[source]
        source: ApiError,
    },
    /// The API server has not said within the deadline whether it exists.
    #[error("timed out waiting for {} {}", kind.resource(), place(.namespace, .name))]
    TimedOut { kind: ObjectKind, namespace: String, name: String },
    #[error("the object cache has ended")]
    CacheEnded,
}

/// Where an object is; one of the whole cluster has no namespace.
fn place(namespace: &str, name: &str) -> String {
    if namespace.is_empty() { name.to_owned() } else { format!("{namespace}/{name}") }
}

impl ObjectError {
    /// The object is known not to exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}
