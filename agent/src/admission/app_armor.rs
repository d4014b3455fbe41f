//! Pure. AppArmor profiles need a kernel that enforces them.
//! Source: kubelet v1.36 `pkg/security/apparmor/validate.go`.

use k8s_openapi::api::core::v1::{AppArmorProfile, Container};

use super::AdmitDecision;
use crate::model::{Pod, app_armor_profile};
use crate::reason::admission as reason;

/// The refusal of a pod that asks for a profile where there are none, or for one without a name.
pub(super) fn refusal(pod: &Pod, enforced: bool) -> Option<AdmitDecision> {
    let of_pod = pod.spec().security_context.as_ref().and_then(|c| c.app_armor_profile.as_ref());
    let of_containers: Vec<_> = containers(pod).filter_map(|c| app_armor_profile(pod, c)).collect();
    let mut asked = of_pod.into_iter().chain(of_containers.iter().map(AsRef::as_ref));
    let problem = if !asked.any(|profile| profile.type_ != "Unconfined") {
        return None;
    } else if !enforced {
        "AppArmor is not enabled on the host"
    } else if of_containers.iter().any(|profile| is_nameless(profile)) {
        "localhost AppArmor profile without a name"
    } else {
        return None;
    };
    Some(AdmitDecision::reject(reason::APP_ARMOR, format!("Cannot enforce AppArmor: {problem}")))
}

fn containers(pod: &Pod) -> impl Iterator<Item = &Container> {
    let spec = pod.spec();
    let listed = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    listed.chain(pod.ephemeral_containers())
}

fn is_nameless(profile: &AppArmorProfile) -> bool {
    profile.type_ == "Localhost"
        && profile.localhost_profile.as_ref().is_none_or(|name| name.trim().is_empty())
}
