//! Pure. Which credentials fit an image, and where each comes from.
//! Source: Kubernetes v1.36 `pkg/credentialprovider/keyring.go`, `secrets/secrets.go`.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use data_encoding::HEXLOWER;
use k8s_openapi::api::core::v1 as api;
use serde::{Deserialize, Serialize};

use super::reference::ImageReference;
use crate::boundary::RegistryAuth;

#[cfg(test)]
mod tests;

/// Docker's own registry as docker's configuration files name it.
const DEFAULT_REGISTRY: &str = "index.docker.io";

/// Why a secret or file holds no credentials. Never a piece of its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error(
        "secret {0} is neither of type kubernetes.io/dockerconfigjson nor kubernetes.io/dockercfg"
    )]
    Type(String),
    #[error("secret {name} has no valid {key}")]
    Content { name: String, key: &'static str },
    #[error("not a docker configuration")]
    File,
}

/// A Secret or ServiceAccount that gave a credential.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Origin {
    pub uid: String,
    pub namespace: String,
    pub name: String,
}

/// Where a credential comes from, which decides who may use what was pulled with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CredentialSource {
    Secret(Origin),
    ServiceAccount(Origin),
    /// The node itself: every pod has it.
    Node,
    /// One pod alone, by a token of its own.
    Pod,
}

/// A credential with its source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackedAuth {
    pub auth: RegistryAuth,
    pub source: CredentialSource,
}

impl TrackedAuth {
    /// SHA-256 of the credential in hexadecimal digits; equal for equal credentials.
    pub fn hash(&self) -> String {
        let auth = HashedAuth {
            username: &self.auth.username,
            password: &self.auth.password,
            identity_token: &self.auth.identity_token,
        };
        // A struct of texts always has a JSON form.
        let text = serde_json::to_vec(&auth).unwrap_or_default();
        HEXLOWER.encode(digest(&SHA256, &text).as_ref())
    }
}

/// The form of a credential that is hashed, the kubelet's.
#[derive(Serialize)]
struct HashedAuth<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    password: &'a str,
    #[serde(rename = "identitytoken", skip_serializing_if = "str::is_empty")]
    identity_token: &'a str,
}

/// How a docker configuration is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DockerConfigForm {
    /// `config.json`: registries below `auths`.
    Json,
    /// `.dockercfg`: registries at the top.
    Legacy,
}

#[derive(Deserialize)]
struct DockerConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

/// Not `Debug`: it holds passwords.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    auth: String,
    #[serde(default, rename = "identitytoken")]
    identity_token: String,
}

/// Credentials of one kind of source by registry pattern.
#[derive(Clone, Default)]
pub struct Keyring {
    entries: Vec<(String, TrackedAuth)>,
}

impl Keyring {
    /// Adds what the secret holds. An error leaves the keyring as it was.
    pub fn add_secret(&mut self, secret: &api::Secret) -> Result<(), KeyringError> {
        let meta = &secret.metadata;
        let name = meta.name.clone().unwrap_or_default();
        let (key, form) = match secret.type_.as_deref() {
            Some("kubernetes.io/dockerconfigjson") => (".dockerconfigjson", DockerConfigForm::Json),
            Some("kubernetes.io/dockercfg") => (".dockercfg", DockerConfigForm::Legacy),
            _ => return Err(KeyringError::Type(name)),
        };
        let origin = Origin {
            uid: meta.uid.clone().unwrap_or_default(),
            namespace: meta.namespace.clone().unwrap_or_default(),
            name: name.clone(),
        };
        let value = secret.data.as_ref().and_then(|map| map.get(key));
        let bytes = value.ok_or_else(|| KeyringError::Content { name: name.clone(), key })?;
        self.add_config(&bytes.0, form, &CredentialSource::Secret(origin))
            .map_err(|_| KeyringError::Content { name, key })
    }

    /// Adds what a docker configuration holds. An error leaves the keyring as it was.
    pub fn add_config(
        &mut self,
        bytes: &[u8],
        form: DockerConfigForm,
        source: &CredentialSource,
    ) -> Result<(), KeyringError> {
        let parsed = match form {
            DockerConfigForm::Json => {
                serde_json::from_slice(bytes).map(|config: DockerConfigJson| config.auths)
            }
            DockerConfigForm::Legacy => serde_json::from_slice(bytes),
        };
        for (registry, entry) in parsed.map_err(|_| KeyringError::File)? {
            let auth = registry_auth(&registry, entry);
            self.add(&registry, TrackedAuth { auth, source: source.clone() });
        }
        Ok(())
    }

    /// Adds one credential for the images that `registry` fits: a host with port and path, any
    /// part of a label of the host may be `*`.
    pub fn add(&mut self, registry: &str, credential: TrackedAuth) {
        self.entries.push((pattern(registry), credential));
    }

    /// Credentials that fit the image, most specific pattern first; empty means anonymous.
    pub fn for_image(&self, image: &ImageReference) -> Vec<TrackedAuth> {
        let target = image.repository_name();
        let mut fitting: Vec<_> =
            self.entries.iter().filter(|(pattern, _)| pattern_matches(pattern, &target)).collect();
        if fitting.is_empty() && image.registry() == "docker.io" {
            fitting = self.entries.iter().filter(|(key, _)| key == DEFAULT_REGISTRY).collect();
        }
        // The order of the kubelet: a longer path of the same host comes first.
        fitting.sort_by(|(a, _), (b, _)| b.cmp(a));
        fitting.into_iter().map(|(_, credential)| credential.clone()).collect()
    }
}

fn registry_auth(registry: &str, entry: Entry) -> RegistryAuth {
    let engine = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let decoded = engine.decode(entry.auth.trim()).ok().and_then(|raw| String::from_utf8(raw).ok());
    let (username, password) = match decoded.as_deref().and_then(|text| text.split_once(':')) {
        Some((user, password)) => (user.to_owned(), password.trim_end_matches('\0').to_owned()),
        None => (entry.username, entry.password),
    };
    RegistryAuth {
        username,
        password,
        identity_token: entry.identity_token,
        server_address: registry.to_owned(),
        ..RegistryAuth::default()
    }
}

/// The key of a docker configuration as host and path: no scheme, no API version before the path.
fn pattern(key: &str) -> String {
    let key = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = key.find('/').map_or((key, ""), |at| key.split_at(at));
    let path = match path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/v2/")) {
        Some(rest) => format!("/{rest}"),
        None => path.to_owned(),
    };
    if path == "/" { host.to_owned() } else { format!("{host}{path}") }
}

/// Whether the pattern fits a name of the form `host[:port]/path`: host label by label with globs,
/// same port, path by prefix.
pub fn pattern_matches(pattern: &str, target: &str) -> bool {
    let split = |text: &str| {
        let (host, path) = text.split_once('/').unwrap_or((text, ""));
        let (host, port) = match host.rsplit_once(':') {
            // Colons inside an address in brackets belong to it.
            Some((host, port)) if !port.contains(']') => (host, port),
            _ => (host, ""),
        };
        (host.to_owned(), port.to_owned(), path.to_owned())
    };
    let (want_host, want_port, want_path) = split(pattern);
    let (host, port, path) = split(target);
    let labels: Vec<&str> = host.split('.').collect();
    let wanted: Vec<&str> = want_host.split('.').collect();
    labels.len() == wanted.len()
        && wanted.iter().zip(&labels).all(|(glob, label)| glob_matches(glob, label))
        && want_port == port
        && path.starts_with(&want_path)
}

/// `*` stands for any characters, `?` for one.
fn glob_matches(glob: &str, text: &str) -> bool {
    match (glob.chars().next(), text.chars().next()) {
        (None, None) => true,
        (Some('*'), first) => {
            glob_matches(&glob[1..], text)
                || first.is_some_and(|first| glob_matches(glob, &text[first.len_utf8()..]))
        }
        (Some(wanted), Some(first)) if wanted == '?' || wanted == first => {
            glob_matches(&glob[wanted.len_utf8()..], &text[first.len_utf8()..])
        }
        _ => false,
    }
}
