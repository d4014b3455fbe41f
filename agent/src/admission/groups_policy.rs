//! Pure. `supplementalGroupsPolicy: Strict` needs a runtime that honours it.
//! Source: kubelet v1.36 `lifecycle/predicate.go`.

use k8s_openapi::api::core::v1 as api;

use super::AdmitDecision;
use crate::model::Pod;
use crate::reason::admission as reason;

/// Whether the pod must get no groups but those it lists.
pub fn needs_strict_groups(pod: &Pod) -> bool {
    let security = pod.spec().security_context.as_ref();
    let policy = security.and_then(|security| security.supplemental_groups_policy.as_deref());
    policy == Some("Strict")
}

/// The refusal of a pod that needs it on a node that does not have it.
pub(super) fn refusal(pod: &Pod, node: &api::Node) -> Option<AdmitDecision> {
    let features = node.status.as_ref().and_then(|status| status.features.as_ref());
    let can = features.and_then(|features| features.supplemental_groups_policy);
    (needs_strict_groups(pod) && can != Some(true)).then(|| {
        AdmitDecision::reject(
            reason::SUPPLEMENTAL_GROUPS_POLICY_NOT_SUPPORTED,
            "SupplementalGroupsPolicy=Strict is not supported in this node",
        )
    })
}
