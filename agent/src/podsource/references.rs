//! Pure. What of a pod only the API server could supply; a static pod may not name any of it.
//! Source: Kubernetes v1.36 `pkg/api/v1/pod`, unconditional from v1.37 on.

use k8s_openapi::api::core::v1 as api;

use super::manifest::Problem;

#[cfg(test)]
mod tests;

/// Every reference to an API object in the spec.
pub fn api_references(spec: &api::PodSpec) -> Vec<Problem> {
    let mut found = Found::default();
    let account = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
    found.note(account.is_some_and(|name| !name.is_empty()), "spec.serviceAccountName", ACCOUNTS);
    let pull_secrets = spec.image_pull_secrets.iter().flatten().count();
    found.note(pull_secrets > 0, "spec.imagePullSecrets", SECRETS);
    let claims = spec.resource_claims.iter().flatten().count();
    found.note(claims > 0, "spec.resourceClaims", "resourceclaims");
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        found.volume(&format!("spec.volumes[{index}]"), volume);
    }
    for (index, container) in spec.containers.iter().enumerate() {
        found.container(&format!("spec.containers[{index}]"), container);
    }
    for (index, container) in spec.init_containers.iter().flatten().enumerate() {
        found.container(&format!("spec.initContainers[{index}]"), container);
    }
    found.0
}

const SECRETS: &str = "secrets";
const CONFIG_MAPS: &str = "configmaps";
const ACCOUNTS: &str = "serviceaccounts";
const CLAIMS: &str = "persistentvolumeclaims";

#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn note(&mut self, present: bool, field: impl Into<String>, resource: &str) {
        if present {
            self.0.push(Problem::new(field, format!("static pods may not reference {resource}")));
        }
    }

    fn volume(&mut self, path: &str, volume: &api::Volume) {
        let kinds = [
            (volume.secret.is_some(), "secret", SECRETS),
            (volume.config_map.is_some(), "configMap", CONFIG_MAPS),
            (volume.persistent_volume_claim.is_some(), "persistentVolumeClaim", CLAIMS),
            (volume.ephemeral.is_some(), "ephemeral", CLAIMS),
            (volume.csi.is_some(), "csi", "csidrivers"),
            (volume.glusterfs.is_some(), "glusterfs", "endpoints"),
            (volume.azure_file.is_some(), "azureFile", SECRETS),
            (secret_of(&volume.cephfs, |v| v.secret_ref.is_some()), "cephfs.secretRef", SECRETS),
            (secret_of(&volume.cinder, |v| v.secret_ref.is_some()), "cinder.secretRef", SECRETS),
            (
                secret_of(&volume.flex_volume, |v| v.secret_ref.is_some()),
                "flexVolume.secretRef",
                SECRETS,
            ),
            (secret_of(&volume.rbd, |v| v.secret_ref.is_some()), "rbd.secretRef", SECRETS),
            (volume.scale_io.is_some(), "scaleIO.secretRef", SECRETS),
            (secret_of(&volume.iscsi, |v| v.secret_ref.is_some()), "iscsi.secretRef", SECRETS),
            (
                secret_of(&volume.storageos, |v| v.secret_ref.is_some()),
                "storageos.secretRef",
                SECRETS,
            ),
        ];
        for (present, kind, resource) in kinds {
            self.note(present, format!("{path}.{kind}"), resource);
        }
        let sources = volume.projected.iter().flat_map(|projected| &projected.sources).flatten();
        for (index, source) in sources.enumerate() {
            let path = format!("{path}.projected.sources[{index}]");
            let kinds = [
                (source.secret.is_some(), "secret", SECRETS),
                (source.config_map.is_some(), "configMap", CONFIG_MAPS),
                (source.service_account_token.is_some(), "serviceAccountToken", ACCOUNTS),
                (
                    source.cluster_trust_bundle.is_some(),
                    "clusterTrustBundle",
                    "clustertrustbundles",
                ),
                (source.pod_certificate.is_some(), "podCertificate", "podcertificaterequests"),
            ];
            for (present, kind, resource) in kinds {
                self.note(present, format!("{path}.{kind}"), resource);
            }
        }
    }

    fn container(&mut self, path: &str, container: &api::Container) {
        for (index, source) in container.env_from.iter().flatten().enumerate() {
            let path = format!("{path}.envFrom[{index}]");
            self.note(source.secret_ref.is_some(), format!("{path}.secretRef"), SECRETS);
            self.note(source.config_map_ref.is_some(), format!("{path}.configMapRef"), CONFIG_MAPS);
        }
        for (index, variable) in container.env.iter().flatten().enumerate() {
            let Some(from) = &variable.value_from else { continue };
            let path = format!("{path}.env[{index}].valueFrom");
            self.note(from.secret_key_ref.is_some(), format!("{path}.secretKeyRef"), SECRETS);
            let named = from.config_map_key_ref.is_some();
            self.note(named, format!("{path}.configMapKeyRef"), CONFIG_MAPS);
        }
        let claims = container.resources.iter().flat_map(|r| &r.claims).flatten().count();
        self.note(claims > 0, format!("{path}.resources.claims"), "resourceclaims");
    }
}

fn secret_of<T>(volume: &Option<T>, names: impl Fn(&T) -> bool) -> bool {
    volume.as_ref().is_some_and(names)
}
