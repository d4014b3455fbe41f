//! Pure. Which directory below a pod's cgroup is which container's.

use std::path::{Path, PathBuf};

#[cfg(test)]
mod tests;

/// The cgroup of a container among the children of its pod's: named by its id under cgroupfs, and
/// `<runtime>-<id>.scope` under systemd. `None` when it has none.
pub fn container_cgroup(pod: &Path, children: &[String], id: &str) -> Option<PathBuf> {
    let is_named = |child: &&String| {
        let scope = child.strip_suffix(".scope");
        let of_scope = scope.and_then(|scope| scope.strip_suffix(id));
        child.as_str() == id || of_scope.is_some_and(|runtime| runtime.ends_with('-'))
    };
    children.iter().find(is_named).map(|name| pod.join(name))
}
