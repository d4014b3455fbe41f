//! Pure. Where in the API an object belongs.

use anyhow::{Context, Result};
use serde_json::Value;

/// Kinds without a namespace, of those that tests create.
const CLUSTER_SCOPED: [&str; 13] = [
    "APIService",
    "CSIDriver",
    "CertificateSigningRequest",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "IPAddress",
    "Namespace",
    "Node",
    "PersistentVolume",
    "PriorityClass",
    "RuntimeClass",
    "StorageClass",
];

/// Path of the collection that an object is created in. Its namespace is `default` when it has
/// none and its kind needs one. Errors without `apiVersion` or `kind`.
pub fn collection_of(object: &Value) -> Result<String> {
    let version = object["apiVersion"].as_str().context("object without apiVersion")?;
    let kind = object["kind"].as_str().context("object without kind")?;
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    Ok(collection(version, kind, namespace))
}

/// Path of one object; errors when it has no name.
pub fn path_of(object: &Value) -> Result<String> {
    let name = object["metadata"]["name"].as_str().context("object without a name")?;
    Ok(format!("{}/{name}", collection_of(object)?))
}

/// Path of a collection: `/api/v1/namespaces/NS/pods`, `/apis/GROUP/VERSION/…`.
#[must_use]
pub fn collection(version: &str, kind: &str, namespace: &str) -> String {
    let top = if version.contains('/') { "apis" } else { "api" };
    let plural = plural(kind);
    if CLUSTER_SCOPED.contains(&kind) {
        format!("/{top}/{version}/{plural}")
    } else {
        format!("/{top}/{version}/namespaces/{namespace}/{plural}")
    }
}

/// The plural that the API uses for a kind.
fn plural(kind: &str) -> String {
    let lower = kind.to_lowercase();
    if lower == "endpoints" {
        lower
    } else if lower.ends_with('s') {
        lower + "es"
    } else if let Some(stem) = lower.strip_suffix('y') {
        format!("{stem}ies")
    } else {
        lower + "s"
    }
}

#[cfg(test)]
mod tests;
