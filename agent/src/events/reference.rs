//! Pure. What an event is about.

use k8s_openapi::api::core::v1::ObjectReference;

use crate::model::{ContainerKind, Pod};

/// The pod, or with a field path one container of it.
pub fn pod_reference(pod: &Pod, field_path: Option<String>) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: Some(pod.namespace().to_owned()),
        name: Some(pod.name().to_owned()),
        uid: Some(pod.uid().to_string()),
        resource_version: pod.object().metadata.resource_version.clone(),
        field_path,
    }
}

/// The Node. Its UID is the node's name: the kubelet does it so, and `kubectl describe node` looks
/// for it.
pub fn node_reference(node_name: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Node".to_owned()),
        name: Some(node_name.to_owned()),
        uid: Some(node_name.to_owned()),
        ..ObjectReference::default()
    }
}

/// A Service. Without its UID `kubectl describe` does not find the event.
pub fn service_reference(namespace: &str, name: &str, uid: &str) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Service".to_owned()),
        namespace: Some(namespace.to_owned()),
        name: Some(name.to_owned()),
        uid: Some(uid.to_owned()),
        ..ObjectReference::default()
    }
}

/// `spec.containers{name}` and the like for the other two lists.
pub fn container_field_path(kind: ContainerKind, name: &str) -> String {
    let list = match kind {
        ContainerKind::Init => "initContainers",
        ContainerKind::Regular => "containers",
        ContainerKind::Ephemeral => "ephemeralContainers",
    };
    format!("spec.{list}{{{name}}}")
}

#[cfg(test)]
mod tests;
