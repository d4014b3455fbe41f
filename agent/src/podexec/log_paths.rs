//! Pure. Where the logs of pods and containers lie. Log collectors rely on every part.
//! Source: kubelet v1.36 `kuberuntime/helpers.go`, `kuberuntime/legacy.go`.

use std::path::{Path, PathBuf};

use crate::model::{ContainerId, PodFullName, PodUid};

/// Longest file name ext4 takes.
const MAX_FILE_NAME: usize = 255;

/// `<logs>/<namespace>_<name>_<uid>`, the directory of all logs of a pod.
pub fn pod_log_dir(logs: &Path, pod: &PodFullName, uid: &PodUid) -> PathBuf {
    logs.join(format!("{}_{}_{uid}", pod.namespace, pod.name))
}

/// `<container>/<attempt>.log`, relative to the pod's log directory.
pub fn container_log(container: &str, attempt: u32) -> String {
    format!("{container}/{attempt}.log")
}

/// `<links>/<pod>_<namespace>_<container>-<id>.log`, the flat link to a container's log. A name
/// that would be too long loses the end of its id.
pub fn container_log_link(
    links: &Path,
    pod: &PodFullName,
    container: &str,
    id: &ContainerId,
) -> PathBuf {
    const SUFFIX: &str = ".log";
    let mut name = format!("{}_{}_{container}-{id}", pod.name, pod.namespace);
    let room = MAX_FILE_NAME - SUFFIX.len();
    if name.len() > room {
        let end = (0..=room).rev().find(|index| name.is_char_boundary(*index)).unwrap_or(0);
        name.truncate(end);
    }
    name.push_str(SUFFIX);
    links.join(name)
}

/// The restart count in the name of a log file, `0.log` or a rotated `3.log.20260102-030405`:
/// the last resort when the runtime has forgotten a container's earlier instances.
pub fn attempt_of_log(file_name: &str) -> Option<u32> {
    let (number, rest) = file_name.split_once('.')?;
    (rest == "log" || rest.starts_with("log.")).then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests;
