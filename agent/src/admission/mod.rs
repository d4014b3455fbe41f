//! Pure. Whether this node takes a pod on.
//!
//! **What**: the kubelet's admission of pods that are bound to the node.
//! **Reads**: the pod, the pods admitted before it, the Node object, the node's pressures.
//! **Invariants**: asked once per pod; a refusal is final and published as phase Failed; a pod that
//! was admitted before is not asked about again; a critical pod is not refused for want of room
//! while pods that are not critical hold enough of it.
//! **Source**: Kubernetes v1.36 `pkg/kubelet/lifecycle/predicate.go`, `pkg/kubelet/preemption`, and
//! the order in which `pkg/kubelet/kubelet.go` asks. Resource managers do not take part yet.

mod app_armor;
mod fit;
mod groups_policy;
mod node_match;
mod preempt;
mod pressure;
mod sysctls;
mod unsupported;

use k8s_openapi::api::core::v1 as api;

pub use fit::Shortage;
pub use groups_policy::needs_strict_groups;
pub use node_match::node_selector_matches;
pub use preempt::{PREEMPTED, preemption_event};
pub use sysctls::{AllowedSysctls, SysctlPatternError, dotted_sysctl};
pub use unsupported::{Unsupported, unsupported_field};

use crate::model::{Pod, PodUid};
use crate::reason::admission as reason;

#[cfg(test)]
mod tests;

/// The verdict on a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AdmitDecision {
    Admit,
    Reject {
        reason: String,
        message: String,
    },
    /// A critical pod that fits once these have ended; `short` is the first resource it lacks.
    Preempt {
        victims: Vec<PodUid>,
        short: String,
    },
}

impl AdmitDecision {
    fn reject(reason: &str, message: impl Into<String>) -> Self {
        Self::Reject { reason: reason.to_owned(), message: message.into() }
    }

    /// Whether the pod was refused for the Node's labels alone, of which our copy may be old.
    pub fn doubts_labels(&self) -> bool {
        matches!(self, Self::Reject { reason, .. } if reason == reason::NODE_AFFINITY)
    }
}

/// The parts of the configuration and of the machine that admission depends on.
#[derive(Clone, Debug, Default)]
pub struct AdmissionRules {
    pub sysctls: AllowedSysctls,
    /// Whether the kernel enforces AppArmor profiles.
    pub app_armor: bool,
}

/// What a pod is judged by.
#[derive(Clone, Copy, Debug)]
pub struct Surroundings<'a> {
    /// Pods that take up room on the node, the judged one not among them.
    pub admitted: &'a [Pod],
    /// `None` before the Node is registered; then only what needs none is checked.
    pub node: Option<&'a api::Node>,
    /// Condition types of the pressures the node is under, as the Node publishes them.
    pub pressures: &'a [&'static str],
    pub rules: &'a AdmissionRules,
}

/// Why a pod does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Misfit {
    Short(Shortage),
    /// A predicate of the scheduler by its name, and its words.
    Predicate(&'static str, &'static str),
}

impl Misfit {
    fn decision(&self) -> AdmitDecision {
        match self {
            Self::Short(shortage) => {
                AdmitDecision::reject(&format!("OutOf{}", shortage.resource), shortage.to_string())
            }
            Self::Predicate(name, words) => {
                AdmitDecision::reject(name, format!("Predicate {name} failed: {words}"))
            }
        }
    }
}

/// Judges `pod`. The first check that fails decides.
pub fn admit(pod: &Pod, around: &Surroundings<'_>) -> AdmitDecision {
    let refusal = pressure::refusal(pod, around.pressures)
        .or_else(|| {
            let message = around.rules.sysctls.forbidden(pod)?;
            Some(AdmitDecision::reject(reason::SYSCTL_FORBIDDEN, message))
        })
        .or_else(|| node_match::operating_system(pod))
        .or_else(|| groups_policy::refusal(pod, around.node?));
    if let Some(refusal) = refusal {
        return refusal;
    }
    let misfits = around.node.map(|node| misfits(pod, around.admitted, node)).unwrap_or_default();
    let preempts = pod.is_critical() && !misfits.is_empty();
    let refused = match preempts {
        // Want of room is no reason to refuse a critical pod.
        true => misfits.iter().find(|misfit| matches!(misfit, Misfit::Predicate(..))),
        false => misfits.first(),
    };
    refused
        .map(Misfit::decision)
        .or_else(|| app_armor::refusal(pod, around.rules.app_armor))
        .or_else(|| {
            let unsupported = unsupported_field(pod)?;
            Some(AdmitDecision::reject(reason::POD_FEATURE_UNSUPPORTED, unsupported.message))
        })
        .unwrap_or_else(|| match preempts {
            true => make_room(around.admitted, &misfits),
            false => AdmitDecision::Admit,
        })
}

/// All that is in the way, in the order upstream reports it.
fn misfits(pod: &Pod, admitted: &[Pod], node: &api::Node) -> Vec<Misfit> {
    let short = fit::shortages(pod, admitted, node).into_iter().map(Misfit::Short);
    let predicates = [
        (!node_match::affinity(pod, node)).then_some(Misfit::Predicate(
            reason::NODE_AFFINITY,
            "node(s) didn't match Pod's node affinity/selector",
        )),
        (!node_match::name(pod, node)).then_some(Misfit::Predicate(
            reason::NODE_NAME,
            "node(s) didn't match the requested node name",
        )),
        (!fit::host_ports(pod, admitted)).then_some(Misfit::Predicate(
            reason::NODE_PORTS,
            "node(s) didn't have free ports for the requested pod ports",
        )),
        (!node_match::taints(pod, node)).then_some(Misfit::Predicate(
            reason::TAINT_TOLERATION,
            "node(s) had taints that the pod didn't tolerate",
        )),
    ];
    short.chain(predicates.into_iter().flatten()).collect()
}

fn make_room(admitted: &[Pod], misfits: &[Misfit]) -> AdmitDecision {
    let short: Vec<&Shortage> = misfits
        .iter()
        .filter_map(|misfit| match misfit {
            Misfit::Short(shortage) => Some(shortage),
            Misfit::Predicate(..) => None,
        })
        .collect();
    match preempt::victims(admitted, &short) {
        Ok(victims) => {
            let short = short.first().map(|first| first.resource.clone()).unwrap_or_default();
            AdmitDecision::Preempt { victims, short }
        }
        Err(missing) => AdmitDecision::reject(
            reason::UNEXPECTED_ADMISSION_ERROR,
            format!(
                "Unexpected error while attempting to recover from admission failure: preemption: \
                 error finding a set of pods to preempt: no set of running pods found to reclaim \
                 resources: {missing}"
            ),
        ),
    }
}
