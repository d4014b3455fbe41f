//! Pure. Pull secrets to the credentials that fit an image.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1 as api;
use serde::Deserialize;

use super::reference::ImageReference;
use crate::boundary::RegistryAuth;

#[cfg(test)]
mod tests;

/// Why a secret holds no credentials.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyringError {
    #[error(
        "secret {0} is neither of type kubernetes.io/dockerconfigjson nor kubernetes.io/dockercfg"
    )]
    Type(String),
    #[error("secret {name} has no valid {key}")]
    Content { name: String, key: &'static str },
}

#[derive(Deserialize)]
struct DockerConfigJson {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

/// Not `Debug`: it holds passwords.
#[derive(Clone, Deserialize)]
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

/// Credentials by registry pattern.
#[derive(Clone, Default)]
pub struct Keyring {
    entries: Vec<(String, RegistryAuth)>,
}

impl Keyring {
    /// Adds what the secret holds. An error leaves the keyring as it was.
    pub fn add_secret(&mut self, secret: &api::Secret) -> Result<(), KeyringError> {
        let name = secret.metadata.name.clone().unwrap_or_default();
        let value = |key: &'static str| {
            secret.data.as_ref().and_then(|map| map.get(key)).map(|bytes| bytes.0.as_slice())
        };
        let (key, entries) = match secret.type_.as_deref() {
            Some("kubernetes.io/dockerconfigjson") => {
                let key = ".dockerconfigjson";
                let parsed = value(key).and_then(|bytes| serde_json::from_slice(bytes).ok());
                (key, parsed.map(|config: DockerConfigJson| config.auths))
            }
            Some("kubernetes.io/dockercfg") => {
                let key = ".dockercfg";
                (key, value(key).and_then(|bytes| serde_json::from_slice(bytes).ok()))
            }
            _ => return Err(KeyringError::Type(name)),
        };
        let entries = entries.ok_or(KeyringError::Content { name, key })?;
        for (registry, entry) in entries {
            let auth = registry_auth(&registry, entry);
            self.entries.push((pattern(&registry), auth));
        }
        Ok(())
    }

    /// Credentials that fit the image, most specific pattern first; empty means anonymous.
    pub fn for_image(&self, image: &ImageReference) -> Vec<RegistryAuth> {
        let target = match image.registry() {
            "docker.io" if !image.path.contains('/') => format!("docker.io/library/{}", image.path),
            registry => format!("{registry}/{}", image.path),
        };
        let mut fitting: Vec<_> =
            self.entries.iter().filter(|(pattern, _)| matches(pattern, &target)).collect();
        fitting.sort_by_key(|(pattern, _)| std::cmp::Reverse(pattern.len()));
        fitting.into_iter().map(|(_, auth)| auth.clone()).collect()
    }
}

fn registry_auth(registry: &str, entry: Entry) -> RegistryAuth {
    let decoded =
        STANDARD.decode(entry.auth.trim()).ok().and_then(|raw| String::from_utf8(raw).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    let (username, password) = match pair {
        Some((user, password)) if entry.username.is_empty() => {
            (user.to_owned(), password.trim_end_matches('\0').to_owned())
        }
        _ => (entry.username, entry.password),
    };
    RegistryAuth {
        username,
        password,
        identity_token: entry.identity_token,
        server_address: registry.to_owned(),
        ..RegistryAuth::default()
    }
}

/// The key of a docker configuration as host and path: no scheme, no API version at the end, and
/// one name for the default registry.
fn pattern(key: &str) -> String {
    let key = key.trim_start_matches("https://").trim_start_matches("http://");
    let key = key.trim_end_matches('/');
    let key = key.strip_suffix("/v1").or_else(|| key.strip_suffix("/v2")).unwrap_or(key);
    match key {
        "index.docker.io" | "registry-1.docker.io" => "docker.io".to_owned(),
        other => other.to_owned(),
    }
}

/// Host label by label with `*` for any part of one, same port, path by prefix.
fn matches(pattern: &str, target: &str) -> bool {
    let split = |text: &str| {
        let (host, path) = text.split_once('/').map_or((text, ""), |(host, path)| (host, path));
        let (host, port) = host.rsplit_once(':').map_or((host, ""), |(host, port)| (host, port));
        (host.to_owned(), port.to_owned(), path.to_owned())
    };
    let (want_host, want_port, want_path) = split(pattern);
    let (host, port, path) = split(target);
    let labels: Vec<&str> = host.split('.').collect();
    let wanted: Vec<&str> = want_host.split('.').collect();
    labels.len() == wanted.len()
        && wanted.iter().zip(&labels).all(|(glob, label)| label_matches(glob, label))
        && want_port == port
        && path.starts_with(&want_path)
}

fn label_matches(glob: &str, label: &str) -> bool {
    match glob.split_once('*') {
        None => glob == label,
        Some((before, after)) => {
            label.len() >= before.len() + after.len()
                && label.starts_with(before)
                && label.ends_with(after)
        }
    }
}
