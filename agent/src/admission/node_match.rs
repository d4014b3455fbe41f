//! Pure. Whether a pod's selector, affinity and tolerations fit the Node.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1 as api;

use super::AdmitDecision;
use crate::model::{Pod, PodSource};
use crate::reason::admission as reason;

const OS_LABEL: &str = "kubernetes.io/os";
const OS: &str = "linux";

/// The refusal of a pod for another operating system.
pub(super) fn operating_system(pod: &Pod) -> Option<AdmitDecision> {
    let label = pod.object().metadata.labels.as_ref().and_then(|labels| labels.get(OS_LABEL));
    if label.is_some_and(|os| os != OS) {
        return Some(AdmitDecision::reject(
            reason::POD_OS_SELECTOR_NODE_LABEL_DOES_NOT_MATCH,
            "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
        ));
    }
    let os = pod.spec().os.as_ref().map(|os| os.name.as_str());
    os.is_some_and(|os| os != OS).then(|| {
        AdmitDecision::reject(
            reason::POD_OS_NOT_SUPPORTED,
            "Failed to admit pod as the OS field doesn't match node OS",
        )
    })
}

/// Whether the pod is bound to this Node, or to none.
pub(super) fn name(pod: &Pod, node: &api::Node) -> bool {
    let wanted = pod.spec().node_name.as_deref().filter(|name| !name.is_empty());
    let name = node.metadata.name.as_deref();
    wanted.is_none() || name.is_none() || wanted == name
}

/// Whether the Node matches the pod's node selector and required node affinity.
pub(super) fn affinity(pod: &Pod, node: &api::Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let selected = pod
        .spec()
        .node_selector
        .iter()
        .flatten()
        .all(|(key, value)| labels.get(key) == Some(value));
    let required =
        pod.spec().affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref()).and_then(
            |affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref(),
        );
    selected && required.is_none_or(|required| node_selector_matches(required, node))
}

/// Whether a Node is one of those that the selector means.
pub fn node_selector_matches(selector: &api::NodeSelector, node: &api::Node) -> bool {
    let empty = BTreeMap::new();
    let labels = node.metadata.labels.as_ref().unwrap_or(&empty);
    let name = node.metadata.name.as_deref().unwrap_or_default();
    selector.node_selector_terms.iter().any(|term| term_matches(term, labels, name))
}

/// A term without any expression matches nothing.
fn term_matches(
    term: &api::NodeSelectorTerm,
    labels: &BTreeMap<String, String>,
    name: &str,
) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    if expressions.is_empty() && fields.is_empty() {
        return false;
    }
    expressions.iter().all(|e| requirement_holds(e, labels.get(&e.key).map(String::as_str)))
        && fields
            .iter()
            .all(|field| field.key == "metadata.name" && requirement_holds(field, Some(name)))
}

/// One requirement against the value under its key. An unknown operator holds for nothing.
fn requirement_holds(requirement: &api::NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|listed| listed == value));
    let compare = |holds: fn(i64, i64) -> bool| {
        let (Some(Ok(have)), [bound]) = (value.map(str::parse::<i64>), values) else {
            return false;
        };
        bound.parse().is_ok_and(|bound| holds(have, bound))
    };
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(|have, bound| have > bound),
        "Lt" => compare(|have, bound| have < bound),
        _ => false,
    }
}

/// Whether the pod tolerates all NoExecute taints of the Node. Static pods tolerate everything.
pub(super) fn taints(pod: &Pod, node: &api::Node) -> bool {
    let taints = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
    let tolerations = pod.spec().tolerations.as_deref().unwrap_or_default();
    let mut expelling = taints.iter().filter(|taint| taint.effect == "NoExecute");
    pod.source() != PodSource::Api
        || expelling.all(|taint| tolerations.iter().any(|toleration| tolerates(toleration, taint)))
}

pub(super) fn tolerates(toleration: &api::Toleration, taint: &api::Taint) -> bool {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    let (key, effect) = (text(&toleration.key), text(&toleration.effect));
    if !effect.is_empty() && effect != taint.effect || !key.is_empty() && key != taint.key {
        return false;
    }
    match text(&toleration.operator).as_str() {
        "" | "Equal" => text(&toleration.value) == text(&taint.value),
        "Exists" => true,
        _ => false,
    }
}
