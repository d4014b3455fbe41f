//! Pure. Files of a downward API source.
//! Source: kubelet v1.36 `volume/downwardapi/downwardapi.go`.

use k8s_openapi::api::core::v1 as api;

use super::payload::{Payload, file};
use crate::model::Pod;
use crate::podexec::ContainerConfigError;
use crate::podexec::field_ref::{FieldFacts, pod_field, resource_field};

/// One file for each item; its mode, else `mode`.
pub fn downward_payload(
    pod: &Pod,
    items: &[api::DownwardAPIVolumeFile],
    mode: i32,
    facts: &FieldFacts<'_>,
) -> Result<Payload, ContainerConfigError> {
    let mut payload = Payload::new();
    for item in items {
        let text = match (&item.field_ref, &item.resource_field_ref) {
            // The API allows no field of the status in a volume.
            (Some(field), _) => pod_field(pod, &field.field_path, &[], facts)?,
            (None, Some(resource)) => {
                let name = resource.container_name.as_deref().unwrap_or_default();
                let (_, container) = pod
                    .container(name)
                    .ok_or_else(|| ContainerConfigError::UnknownContainer(name.to_owned()))?;
                resource_field(container, resource, facts)?
            }
            (None, None) => String::new(),
        };
        payload.insert(item.path.clone(), file(text.into_bytes(), item.mode.unwrap_or(mode)));
    }
    Ok(payload)
}
