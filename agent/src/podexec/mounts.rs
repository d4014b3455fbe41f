//! Pure. Mounts of a container: its volumes, the hosts file, the termination log.
//! Source: kubelet v1.36 `kubelet_pods.go`, `kuberuntime/kuberuntime_container.go`.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use cri_proto::runtime::v1::{ImageSpec, Mount, MountPropagation};
use k8s_openapi::api::core::v1 as api;

use super::container_config::ContainerConfigError;
use super::env::Variables;
use super::sub_path::sub_path;
use super::supplies::VolumeImage;
use crate::model::Pod;
use crate::volumes::{BoundSubPaths, MountedVolumes};

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
    /// Parts of volumes, by index of the mount that shows them.
    pub sub_paths: &'a BoundSubPaths,
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

/// Mounts in this order: the container's volume mounts as it lists them, the hosts file and the
/// termination log unless the container mounts something there itself. The runtime puts what is
/// mounted inside of another mount over it, whatever the order. `/etc/resolv.conf` and
/// `/etc/hostname` are the runtime's. `variables` are those of the container.
///
/// The kubelet lays its termination log over a mount of the container's own.
pub fn container_mounts(
    container: &api::Container,
    volumes: VolumeSources<'_>,
    files: PodFiles<'_>,
    variables: &Variables,
    recursive_read_only: bool,
) -> Result<Vec<Mount>, ContainerConfigError> {
    let wanted = container.volume_mounts.as_deref().unwrap_or_default();
    let mut mounts = Vec::with_capacity(wanted.len() + 2);
    for (index, mount) in wanted.iter().enumerate() {
        let part = sub_path(mount, variables)?;
        mounts.push(match volumes.images.get(&mount.name) {
            Some(image) => image_mount(mount, image, part),
            None => {
                let bound = volumes.sub_paths.get(&index).map(PathBuf::as_path);
                let volume = Shown { volumes: volumes.mounted, part: &part, bound };
                volume_mount(container, mount, volume, recursive_read_only)?
            }
        });
    }
    let own = |path: &str| wanted.iter().any(|mount| same_place(&mount.mount_path, path));
    if let Some(hosts) = files.hosts.filter(|_| !own(HOSTS_PATH)) {
        mounts.push(file_mount(hosts, HOSTS_PATH));
    }
    let message_path = container.termination_message_path.as_deref().unwrap_or_default();
    let log = files.termination_log.filter(|_| !message_path.is_empty() && !own(message_path));
    if let Some(log) = log {
        mounts.push(file_mount(log, &absolute(message_path)));
    }
    Ok(mounts)
}

/// Whether two paths of a container name the same place as far as their spelling tells.
fn same_place(a: &str, b: &str) -> bool {
    names(a).eq(names(b))
}

fn names(path: &str) -> impl Iterator<Item = Component<'_>> {
    Path::new(path)
        .components()
        .filter(|part| !matches!(part, Component::RootDir | Component::CurDir))
}

/// What a mount shows: a volume, or the part of it that has been bound.
#[derive(Clone, Copy)]
struct Shown<'a> {
    volumes: &'a MountedVolumes,
    part: &'a str,
    bound: Option<&'a Path>,
}

fn volume_mount(
    container: &api::Container,
    mount: &api::VolumeMount,
    shown: Shown<'_>,
    recursive_read_only: bool,
) -> Result<Mount, ContainerConfigError> {
    let missing = || ContainerConfigError::VolumeNotMounted {
        volume: mount.name.clone(),
        container: container.name.clone(),
    };
    let volume = shown.volumes.get(&mount.name).ok_or_else(missing)?;
    let host_path = match shown.bound {
        _ if shown.part.is_empty() => volume.host_path.as_path(),
        Some(bound) => bound,
        // Never all of a volume in place of a part.
        None => return Err(missing()),
    };
    let propagation = propagation(mount)?;
    Ok(Mount {
        container_path: absolute(&mount.mount_path),
        host_path: host_path.to_string_lossy().into_owned(),
        readonly: mount.read_only.unwrap_or(false) || volume.read_only,
        selinux_relabel: volume.selinux_relabel,
        propagation: propagation as i32,
        recursive_read_only: is_recursive(mount, recursive_read_only)?,
        ..Default::default()
    })
}

/// Whether what is mounted below the mount is to be read-only too. `possible` is what the runtime
/// can do.
fn is_recursive(mount: &api::VolumeMount, possible: bool) -> Result<bool, ContainerConfigError> {
    let asked = mount.recursive_read_only.as_deref().unwrap_or("Disabled");
    if asked == "Disabled" {
        return Ok(false);
    }
    let refuse = |why: RecursiveReadOnlyProblem| {
        Err(ContainerConfigError::RecursiveReadOnly { volume: mount.name.clone(), why })
    };
    if !mount.read_only.unwrap_or(false) {
        return refuse(RecursiveReadOnlyProblem::Writable);
    }
    match mount.mount_propagation.as_deref() {
        None | Some("None") => {}
        Some(other) => return refuse(RecursiveReadOnlyProblem::Propagation(other.to_owned())),
    }
    match asked {
        "IfPossible" => Ok(possible),
        "Enabled" if possible => Ok(true),
        "Enabled" => refuse(RecursiveReadOnlyProblem::Runtime),
        other => Err(ContainerConfigError::UnknownRecursiveReadOnly(other.to_owned())),
    }
}

/// Why a mount cannot be recursively read-only, in the kubelet's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecursiveReadOnlyProblem {
    #[error("it is not read-only")]
    Writable,
    #[error("it is not compatible with propagation \"{0}\"")]
    Propagation(String),
    #[error("it is not supported by the runtime")]
    Runtime,
}

/// The runtime finds the image's files itself; nobody writes to them.
fn image_mount(mount: &api::VolumeMount, image: &VolumeImage, part: String) -> Mount {
    Mount {
        container_path: absolute(&mount.mount_path),
        readonly: true,
        image: Some(ImageSpec {
            image: image.reference.clone(),
            user_specified_image: image.named.clone(),
            ..Default::default()
        }),
        image_sub_path: part,
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
