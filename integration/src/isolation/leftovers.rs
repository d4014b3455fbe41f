//! What can still be seen of a run from outside it.

use std::fs;

use super::cgroups;

/// Everything in the caller's namespaces that carries the name of a run: processes by their
/// command line, mounts, cgroups and the run directory. Empty after a clean end.
///
/// Network namespaces need no look of their own: ours are never mounted or named, so they live
/// exactly as long as the processes in them.
#[must_use]
pub fn of_run(name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let directory = std::env::temp_dir().join(name);
    if directory.exists() {
        found.push(format!("directory {}", directory.display()));
    }
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    found.extend(mounts.lines().filter(|l| l.contains(name)).map(|l| format!("mount {l}")));
    found.extend(cgroups::find(name).into_iter().map(|path| format!("cgroup {}", path.display())));
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let id = entry.file_name().to_string_lossy().into_owned();
        if !id.bytes().all(|byte| byte.is_ascii_digit()) || id == std::process::id().to_string() {
            continue;
        }
        let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        if command.contains(name) {
            found.push(format!("process {id}: {command}"));
        }
    }
    found
}
