//! Pure. Where containers mount other volumes into one whose files noded writes.
//!
//! Nobody can make a mount point in a volume that is mounted read-only, so noded makes it.
//! Source: kubelet v1.36 `volume/util/nested_volumes.go`.

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use crate::model::Pod;

/// The directories that must be in the volume of that name, relative to it, none of them within
/// another: the mount paths of all containers that lie below one of the volume's own.
pub fn nested_mount_points(pod: &Pod, volume: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (_, container) in pod.all_containers() {
        let mounts = container.volume_mounts.as_deref().unwrap_or_default();
        let paths: Vec<PathBuf> = mounts.iter().map(|mount| clean(&mount.mount_path)).collect();
        let own = mounts.iter().zip(&paths).filter(|(mount, _)| mount.name == volume);
        for (_, own) in own {
            let below = paths.iter().filter(|path| *path != own && path.starts_with(own));
            let below: Vec<&PathBuf> = below.collect();
            let outermost = below.iter().filter(|path| {
                !below.iter().any(|other| *path != other && path.starts_with(other))
            });
            let relative = outermost.filter_map(|path| path.strip_prefix(own).ok()?.to_str());
            found.extend(relative.map(str::to_owned));
        }
    }
    found
}

/// An absolute path without `.` and `..`; one that is not absolute starts at the root.
fn clean(path: &str) -> PathBuf {
    let mut cleaned = PathBuf::from("/");
    for component in Path::new(path).components() {
        match component {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => drop(cleaned.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    cleaned
}

#[cfg(test)]
mod tests;
