//! Pure. Mounts of a container: its volumes, the hosts file, the termination log.
//! Source: kubelet v1.36 `kubelet_pods.go`, `kuberuntime/kuberuntime_container.go`.

use std::collections::BTreeMap;
use std::path::Path;

use cri_proto::runtime::v1::{ImageSpec, Mount, MountPropagation};
use k8s_openapi::api::core::v1 as api;

use super::container_config::ContainerConfigError;
use super::supplies::VolumeImage;
use crate::model::Pod;
use crate::volumes::MountedVolumes;

const HOSTS_PATH: &str = "/etc/hosts";

/// Files of the pod's directory that are mounted beside its volumes.
#[derive(Clone, Copy, Debug, Default)]
pub struct PodFiles<'a> {
    /// The managed hosts file; `None` leaves the image's own in place.
    pub hosts: Option<&'a Path>,
    /// The file of this instance for its last words; not mounted when the container has no
    /// `terminationMessagePath`.
    pub termination_log: Option<&'a Path>,
}

/// What the mounts of a container can be of.
#[derive(Clone, Copy, Debug)]
pub struct VolumeSources<'a> {
    pub mounted: &'a MountedVolumes,
    /// Images that the runtime mounts, by name of the volume.
    pub images: &'a BTreeMap<String, VolumeImage>,
}

/// The image volumes that the container mounts, each once, in the order of the pod's volumes.
pub fn image_volumes<'a>(
    pod: &'a Pod,
    container: &'a api::Container,
) -> impl Iterator<Item = (&'a str, &'a api::ImageVolumeSource)> {
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let volumes = pod.spec().volumes.iter().flatten();
    let of_image =
        volumes.filter_map(|volume| Some((volume.name.as_str(), volume.image.as_ref()?)));
    of_image.filter(|(name, _)| mounts.iter().any(|mount| mount.name == *name))
}

/// Mounts in this order: the container's volume mounts as it lists them, the hosts file unless
/// the container mounts something there itself, the termination log. `/etc/resolv.conf` and
/// `/etc/hostname` are the runtime's.
pub fn container_mounts(
    container: &api::Container,
    volumes: VolumeSources<'_>,
    files: PodFiles<'_>,
    recursive_read_only: bool,
) -> Result<Vec<Mount>, ContainerConfigError> {
    let wanted = container.volume_mounts.as_deref().unwrap_or_default();
    let mut mounts = wanted
        .iter()
        .map(|mount| match volumes.images.get(&mount.name) {
            Some(image) => Ok(image_mount(mount, image)),
            None => volume_mount(container, mount, volumes.mounted, recursive_read_only),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let own_hosts = wanted.iter().any(|mount| mount.mount_path == HOSTS_PATH);
    if let Some(hosts) = files.hosts.filter(|_| !own_hosts) {
        mounts.push(file_mount(hosts, HOSTS_PATH));
    }
    let message_path = container.termination_message_path.as_deref().unwrap_or_default();
    if let Some(log) = files.termination_log.filter(|_| !message_path.is_empty()) {
        mounts.push(file_mount(log, &absolute(message_path)));
    }
    Ok(mounts)
}

fn volume_mount(
    container: &api::Container,
    mount: &api::VolumeMount,
    volumes: &MountedVolumes,
    recursive_read_only: bool,
) -> Result<Mount, ContainerConfigError> {
    let volume =
        volumes.get(&mount.name).ok_or_else(|| ContainerConfigError::VolumeNotMounted {
            volume: mount.name.clone(),
            container: container.name.clone(),
        })?;
    let propagation = propagation(mount)?;
    let asked = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
    let recursive = mount.read_only.unwrap_or(false)
        && propagation == MountPropagation::PropagationPrivate
        && match asked {
            "Enabled" if !recursive_read_only => {
                return Err(ContainerConfigError::RecursiveReadOnlyMissing(mount.name.clone()));
            }
            "Enabled" => true,
            "IfPossible" => recursive_read_only,
            _ => false,
        };
    Ok(Mount {
        container_path: absolute(&mount.mount_path),
        host_path: volume.host_path.to_string_lossy().into_owned(),
        readonly: mount.read_only.unwrap_or(false) || volume.read_only,
        selinux_relabel: volume.selinux_relabel,
        propagation: propagation as i32,
        recursive_read_only: recursive,
        ..Default::default()
    })
}

/// The runtime finds the image's files itself; nobody writes to them.
fn image_mount(mount: &api::VolumeMount, image: &VolumeImage) -> Mount {
    Mount {
        container_path: absolute(&mount.mount_path),
        readonly: true,
        image: Some(ImageSpec {
            image: image.reference.clone(),
            user_specified_image: image.named.clone(),
            ..Default::default()
        }),
        image_sub_path: mount.sub_path.clone().unwrap_or_default(),
        propagation: MountPropagation::PropagationPrivate as i32,
        ..Default::default()
    }
}

fn propagation(mount: &api::VolumeMount) -> Result<MountPropagation, ContainerConfigError> {
    match mount.mount_propagation.as_deref() {
        None | Some("None") => Ok(MountPropagation::PropagationPrivate),
        Some("HostToContainer") => Ok(MountPropagation::PropagationHostToContainer),
        Some("Bidirectional") => Ok(MountPropagation::PropagationBidirectional),
        Some(other) => Err(ContainerConfigError::UnknownPropagation(other.to_owned())),
    }
}

fn file_mount(host_path: &Path, container_path: &str) -> Mount {
    Mount {
        container_path: container_path.to_owned(),
        host_path: host_path.to_string_lossy().into_owned(),
        selinux_relabel: true,
        propagation: MountPropagation::PropagationPrivate as i32,
        ..Default::default()
    }
}

/// A path in a container that is not absolute starts at its root.
fn absolute(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

#[cfg(test)]
mod tests;
