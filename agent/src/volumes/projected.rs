//! Pure. Several sources to the files of one volume.
//! Source: kubelet v1.36 `volume/projected/projected.go`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;

use super::downward_api::downward_payload;
use super::payload::{Payload, PayloadFile, config_map_payload, file, secret_payload};
use super::token::{Token, TokenError, TokenKey};
use super::types::SetUpCause;
use super::wanted::{FileSource, FilesVolume};
use crate::model::Pod;
use crate::objects::{ObjectError, ObjectKind, ObjectSet, SecretObject};
use crate::podexec::field_ref::FieldFacts;
use crate::podexec::security_context::effective_run_as_user;

/// Mode of a token in a pod that says who its users are.
const PRIVATE_TOKEN_MODE: i32 = 0o600;

/// What the sources of a pod's volumes come from.
#[derive(Clone, Copy, Debug)]
pub struct SourceContent<'a> {
    pub objects: &'a ObjectSet,
    pub tokens: &'a BTreeMap<TokenKey, Result<Token, TokenError>>,
    pub fields: &'a FieldFacts<'a>,
}

/// Who owns what noded writes for a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ownership {
    /// `securityContext.fsGroup`.
    pub group: Option<u32>,
    /// The user all containers run as, when they state the same one.
    pub user: Option<u32>,
}

/// Ownership as the pod's security settings have it.
pub fn ownership(pod: &Pod) -> Ownership {
    let spec = pod.spec();
    let group = spec.security_context.as_ref().and_then(|security| security.fs_group);
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let mut users = containers.map(|container| effective_run_as_user(pod, container));
    let first = users.next().flatten();
    let user = first.filter(|first| users.all(|user| user == Some(*first)));
    let id = |id: i64| u32::try_from(id).ok();
    Ownership { group: group.and_then(id), user: user.and_then(id) }
}

/// The files of `volume`. Of two sources that write the same path the later one wins. Errors name
/// every source that cannot be had, each cause once.
pub fn files_payload(
    pod: &Pod,
    volume: &FilesVolume,
    content: SourceContent<'_>,
    owner: Ownership,
) -> Result<Payload, SetUpCause> {
    let mut payload = Payload::new();
    let mut causes: Vec<SetUpCause> = Vec::new();
    for source in &volume.sources {
        match source_payload(pod, source, volume.default_mode, content, owner) {
            Ok(files) => payload.extend(files),
            Err(cause) => causes.push(cause),
        }
    }
    SetUpCause::of_all(causes).map_or(Ok(payload), Err)
}

fn source_payload(
    pod: &Pod,
    source: &FileSource,
    mode: i32,
    content: SourceContent<'_>,
    owner: Ownership,
) -> Result<Payload, SetUpCause> {
    match source {
        FileSource::ConfigMap { name, items, optional } => {
            let found = content.objects.config_maps.get(name).and_then(Option::as_deref);
            let empty = api::ConfigMap::default();
            let map = match found {
                Some(map) => map,
                None if *optional => &empty,
                None => return Err(not_found(pod, ObjectKind::ConfigMap, name).into()),
            };
            Ok(config_map_payload(map, items, mode, *optional)?)
        }
        FileSource::Secret { name, items, optional } => {
            let found = content.objects.secrets.get(name).and_then(Option::as_ref);
            let empty = SecretObject::new(api::Secret::default());
            let secret = match found {
                Some(secret) => secret,
                None if *optional => &empty,
                None => return Err(not_found(pod, ObjectKind::Secret, name).into()),
            };
            Ok(secret_payload(secret, items, mode, *optional)?)
        }
        FileSource::DownwardApi(items) => Ok(downward_payload(pod, items, mode, content.fields)?),
        FileSource::Token { audience, expiration_seconds, path } => {
            let key =
                TokenKey { audience: audience.clone(), expiration_seconds: *expiration_seconds };
            let token = content.tokens.get(&key).ok_or(TokenError::Empty)?;
            let token = token.as_ref().map_err(Clone::clone)?;
            let private = owner != Ownership::default();
            let mode = if private { PRIVATE_TOKEN_MODE } else { mode };
            let written = file(token.value().as_bytes().to_vec(), mode);
            let written = PayloadFile { owner: owner.user, ..written };
            Ok(Payload::from([(path.clone(), written)]))
        }
        FileSource::Unsupported => Err(SetUpCause::Unsupported),
    }
}

fn not_found(pod: &Pod, kind: ObjectKind, name: &str) -> ObjectError {
    ObjectError::NotFound { kind, namespace: pod.namespace().to_owned(), name: name.to_owned() }
}

#[cfg(test)]
mod tests;
