//! Pure. Whether this node takes a pod on.
//!
//! **What**: the kubelet's admission of pods that are bound to the node.
//! **Reads**: the pod, the pods admitted before it, the Node object.
//! **Invariants**: asked once per pod; a refusal is final and published as phase Failed; a pod
//! that already has a container here is not asked about again.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/lifecycle/predicate.go`; preemption is not here.

mod fit;
mod node_match;
mod sysctls;
mod unsupported;

use k8s_openapi::api::core::v1 as api;

pub use unsupported::{Unsupported, unsupported_field};

use crate::model::Pod;
use crate::reason::admission as reason;

#[cfg(test)]
mod tests;

/// The verdict on a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmitDecision {
    Admit,
    Reject { reason: String, message: String },
}

impl AdmitDecision {
    fn reject(reason: &str, message: impl Into<String>) -> Self {
        Self::Reject { reason: reason.to_owned(), message: message.into() }
    }
}

/// One check: `None` when the pod passes.
type Check = fn(&Pod, &[Pod], &api::Node) -> Option<AdmitDecision>;

/// Judges `pod` against the node and the pods it already has. The first check that fails decides.
/// Without a Node object (it is not registered yet) only what needs none is checked.
pub fn admit(pod: &Pod, admitted: &[Pod], node: Option<&api::Node>) -> AdmitDecision {
    let os = pod.spec().os.as_ref().map(|os| os.name.as_str());
    if let Some(os) = os.filter(|os| *os != "linux") {
        return AdmitDecision::reject(
            reason::POD_OS_NOT_SUPPORTED,
            format!("Failed to admit pod as its OS {os} doesn't match node's OS linux"),
        );
    }
    if let Some(unsupported) = unsupported_field(pod) {
        return AdmitDecision::reject(reason::POD_FEATURE_UNSUPPORTED, unsupported.message);
    }
    if let Some(message) = sysctls::forbidden(pod) {
        return AdmitDecision::reject(reason::SYSCTL_FORBIDDEN, message);
    }
    let Some(node) = node else { return AdmitDecision::Admit };
    let checks: [Check; 4] =
        [fit::resources, node_match::affinity, fit::host_ports, node_match::taints];
    checks.into_iter().find_map(|check| check(pod, admitted, node)).unwrap_or(AdmitDecision::Admit)
}
