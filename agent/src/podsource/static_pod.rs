//! Pure. From the object of a manifest to a static pod: identity, defaults, verdict.
//! Source: Kubernetes v1.36 `pkg/kubelet/config/common.go`.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::defaults::apply_defaults;
use super::manifest::{ManifestError, Problem};
use super::references::api_references;
use super::validate::validate;
use crate::model::{Pod, PodSource};

#[cfg(test)]
mod tests;

/// The hash of a static pod's manifest, which is its UID; on the mirror pod too.
pub const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// On the mirror pod: the hash of the static pod it reflects.
pub const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
const CONFIG_SOURCE: &str = "kubernetes.io/config.source";
const CONFIG_SEEN: &str = "kubernetes.io/config.seen";

/// Where a manifest was found and by whom.
#[derive(Clone, Copy, Debug)]
pub struct Origin<'a> {
    /// `File` or `Http`.
    pub source: PodSource,
    /// Path of the file, or URL.
    pub place: &'a str,
    pub node_name: &'a str,
    /// When noded first saw it.
    pub seen: Timestamp,
}

/// The pod to run for a manifest's object.
///
/// Its UID is the object's own, or a hash over content, node and place: the same after a restart
/// of noded, another one after an edit. The node's name is added to its name. What only the API
/// server decides (resource version, deletion, owners, status) is dropped.
pub fn static_pod(object: api::Pod, origin: &Origin<'_>) -> Result<Pod, ManifestError> {
    let mut object =
        api::Pod { metadata: own_fields(object.metadata), spec: object.spec, status: None };
    if object.metadata.uid.as_deref().is_none_or(str::is_empty) {
        object.metadata.uid = Some(content_hash(&object, origin));
    }
    if object.metadata.name.as_deref().is_none_or(str::is_empty) {
        let missing = Problem::new("metadata.name", "is required");
        return Err(ManifestError::Invalid(vec![missing]));
    }
    set_identity(&mut object.metadata, origin);
    if let Some(spec) = &mut object.spec {
        spec.node_name = Some(origin.node_name.to_owned());
        tolerate_node_problems(spec);
        apply_defaults(spec);
    }
    let mut problems = validate(&object);
    problems.extend(object.spec.iter().flat_map(api_references));
    if !problems.is_empty() {
        return Err(ManifestError::Invalid(problems));
    }
    Pod::new(Arc::new(object), origin.source)
        .ok_or_else(|| ManifestError::Invalid(vec![Problem::new("spec", "is required")]))
}

fn own_fields(meta: ObjectMeta) -> ObjectMeta {
    ObjectMeta {
        name: meta.name,
        namespace: meta.namespace,
        uid: meta.uid,
        labels: meta.labels,
        annotations: meta.annotations,
        ..ObjectMeta::default()
    }
}

fn set_identity(meta: &mut ObjectMeta, origin: &Origin<'_>) {
    if let Some(name) = &mut meta.name {
        *name = format!("{name}-{}", origin.node_name.to_lowercase());
    }
    if meta.namespace.as_deref().is_none_or(str::is_empty) {
        meta.namespace = Some("default".to_owned());
    }
    let source = if origin.source == PodSource::Http { "http" } else { "file" };
    let uid = meta.uid.clone().unwrap_or_default();
    let annotations: &mut BTreeMap<String, String> = meta.annotations.get_or_insert_default();
    annotations.remove(CONFIG_MIRROR);
    annotations.insert(CONFIG_HASH.to_owned(), uid);
    annotations.insert(CONFIG_SOURCE.to_owned(), source.to_owned());
    annotations.insert(CONFIG_SEEN.to_owned(), origin.seen.to_string());
}

/// A static pod stays on its node whatever happens to the node.
fn tolerate_node_problems(spec: &mut api::PodSpec) {
    let toleration = api::Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..api::Toleration::default()
    };
    let tolerations = spec.tolerations.get_or_insert_default();
    if !tolerations.contains(&toleration) {
        tolerations.push(toleration);
    }
}

/// 32 hex digits.
fn content_hash(object: &api::Pod, origin: &Origin<'_>) -> String {
    let mut hash = Fnv128::new();
    // Fields in the order of the type and maps by key, so the order in the file does not matter.
    hash.write(&serde_json::to_vec(object).unwrap_or_default());
    let kind = if origin.source == PodSource::Http { "url" } else { "file" };
    hash.write(format!("host:{}{kind}:{}", origin.node_name, origin.place).as_bytes());
    format!("{:032x}", hash.0)
}

/// The 128-bit FNV-1a hash (IETF draft-eastlake-fnv): small, and the same on every machine.
struct Fnv128(u128);

impl Fnv128 {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

    fn new() -> Self {
        Self(Self::OFFSET)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(Self::PRIME);
        }
    }
}
