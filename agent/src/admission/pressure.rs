//! Pure. Which pods a node under pressure takes on.
//! Source: kubelet v1.36 `eviction/eviction_manager.go`, `Admit`.

use k8s_openapi::api::core::v1 as api;

use super::AdmitDecision;
use super::node_match::tolerates;
use crate::model::Pod;
use crate::model::qos::{QosClass, pod_qos_class};
use crate::reason::admission as reason;

const MEMORY: &str = "MemoryPressure";

/// The refusal of a pod that would add to a pressure. Critical pods are taken on always; under
/// memory pressure alone so is every pod that asks for resources or tolerates it.
pub(super) fn refusal(pod: &Pod, pressures: &[&'static str]) -> Option<AdmitDecision> {
    if pressures.is_empty() || pod.is_critical() {
        return None;
    }
    if pressures == [MEMORY]
        && (pod_qos_class(pod) != QosClass::BestEffort || tolerates_memory_pressure(pod))
    {
        return None;
    }
    let message = format!("The node had condition: [{}]. ", pressures.join(" "));
    Some(AdmitDecision::reject(reason::EVICTED, message))
}

fn tolerates_memory_pressure(pod: &Pod) -> bool {
    let taint = api::Taint {
        key: "node.kubernetes.io/memory-pressure".to_owned(),
        effect: "NoSchedule".to_owned(),
        ..api::Taint::default()
    };
    pod.spec().tolerations.iter().flatten().any(|toleration| tolerates(toleration, &taint))
}
