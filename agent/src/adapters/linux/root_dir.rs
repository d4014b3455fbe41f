//! noded's root directory, and facts of the kernel that pods depend on.

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Directories below the root (kubelet v1.36, `pkg/kubelet/kubelet.go`).
const DIRECTORIES: [&str; 4] = ["pods", "plugins", "plugins_registry", "pki"];
const MODE: u32 = 0o750;
/// Archives of containers' memory hold whatever secrets the containers do.
const CHECKPOINTS: (&str, u32) = ("checkpoints", 0o700);

/// Makes the root directory with its subdirectories; existing ones are kept as they are.
pub fn make_root(root: &Path) -> io::Result<()> {
    let make =
        |path: &Path, mode| std::fs::DirBuilder::new().recursive(true).mode(mode).create(path);
    make(root, MODE)?;
    DIRECTORIES.iter().try_for_each(|name| make(&root.join(name), MODE))?;
    make(&checkpoints(root), CHECKPOINTS.1)
}

/// Where archives of containers go.
pub fn checkpoints(root: &Path) -> PathBuf {
    root.join(CHECKPOINTS.0)
}

/// `thermal_throttle` directories of the CPUs that have one, which containers are kept from
/// reading; in order.
pub fn thermal_throttle_paths() -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/sys/devices/system/cpu") else { return Vec::new() };
    let mut paths: Vec<String> = entries
        .flatten()
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.is_dir())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    paths.sort();
    paths
}

/// Whether the kernel enforces AppArmor profiles.
pub fn has_app_armor() -> bool {
    Path::new("/sys/kernel/security/apparmor").exists()
        && std::fs::read("/sys/module/apparmor/parameters/enabled")
            .is_ok_and(|text| text.starts_with(b"Y"))
}

/// Whether the memory controller of this cgroup version can limit swap.
pub fn has_swap_controller(version: u8) -> bool {
    match version {
        1 => Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
        // The root cgroup has no such file; any child shows it.
        _ => std::fs::read_dir("/sys/fs/cgroup").is_ok_and(|mut entries| {
            entries
                .any(|entry| entry.is_ok_and(|entry| entry.path().join("memory.swap.max").exists()))
        }),
    }
}
