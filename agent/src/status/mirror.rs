//! Pure. What a static pod's status keeps of its mirror pod's when noded has started anew.
//! Source: Kubernetes v1.36 `pkg/kubelet/status/status_manager.go`.

use std::sync::Arc;

use k8s_openapi::api::core::v1 as api;

#[cfg(test)]
mod tests;

/// Takes the start time over, and the transition time of each condition whose status has not
/// changed: a static pod's own object remembers nothing.
pub fn carry_over(shown: &api::PodStatus, wanted: &mut Arc<api::PodStatus>) {
    let mut carried = api::PodStatus::clone(wanted);
    if shown.start_time.is_some() {
        carried.start_time.clone_from(&shown.start_time);
    }
    for condition in carried.conditions.iter_mut().flatten() {
        let known = shown.conditions.iter().flatten().find(|known| known.type_ == condition.type_);
        if let Some(known) = known.filter(|known| known.status == condition.status) {
            condition.last_transition_time.clone_from(&known.last_transition_time);
        }
    }
    if carried != **wanted {
        *wanted = Arc::new(carried);
    }
}
