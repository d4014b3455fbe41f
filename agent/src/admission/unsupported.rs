//! Pure. Refuses pods that ask for something noded does not do, naming the field: a pod that runs
//! without what it asked for is worse than one that does not run.

use k8s_openapi::api::core::v1 as api;

use crate::model::Pod;

/// A field that cannot be honoured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Path of the field in the pod.
    pub field: String,
    /// For the pod's status and event.
    pub message: String,
}

impl Unsupported {
    fn new(field: impl Into<String>, what: &str) -> Self {
        let field = field.into();
        let message = format!("{field}: {what} not supported by this node");
        Self { field, message }
    }
}

/// The first field of the pod that is not supported; `None` when all are.
pub fn unsupported_field(pod: &Pod) -> Option<Unsupported> {
    let spec = pod.spec();
    pod_field(spec)
        .or_else(|| {
            let volumes = spec.volumes.iter().flatten();
            volumes.enumerate().find_map(|(index, volume)| volume_field(index, volume))
        })
        .or_else(|| {
            let init = spec.init_containers.iter().flatten();
            containers_field("initContainers", init)
        })
        .or_else(|| containers_field("containers", spec.containers.iter()))
        .or_else(|| containers_field("ephemeralContainers", pod.ephemeral_containers().iter()))
}

fn containers_field<'a>(
    list: &str,
    containers: impl Iterator<Item = &'a api::Container>,
) -> Option<Unsupported> {
    let mut numbered = containers.enumerate();
    numbered.find_map(|(index, spec)| container_field(&format!("spec.{list}[{index}]."), spec))
}

fn pod_field(spec: &api::PodSpec) -> Option<Unsupported> {
    let filled = |list: usize| list > 0;
    let checks = [(
        filled(spec.resource_claims.iter().flatten().count()),
        "resourceClaims",
        "dynamic resource allocation is",
    )];
    first(&checks, "spec.")
}

fn volume_field(index: usize, volume: &api::Volume) -> Option<Unsupported> {
    let name = &volume.name;
    let at = |kind: &str| format!("spec.volumes[{index}].{kind}");
    if let Some(kind) = foreign_kind(volume) {
        let what = format!("volume {name:?} of kind {kind} is");
        return Some(Unsupported::new(at(kind), &what));
    }
    let medium = volume.empty_dir.as_ref().and_then(|empty| empty.medium.as_deref());
    let is_made = |medium: &str| {
        matches!(medium, "" | "Memory" | "HugePages") || medium.starts_with("HugePages-")
    };
    if let Some(medium) = medium.filter(|medium| !is_made(medium)) {
        let what = format!("medium {medium:?} of volume {name:?} is");
        return Some(Unsupported::new(at("emptyDir.medium"), &what));
    }
    let projected = volume.projected.as_ref().and_then(|projected| projected.sources.as_ref());
    projected.into_iter().flatten().enumerate().find_map(|(source, projection)| {
        let kind = if projection.cluster_trust_bundle.is_some() {
            "clusterTrustBundle"
        } else if projection.pod_certificate.is_some() {
            "podCertificate"
        } else {
            return None;
        };
        let what = format!("source {kind} of volume {name:?} is");
        Some(Unsupported::new(at(&format!("projected.sources[{source}].{kind}")), &what))
    })
}

/// The field name of a volume's kind when noded cannot make it.
fn foreign_kind(volume: &api::Volume) -> Option<&'static str> {
    let made = volume.empty_dir.is_some()
        || volume.host_path.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
        || volume.persistent_volume_claim.is_some()
        || volume.ephemeral.is_some()
        || volume.image.is_some();
    if made {
        return None;
    }
    let kinds = [
        (volume.csi.is_some(), "csi"),
        (volume.nfs.is_some(), "nfs"),
        (volume.iscsi.is_some(), "iscsi"),
        (volume.fc.is_some(), "fc"),
        (volume.git_repo.is_some(), "gitRepo"),
        (volume.flex_volume.is_some(), "flexVolume"),
    ];
    let known = kinds.iter().find(|(set, _)| *set).map(|(_, kind)| *kind);
    // The rest are cloud disks, which Kubernetes itself mounts through CSI only.
    Some(known.unwrap_or("unknown"))
}

fn container_field(prefix: &str, container: &api::Container) -> Option<Unsupported> {
    let checks = [
        (
            container.volume_devices.as_ref().is_some_and(|devices| !devices.is_empty()),
            "volumeDevices",
            "block volumes are",
        ),
        (
            container.resources.as_ref().is_some_and(|r| r.claims.iter().flatten().count() > 0),
            "resources.claims",
            "dynamic resource allocation is",
        ),
        (
            container
                .security_context
                .as_ref()
                .is_some_and(|security| security.windows_options.is_some()),
            "securityContext.windowsOptions",
            "windows options are",
        ),
    ];
    first(&checks, prefix).or_else(|| rule_field(prefix, container))
}

fn rule_field(prefix: &str, container: &api::Container) -> Option<Unsupported> {
    let rules = container.restart_policy_rules.iter().flatten().enumerate();
    rules.into_iter().find_map(|(index, rule)| {
        let checks =
            [(rule.action == "RestartAllContainers", "action", "restarting all containers is")];
        first(&checks, &format!("{prefix}restartPolicyRules[{index}]."))
    })
}

fn first(checks: &[(bool, &str, &str)], prefix: &str) -> Option<Unsupported> {
    let (_, field, what) = checks.iter().find(|(asked, _, _)| *asked)?;
    Some(Unsupported::new(format!("{prefix}{field}"), what))
}

#[cfg(test)]
mod tests;
