//! Pure. Labels and annotations by which the runtime's objects are recognised, written and read.
//!
//! The names are a contract: log collectors, cAdvisor and crictl read the labels, and a container
//! whose pod spec is gone is ended by what stands in its annotations.
//! Source: kubelet v1.36 `kuberuntime/labels.go`, `types/labels.go`.

use std::collections::HashMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1 as api;

use crate::model::{Pod, PodFullName, PodSource, PodUid, container_hash};

pub const POD_NAME: &str = "io.kubernetes.pod.name";
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
pub const POD_UID: &str = "io.kubernetes.pod.uid";
pub const CONTAINER_NAME: &str = "io.kubernetes.container.name";

pub const CONTAINER_HASH: &str = "io.kubernetes.container.hash";
pub const RESTART_COUNT: &str = "io.kubernetes.container.restartCount";
pub const TERMINATION_MESSAGE_PATH: &str = "io.kubernetes.container.terminationMessagePath";
pub const TERMINATION_MESSAGE_POLICY: &str = "io.kubernetes.container.terminationMessagePolicy";
pub const PRE_STOP_HANDLER: &str = "io.kubernetes.container.preStopHandler";
pub const CONTAINER_PORTS: &str = "io.kubernetes.container.ports";
pub const POD_DELETION_GRACE: &str = "io.kubernetes.pod.deletionGracePeriod";
pub const POD_TERMINATION_GRACE: &str = "io.kubernetes.pod.terminationGracePeriod";

pub const CONFIG_SEEN: &str = "kubernetes.io/config.seen";
pub const CONFIG_SOURCE: &str = "kubernetes.io/config.source";

/// `kubernetes.io/config.source` for a source.
pub fn source_name(source: PodSource) -> &'static str {
    match source {
        PodSource::Api => "api",
        PodSource::File => "file",
        PodSource::Http => "http",
    }
}

/// The pod's own labels plus the three that identify it; ours win.
pub fn sandbox_labels(pod: &Pod) -> HashMap<String, String> {
    let mut labels: HashMap<String, String> =
        pod.object().metadata.labels.clone().unwrap_or_default().into_iter().collect();
    insert_pod_identity(&mut labels, pod);
    labels
}

/// The pod's own annotations plus when and from where noded learnt of it. What the pod carries
/// already (a static pod's own `config.*`) is kept.
pub fn sandbox_annotations(pod: &Pod, seen: Timestamp) -> HashMap<String, String> {
    let mut annotations: HashMap<String, String> =
        pod.object().metadata.annotations.clone().unwrap_or_default().into_iter().collect();
    annotations.entry(CONFIG_SEEN.to_owned()).or_insert_with(|| seen.to_string());
    annotations
        .entry(CONFIG_SOURCE.to_owned())
        .or_insert_with(|| source_name(pod.source()).to_owned());
    annotations
}

/// The four labels of a container.
pub fn container_labels(pod: &Pod, container: &api::Container) -> HashMap<String, String> {
    let mut labels = HashMap::with_capacity(4);
    insert_pod_identity(&mut labels, pod);
    labels.insert(CONTAINER_NAME.to_owned(), container.name.clone());
    labels
}

/// Annotations of one instance of a container: its hash and restart count, and all that is needed
/// to end it right when the pod spec is gone.
pub fn container_annotations(
    pod: &Pod,
    container: &api::Container,
    attempt: u32,
) -> HashMap<String, String> {
    let mut annotations = HashMap::with_capacity(8);
    let mut put = |key: &str, value: String| annotations.insert(key.to_owned(), value);
    put(CONTAINER_HASH, container_hash(container));
    put(RESTART_COUNT, attempt.to_string());
    put(TERMINATION_MESSAGE_PATH, container.termination_message_path.clone().unwrap_or_default());
    put(
        TERMINATION_MESSAGE_POLICY,
        container.termination_message_policy.clone().unwrap_or_default(),
    );
    if let Some(grace) = pod.object().metadata.deletion_grace_period_seconds {
        put(POD_DELETION_GRACE, grace.to_string());
    }
    if let Some(grace) = pod.spec().termination_grace_period_seconds {
        put(POD_TERMINATION_GRACE, grace.to_string());
    }
    let pre_stop = container.lifecycle.as_ref().and_then(|lifecycle| lifecycle.pre_stop.as_ref());
    if let Some(json) = pre_stop.and_then(|handler| serde_json::to_string(handler).ok()) {
        put(PRE_STOP_HANDLER, json);
    }
    let ports = container.ports.as_deref().filter(|ports| !ports.is_empty());
    if let Some(json) = ports.and_then(|ports| serde_json::to_string(ports).ok()) {
        put(CONTAINER_PORTS, json);
    }
    annotations
}

fn insert_pod_identity(labels: &mut HashMap<String, String>, pod: &Pod) {
    labels.insert(POD_NAME.to_owned(), pod.name().to_owned());
    labels.insert(POD_NAMESPACE.to_owned(), pod.namespace().to_owned());
    labels.insert(POD_UID.to_owned(), pod.uid().as_str().to_owned());
}

/// Whom an object in the runtime belongs to. `None` when one of the three pod labels is missing
/// or empty: the object is not a pod's.
pub fn pod_identity(labels: &HashMap<String, String>) -> Option<(PodUid, PodFullName)> {
    let text = |key: &str| labels.get(key).map(String::as_str).filter(|text| !text.is_empty());
    let uid = PodUid::from(text(POD_UID)?);
    Some((uid, PodFullName::new(text(POD_NAMESPACE)?, text(POD_NAME)?)))
}

/// What the annotations of a container say about ending and reporting it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ContainerRecord {
    pub restart_count: Option<u32>,
    /// Empty when the container has none.
    pub termination_message_path: String,
    pub termination_message_policy: String,
    /// Seconds of the deletion that was asked for when the container was made.
    pub deletion_grace: Option<u64>,
    pub termination_grace: Option<u64>,
    pub pre_stop: Option<api::LifecycleHandler>,
    pub ports: Vec<api::ContainerPort>,
}

/// Reads back what [`container_annotations`] wrote. A missing or unreadable annotation leaves its
/// field empty: a container that another agent made must still be ended.
pub fn container_record(annotations: &HashMap<String, String>) -> ContainerRecord {
    let text = |key: &str| annotations.get(key).cloned().unwrap_or_default();
    let seconds = |key: &str| annotations.get(key).and_then(|text| text.parse().ok());
    ContainerRecord {
        restart_count: annotations.get(RESTART_COUNT).and_then(|text| text.parse().ok()),
        termination_message_path: text(TERMINATION_MESSAGE_PATH),
        termination_message_policy: text(TERMINATION_MESSAGE_POLICY),
        deletion_grace: seconds(POD_DELETION_GRACE),
        termination_grace: seconds(POD_TERMINATION_GRACE),
        pre_stop: serde_json::from_str(&text(PRE_STOP_HANDLER)).ok(),
        ports: serde_json::from_str(&text(CONTAINER_PORTS)).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
