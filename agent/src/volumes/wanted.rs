//! Pure. Volumes that a pod's containers mount, and how each is to be made.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1 as api;

use super::huge_pages::{HugePagesError, is_huge_pages, page_bytes, whole_pages};
use super::layout;
use crate::model::Pod;
use crate::model::quantity::Quantity;
use crate::model::resources;

/// Mode of projected files without one of their own (API v1 default).
const DEFAULT_MODE: i32 = 0o644;

/// One volume to make.
#[derive(Clone, Debug, PartialEq)]
pub struct WantedVolume {
    pub name: String,
    pub kind: VolumeKind,
}

#[derive(Clone, Debug, PartialEq)]
pub enum VolumeKind {
    /// A directory on the node's disk.
    Disk,
    /// A tmpfs; `None` leaves its size to the kernel.
    Memory {
        size_bytes: Option<u64>,
    },
    /// A hugetlbfs; `None` leaves it without a limit.
    HugePages {
        medium: String,
        page_bytes: Result<u64, HugePagesError>,
        size_bytes: Option<u64>,
    },
    HostPath {
        path: String,
        check: HostPathCheck,
    },
    /// A PersistentVolume, through its claim.
    Claim(ClaimVolume),
    Files(FilesVolume),
    /// A kind noded does not make; admission refuses such pods before.
    Unsupported,
}

/// What a pod says of a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimVolume {
    /// Its name, in the pod's namespace.
    pub claim: String,
    pub read_only: bool,
    /// It is made for this pod and no other one may use it.
    pub owned: bool,
}

/// `hostPath.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPathCheck {
    None,
    DirectoryOrCreate,
    Directory,
    FileOrCreate,
    File,
    Socket,
    CharDevice,
    BlockDevice,
}

/// A volume whose files noded writes.
#[derive(Clone, Debug, PartialEq)]
pub struct FilesVolume {
    /// Directory name of the plugin.
    pub plugin: &'static str,
    /// `None` lives on disk, as ConfigMaps do; the others live on a tmpfs of at most this size.
    pub tmpfs: Option<TmpfsSize>,
    pub default_mode: i32,
    /// Later ones win over earlier ones.
    pub sources: Vec<FileSource>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TmpfsSize(pub Option<u64>);

#[derive(Clone, Debug, PartialEq)]
pub enum FileSource {
    ConfigMap { name: String, items: Vec<api::KeyToPath>, optional: bool },
    Secret { name: String, items: Vec<api::KeyToPath>, optional: bool },
    DownwardApi(Vec<api::DownwardAPIVolumeFile>),
    Token { audience: Option<String>, expiration_seconds: i64, path: String },
    Unsupported,
}

/// `expirationSeconds` of a token without one (API v1 default).
const DEFAULT_TOKEN_SECONDS: i64 = 3600;

/// The volumes that at least one container mounts, in the order of the spec, without those that
/// are images, which the runtime mounts. `memory_bytes` is
/// what pods may use of the node; no memory-backed volume is larger. 0 means it is not known.
pub fn wanted_volumes(pod: &Pod, memory_bytes: u64) -> Vec<WantedVolume> {
    let spec = pod.spec();
    let mounted: BTreeSet<&str> = pod
        .all_containers()
        .flat_map(|(_, container)| container.volume_mounts.iter().flatten())
        .map(|mount| mount.name.as_str())
        .collect();
    let bound = memory_bound(spec, memory_bytes);
    spec.volumes
        .iter()
        .flatten()
        .filter(|volume| mounted.contains(volume.name.as_str()) && volume.image.is_none())
        .map(|volume| WantedVolume { name: volume.name.clone(), kind: kind(pod, volume, bound) })
        .collect()
}

/// The pod's own memory limit when it is bounded and below the node's; else the node's.
fn memory_bound(spec: &api::PodSpec, node: u64) -> Option<u64> {
    let node = Some(node).filter(|bytes| *bytes > 0);
    if !resources::all_containers_limit(spec, resources::MEMORY) {
        return node;
    }
    let limit = resources::memory_bytes(&resources::pod_limits(spec));
    let limit = u64::try_from(limit).ok().filter(|bytes| *bytes > 0);
    smaller(limit, node)
}

fn smaller(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

fn kind(pod: &Pod, volume: &api::Volume, bound: Option<u64>) -> VolumeKind {
    if let Some(empty) = &volume.empty_dir {
        return empty_dir(empty, bound, pod.spec());
    }
    if let Some(host) = &volume.host_path {
        return host_path(host);
    }
    if let Some(claim) = claim(pod, volume) {
        return VolumeKind::Claim(claim);
    }
    let tmpfs = Some(TmpfsSize(bound));
    if let Some(map) = &volume.config_map {
        return files(
            layout::CONFIG_MAP,
            None,
            map.default_mode,
            vec![FileSource::ConfigMap {
                name: map.name.clone(),
                items: map.items.clone().unwrap_or_default(),
                optional: map.optional.unwrap_or(false),
            }],
        );
    }
    if let Some(secret) = &volume.secret {
        return files(
            layout::SECRET,
            tmpfs,
            secret.default_mode,
            vec![FileSource::Secret {
                name: secret.secret_name.clone().unwrap_or_default(),
                items: secret.items.clone().unwrap_or_default(),
                optional: secret.optional.unwrap_or(false),
            }],
        );
    }
    if let Some(downward) = &volume.downward_api {
        let items = downward.items.clone().unwrap_or_default();
        let sources = vec![FileSource::DownwardApi(items)];
        return files(layout::DOWNWARD_API, tmpfs, downward.default_mode, sources);
    }
    if let Some(projected) = &volume.projected {
        let sources = projected.sources.iter().flatten().map(projection).collect();
        return files(layout::PROJECTED, tmpfs, projected.default_mode, sources);
    }
    VolumeKind::Unsupported
}

fn files(
    plugin: &'static str,
    tmpfs: Option<TmpfsSize>,
    default_mode: Option<i32>,
    sources: Vec<FileSource>,
) -> VolumeKind {
    let default_mode = default_mode.unwrap_or(DEFAULT_MODE);
    VolumeKind::Files(FilesVolume { plugin, tmpfs, default_mode, sources })
}

fn empty_dir(
    empty: &api::EmptyDirVolumeSource,
    bound: Option<u64>,
    spec: &api::PodSpec,
) -> VolumeKind {
    let limit = empty.size_limit.as_ref().and_then(|limit| Quantity::try_from(limit).ok());
    let limit = limit.and_then(|limit| u64::try_from(limit.value()).ok());
    let limit = limit.filter(|bytes| *bytes > 0);
    match empty.medium.as_deref().unwrap_or_default() {
        "" => VolumeKind::Disk,
        "Memory" => VolumeKind::Memory { size_bytes: smaller(limit, bound) },
        medium if is_huge_pages(medium) => {
            let page_bytes = page_bytes(medium, spec);
            let whole = |limit| Some(whole_pages(limit, *page_bytes.as_ref().ok()?));
            let size_bytes = limit.and_then(whole);
            VolumeKind::HugePages { medium: medium.to_owned(), page_bytes, size_bytes }
        }
        _ => VolumeKind::Unsupported,
    }
}

/// The claim of a volume: one that it names, or one that the controllers make for the pod, whose
/// name follows from the pod's and the volume's.
fn claim(pod: &Pod, volume: &api::Volume) -> Option<ClaimVolume> {
    if let Some(source) = &volume.persistent_volume_claim {
        let (claim, read_only) = (source.claim_name.clone(), source.read_only == Some(true));
        return Some(ClaimVolume { claim, read_only, owned: false });
    }
    volume.ephemeral.as_ref().map(|_| ClaimVolume {
        claim: format!("{}-{}", pod.name(), volume.name),
        read_only: false,
        owned: true,
    })
}

fn host_path(host: &api::HostPathVolumeSource) -> VolumeKind {
    match host_path_check(host) {
        Some(check) => VolumeKind::HostPath { path: host.path.clone(), check },
        None => VolumeKind::Unsupported,
    }
}

/// `None` for a type that does not exist.
pub(super) fn host_path_check(host: &api::HostPathVolumeSource) -> Option<HostPathCheck> {
    Some(match host.type_.as_deref().unwrap_or_default() {
        "" => HostPathCheck::None,
        "DirectoryOrCreate" => HostPathCheck::DirectoryOrCreate,
        "Directory" => HostPathCheck::Directory,
        "FileOrCreate" => HostPathCheck::FileOrCreate,
        "File" => HostPathCheck::File,
        "Socket" => HostPathCheck::Socket,
        "CharDevice" => HostPathCheck::CharDevice,
        "BlockDevice" => HostPathCheck::BlockDevice,
        _ => return None,
    })
}

fn projection(source: &api::VolumeProjection) -> FileSource {
    if let Some(map) = &source.config_map {
        return FileSource::ConfigMap {
            name: map.name.clone(),
            items: map.items.clone().unwrap_or_default(),
            optional: map.optional.unwrap_or(false),
        };
    }
    if let Some(secret) = &source.secret {
        return FileSource::Secret {
            name: secret.name.clone(),
            items: secret.items.clone().unwrap_or_default(),
            optional: secret.optional.unwrap_or(false),
        };
    }
    if let Some(downward) = &source.downward_api {
        return FileSource::DownwardApi(downward.items.clone().unwrap_or_default());
    }
    if let Some(token) = &source.service_account_token {
        return FileSource::Token {
            audience: token.audience.clone().filter(|audience| !audience.is_empty()),
            expiration_seconds: token.expiration_seconds.unwrap_or(DEFAULT_TOKEN_SECONDS),
            path: token.path.clone(),
        };
    }
    FileSource::Unsupported
}

#[cfg(test)]
mod tests;
