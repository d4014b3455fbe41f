//! Pure. Which AppArmor profile a container asks for.
//! Source: Kubernetes v1.36 `pkg/security/apparmor/helpers.go`.

use std::borrow::Cow;

use k8s_openapi::api::core::v1 as api;

use super::Pod;

/// Beginning of the annotations of before v1.30; the container's name follows.
const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The container's own profile, else that of its annotation, else the pod's. The API server turns
/// annotations into fields; manifests may still have them alone.
pub fn app_armor_profile<'a>(
    pod: &'a Pod,
    container: &'a api::Container,
) -> Option<Cow<'a, api::AppArmorProfile>> {
    let own = container.security_context.as_ref().and_then(|s| s.app_armor_profile.as_ref());
    let of_pod = || pod.spec().security_context.as_ref()?.app_armor_profile.as_ref();
    own.map(Cow::Borrowed)
        .or_else(|| from_annotation(pod, &container.name).map(Cow::Owned))
        .or_else(|| of_pod().map(Cow::Borrowed))
}

/// `None` for one that is not there or says nothing known.
fn from_annotation(pod: &Pod, container: &str) -> Option<api::AppArmorProfile> {
    let annotations = pod.object().metadata.annotations.as_ref()?;
    let text = annotations.get(&format!("{ANNOTATION}{container}"))?;
    let of_type = |name: &str, localhost_profile| api::AppArmorProfile {
        type_: name.to_owned(),
        localhost_profile,
    };
    match text.as_str() {
        "runtime/default" => Some(of_type("RuntimeDefault", None)),
        "unconfined" => Some(of_type("Unconfined", None)),
        other => {
            let name = other.strip_prefix("localhost/")?;
            Some(of_type("Localhost", Some(name.to_owned())))
        }
    }
}
