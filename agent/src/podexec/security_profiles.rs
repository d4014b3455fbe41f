//! Pure. Seccomp and AppArmor profiles of a container.
//! Source: kubelet v1.36 `kuberuntime/helpers.go` (`getSeccompProfile`, `getAppArmorProfile`).

use std::path::{Component, Path};

use cri_proto::runtime::v1::SecurityProfile;
use cri_proto::runtime::v1::security_profile::ProfileType;
use k8s_openapi::api::core::v1 as api;

use super::container_config::ContainerConfigError;
use super::node_facts::NodeFacts;
use crate::model::{Pod, app_armor_profile};

/// A profile without a name.
pub(super) fn profile(profile_type: ProfileType) -> SecurityProfile {
    SecurityProfile { profile_type: profile_type as i32, localhost_ref: String::new() }
}

/// The container's seccomp profile, else the pod's, else what `seccompDefault` says. Errors when a
/// localhost profile has no name or leads out of the directory of profiles.
pub(super) fn seccomp(
    pod: &Pod,
    container: &api::Container,
    node: &NodeFacts,
) -> Result<SecurityProfile, ContainerConfigError> {
    let own = container.security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    let of_pod = pod.spec().security_context.as_ref().and_then(|s| s.seccomp_profile.as_ref());
    let Some(wanted) = own.or(of_pod) else {
        let default = node.seccomp_default;
        let kind = if default { ProfileType::RuntimeDefault } else { ProfileType::Unconfined };
        return Ok(profile(kind));
    };
    Ok(match wanted.type_.as_str() {
        "RuntimeDefault" => profile(ProfileType::RuntimeDefault),
        "Localhost" => {
            let name = wanted.localhost_profile.as_deref().filter(|name| !name.is_empty());
            let name = name.ok_or(ContainerConfigError::SeccompProfileMissing)?;
            if !is_beneath(name) {
                return Err(ContainerConfigError::SeccompProfileOutside(name.to_owned()));
            }
            SecurityProfile {
                profile_type: ProfileType::Localhost as i32,
                localhost_ref: node.seccomp_root.join(name).to_string_lossy().into_owned(),
            }
        }
        _ => profile(ProfileType::Unconfined),
    })
}

/// A relative path without `..`; the API server accepts no other, manifests are not checked.
fn is_beneath(name: &str) -> bool {
    let is_inner = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    Path::new(name).components().all(is_inner)
}

/// The container's AppArmor profile, and its name as runtimes before CRI's structured field read
/// it (containerd before 1.7); without one the runtime decides.
pub(super) fn app_armor(
    pod: &Pod,
    container: &api::Container,
) -> Result<(Option<SecurityProfile>, String), ContainerConfigError> {
    let Some(wanted) = app_armor_profile(pod, container) else {
        return Ok((None, String::new()));
    };
    let (wire, name) = match wanted.type_.as_str() {
        "RuntimeDefault" => (profile(ProfileType::RuntimeDefault), "runtime/default".to_owned()),
        "Unconfined" => (profile(ProfileType::Unconfined), "unconfined".to_owned()),
        "Localhost" => {
            let name = wanted.localhost_profile.clone();
            let name = name.ok_or(ContainerConfigError::AppArmorProfileMissing)?;
            let old = format!("localhost/{name}");
            let localhost = ProfileType::Localhost as i32;
            (SecurityProfile { profile_type: localhost, localhost_ref: name }, old)
        }
        other => return Err(ContainerConfigError::UnknownAppArmorProfile(other.to_owned())),
    };
    Ok((Some(wire), name))
}

#[cfg(test)]
mod tests;
