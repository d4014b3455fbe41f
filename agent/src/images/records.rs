//! Pure. What is written down about pulls, and who may use an image by it.
//!
//! The files are the kubelet's (v1.36, `kubelet.config.k8s.io/v1beta1`), so that one can follow
//! the other on a machine: `pulling/` holds an intent for each image a pull was begun for,
//! `pulled/` what is known of each image that a pull brought.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::credentials::{CredentialSource, Origin, TrackedAuth};
use crate::config::VerificationPolicy;

#[cfg(test)]
mod tests;

const API_VERSION: &str = "kubelet.config.k8s.io/v1beta1";
const INTENT_KIND: &str = "ImagePullIntent";
const PULLED_KIND: &str = "ImagePulledRecord";
/// Secrets kept for one image name (kubelet v1.36).
const SECRETS_LIMIT: usize = 100;

/// A pull of the image was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PullIntent {
    kind: String,
    api_version: String,
    pub image: String,
}

impl PullIntent {
    pub fn new(image: &str) -> Self {
        Self {
            kind: INTENT_KIND.to_owned(),
            api_version: API_VERSION.to_owned(),
            image: image.to_owned(),
        }
    }

    /// The record in a file; `None` when it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let intent: Self = serde_json::from_slice(bytes).ok()?;
        (intent.kind == INTENT_KIND && !intent.image.is_empty()).then_some(intent)
    }
}

/// An image that pulls have brought, and what they were allowed by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PulledRecord {
    kind: String,
    api_version: String,
    pub last_updated_time: Timestamp,
    /// The runtime's name of the content.
    pub image_ref: String,
    /// By repository name.
    #[serde(default)]
    pub credential_mapping: BTreeMap<String, PullCredentials>,
}

/// By whose credentials an image was pulled under one name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PullCredentials {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_secrets: Vec<SecretRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kubernetes_service_accounts: Vec<Origin>,
    /// Pulled without a credential or with one of the node: every pod may use it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub node_pods_accessible: bool,
}

/// A Secret that a pull succeeded with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretRecord {
    #[serde(flatten)]
    pub origin: Origin,
    #[serde(default)]
    pub credential_hash: String,
}

impl PulledRecord {
    pub fn new(image_ref: &str, now: Timestamp) -> Self {
        Self {
            kind: PULLED_KIND.to_owned(),
            api_version: API_VERSION.to_owned(),
            last_updated_time: now,
            image_ref: image_ref.to_owned(),
            credential_mapping: BTreeMap::new(),
        }
    }

    /// The record in a file; `None` when it is none.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let record: Self = serde_json::from_slice(bytes).ok()?;
        (record.kind == PULLED_KIND && !record.image_ref.is_empty()).then_some(record)
    }

    /// Notes a successful pull of `repository` with this credential; `None` is an anonymous one.
    /// Whether that was news.
    pub fn note(
        &mut self,
        repository: &str,
        credential: Option<&TrackedAuth>,
        now: Timestamp,
    ) -> bool {
        let before = self.credential_mapping.get(repository).cloned();
        let known = self.credential_mapping.entry(repository.to_owned()).or_default();
        match credential.map(|credential| (&credential.source, credential)) {
            None | Some((CredentialSource::Node, _)) => {
                *known = PullCredentials { node_pods_accessible: true, ..Default::default() };
            }
            Some(_) if known.node_pods_accessible => {}
            Some((CredentialSource::Secret(origin), credential)) => {
                note_secret(&mut known.kubernetes_secrets, origin, credential.hash());
            }
            Some((CredentialSource::ServiceAccount(origin), _)) => {
                if !known.kubernetes_service_accounts.contains(origin) {
                    known.kubernetes_service_accounts.push(origin.clone());
                }
            }
            // Its token ends with the pod, so nobody can show it again.
            Some((CredentialSource::Pod, _)) => {}
        }
        let changed = before.as_ref() != Some(&*known);
        if changed {
            self.last_updated_time = now;
        }
        changed
    }
}

fn note_secret(secrets: &mut Vec<SecretRecord>, origin: &Origin, hash: String) {
    let record = SecretRecord { origin: origin.clone(), credential_hash: hash };
    match secrets.iter().position(|known| known.origin == record.origin) {
        Some(index) => secrets[index] = record,
        None if secrets.len() < SECRETS_LIMIT => secrets.push(record),
        None => {}
    }
}

/// Whether a pod may use an image that is present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    Free,
    /// Only with one of these.
    With(PullCredentials),
    /// Only after a pull of its own.
    Denied,
}

/// The access to an image that is present, without looking at the pod.
///
/// | policy | image | record | access |
/// |---|---|---|---|
/// | `NeverVerify` | any | any | free |
/// | `NeverVerifyPreloadedImages` | not pulled by a node agent | - | free |
/// | `NeverVerifyAllowlistedImages` | on the list | any | free |
/// | otherwise | | of this name, for all pods | free |
/// | otherwise | | of this name, with credentials | with one of them |
/// | otherwise | | none of this name | denied |
pub fn access(
    policy: &VerificationPolicy,
    repository: &str,
    record: Option<&PulledRecord>,
    intended: bool,
) -> Access {
    let free = match policy {
        VerificationPolicy::NeverVerify => true,
        VerificationPolicy::NeverVerifyPreloadedImages => record.is_none() && !intended,
        VerificationPolicy::NeverVerifyAllowlistedImages(list) => is_listed(list, repository),
        VerificationPolicy::AlwaysVerify => false,
    };
    if free {
        return Access::Free;
    }
    match record.and_then(|record| record.credential_mapping.get(repository)) {
        Some(known) if known.node_pods_accessible => Access::Free,
        Some(known) if *known != PullCredentials::default() => Access::With(known.clone()),
        _ => Access::Denied,
    }
}

impl PullCredentials {
    /// The first of `offered` that has been good for a pull: the same content, or the same object,
    /// whatever it holds now.
    pub fn accepted<'a>(&self, offered: &'a [TrackedAuth]) -> Option<&'a TrackedAuth> {
        offered.iter().find(|credential| match &credential.source {
            CredentialSource::Secret(origin) => {
                let hash = credential.hash();
                let same =
                    |known: &SecretRecord| known.credential_hash == hash || known.origin == *origin;
                self.kubernetes_secrets.iter().any(same)
            }
            CredentialSource::ServiceAccount(origin) => {
                self.kubernetes_service_accounts.contains(origin)
            }
            CredentialSource::Node | CredentialSource::Pod => false,
        })
    }
}

/// Whether a pattern of `preloadedImagesVerificationAllowlist` names the repository: as a whole, or
/// by what stands before `/*` at its end.
fn is_listed(list: &[String], repository: &str) -> bool {
    list.iter().any(|pattern| match pattern.strip_suffix("/*") {
        Some(prefix) => repository.strip_prefix(prefix).is_some_and(|rest| rest.starts_with('/')),
        None => pattern == repository,
    })
}

/// Name of the file about `subject` (kubelet v1.36).
pub fn file_name(subject: &str) -> String {
    format!("sha256-{}", HEXLOWER.encode(digest(&SHA256, subject.as_bytes()).as_ref()))
}
