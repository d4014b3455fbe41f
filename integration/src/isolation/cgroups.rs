//! The cgroups of a run: one folder for each node in every hierarchy.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a cgroup may stay busy after its members were killed.
const REMOVAL_DEADLINE: Duration = Duration::from_secs(10);

/// Mount points of all cgroup hierarchies, v1 and v2.
#[must_use]
pub fn hierarchies() -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut found: Vec<PathBuf> = text.lines().filter_map(parse_hierarchy).collect();
    found.sort();
    found.dedup();
    found
}

/// The mount point in a line of mountinfo whose file system is a cgroup hierarchy.
fn parse_hierarchy(line: &str) -> Option<PathBuf> {
    let (mount, source) = line.split_once(" - ")?;
    let kind = source.split_whitespace().next()?;
    (kind == "cgroup" || kind == "cgroup2")
        .then(|| mount.split_whitespace().nth(4).map(PathBuf::from))?
}

/// Creates a cgroup of this name at the top of every hierarchy.
pub fn create(name: &str) -> io::Result<()> {
    for hierarchy in hierarchies() {
        let path = hierarchy.join(name);
        fs::create_dir_all(&path)?;
        // A v1 cpuset starts empty, and nothing can be put below an empty one.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let Ok(own) = fs::read_to_string(path.join(file)) else { continue };
            if own.trim().is_empty() && !hierarchy.join("cgroup.controllers").exists() {
                fs::write(path.join(file), fs::read_to_string(hierarchy.join(file))?)?;
            }
        }
    }
    Ok(())
}

/// The topmost cgroups in all hierarchies whose name starts with `prefix`.
#[must_use]
pub fn find(prefix: &str) -> Vec<PathBuf> {
    find_matching(|name| name.starts_with(prefix))
}

fn find_matching(matches: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for hierarchy in hierarchies() {
        for entry in fs::read_dir(hierarchy).into_iter().flatten().flatten() {
            if matches(&entry.file_name().to_string_lossy()) && entry.path().is_dir() {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Kills every member of the cgroups that [`find`] returns for `prefix`, removes them and all
/// below, and returns what could not be removed.
#[must_use]
pub fn remove_all(prefix: &str) -> Vec<String> {
    remove_matching(|name| name.starts_with(prefix))
}

/// [`remove_all`] for the cgroups with exactly this name.
#[must_use]
pub fn remove_named(name: &str) -> Vec<String> {
    remove_matching(|found| found == name)
}

fn remove_matching(matches: impl Fn(&str) -> bool) -> Vec<String> {
    let deadline = Instant::now() + REMOVAL_DEADLINE;
    loop {
        let failed: Vec<String> = find_matching(&matches)
            .iter()
            .filter_map(|path| match remove(path) {
                Err(error) if path.exists() => {
                    Some(format!("cannot remove cgroup {}: {error}", path.display()))
                }
                _ => None,
            })
            .collect();
        if failed.is_empty() || Instant::now() > deadline {
            return failed;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn remove(path: &Path) -> io::Result<()> {
    for entry in fs::read_dir(path)?.flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    for id in fs::read_to_string(path.join("cgroup.procs")).unwrap_or_default().lines() {
        // Zero stands for a process of a namespace that cannot be seen from here.
        if let Some(id) = id.parse().ok().filter(|id| *id > 0) {
            let _ = kill(Pid::from_raw(id), Signal::SIGKILL);
        }
    }
    fs::remove_dir(path)
}
