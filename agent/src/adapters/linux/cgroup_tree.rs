//! One cgroup hierarchy as a directory tree; the same for both versions.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::boundary::CgroupError;

/// The directory of cgroup `path` (which starts with `/`) below `mount`.
pub(super) fn directory(mount: &Path, path: &Path) -> PathBuf {
    mount.join(path.strip_prefix("/").unwrap_or(path))
}

pub(super) fn failed(action: &'static str, path: &Path, source: io::Error) -> CgroupError {
    CgroupError::Io { action, path: path.display().to_string(), source }
}

/// Names of the directories in `dir`; empty when it does not exist.
pub(super) fn child_names(dir: &Path) -> Result<BTreeSet<String>, CgroupError> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if is_gone(&error) => return Ok(BTreeSet::new()),
        Err(error) => return Err(failed("list", dir, error)),
    };
    let mut names = BTreeSet::new();
    for entry in entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(error) if is_gone(&error) => continue,
            Err(error) => return Err(failed("list", dir, error)),
        };
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.insert(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}

/// `dir` and all directories below it, children before their parents; empty when it does not
/// exist.
pub(super) fn subtree(dir: &Path) -> Result<Vec<PathBuf>, CgroupError> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for name in child_names(dir)? {
        found.extend(subtree(&dir.join(name))?);
    }
    found.push(dir.to_owned());
    Ok(found)
}

/// Processes of one `cgroup.procs` text. The kernel writes 0 for a process of another pid
/// namespace; that one cannot be named and is left out.
pub(super) fn parse_procs(text: &str) -> impl Iterator<Item = i32> {
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0)
}

/// Removes `dir` and everything below it, leaves first.
pub(super) fn remove_tree(dir: &Path) -> Result<(), CgroupError> {
    for dir in subtree(dir)? {
        match std::fs::remove_dir(&dir) {
            Ok(()) => {}
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(failed("remove", &dir, error)),
        }
    }
    Ok(())
}

/// The file's trimmed text; `None` when it cannot be read.
pub(super) fn read_value(dir: &Path, file: &str) -> Option<String> {
    Some(std::fs::read_to_string(dir.join(file)).ok()?.trim().to_owned())
}

/// SIGKILL to each of the processes. A process that is gone already is no error, and neither init
/// nor noded itself is ever killed.
pub(super) fn kill_all(path: &Path, pids: &[i32]) -> Result<(), CgroupError> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    for pid in pids.iter().filter(|pid| **pid > 1 && **pid != own) {
        match kill(Pid::from_raw(*pid), Signal::SIGKILL) {
            Ok(()) | Err(nix::errno::Errno::ESRCH) => {}
            Err(errno) => return Err(failed("kill the processes of", path, errno.into())),
        }
    }
    Ok(())
}

/// True when the cgroup went away between looking and reading; its files then answer ENODEV.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

#[cfg(test)]
pub(super) mod tests;
