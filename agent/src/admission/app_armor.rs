//! Pure. AppArmor profiles need a kernel that enforces them.
//! Source: kubelet v1.36 `pkg/security/apparmor/validate.go`.

use k8s_openapi::api::core::v1::AppArmorProfile;

use super::AdmitDecision;
use crate::model::Pod;
use crate::reason::admission as reason;

/// The refusal of a pod that asks for a profile where there are none, or for one without a name.
pub(super) fn refusal(pod: &Pod, enforced: bool) -> Option<AdmitDecision> {
    let wanted: Vec<&AppArmorProfile> =
        profiles(pod).filter(|profile| profile.type_ != "Unconfined").collect();
    let problem = if wanted.is_empty() {
        return None;
    } else if !enforced {
        "AppArmor is not enabled on the host"
    } else if wanted.iter().any(|profile| is_nameless(profile)) {
        "localhost AppArmor profile without a name"
    } else {
        return None;
    };
    Some(AdmitDecision::reject(reason::APP_ARMOR, format!("Cannot enforce AppArmor: {problem}")))
}

fn profiles(pod: &Pod) -> impl Iterator<Item = &AppArmorProfile> {
    let spec = pod.spec();
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let of_containers = containers.chain(pod.ephemeral_containers()).filter_map(|container| {
        container.security_context.as_ref().and_then(|context| context.app_armor_profile.as_ref())
    });
    let of_pod = spec.security_context.as_ref().and_then(|c| c.app_armor_profile.as_ref());
    of_pod.into_iter().chain(of_containers)
}

fn is_nameless(profile: &AppArmorProfile) -> bool {
    profile.type_ == "Localhost"
        && profile.localhost_profile.as_ref().is_none_or(|name| name.trim().is_empty())
}
