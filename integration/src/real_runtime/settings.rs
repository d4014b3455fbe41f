//! Pure. Configuration files of containerd.

use std::path::Path;

use super::PAUSE_IMAGE;
use crate::ground::{Ground, Lane};

/// Text of the configuration of a containerd of this lane with its files in `directory`. The main
/// lane has two handlers beside the default one: `second`, the same under another name, and `old`,
/// whose runc knows no user namespaces.
pub fn render(lane: Lane, ground: &Ground, directory: &Path) -> String {
    let top = format!(
        "root = {}\nstate = {}\n\n[grpc]\naddress = {}\n\n[ttrpc]\naddress = {}\n",
        text(directory.join("root")),
        text(directory.join("state")),
        text(directory.join("containerd.sock")),
        text(directory.join("containerd.sock.ttrpc")),
    );
    let runc = text(ground.runtime_binaries(lane).join("runc"));
    let old_runc = text(ground.runtime_binaries(Lane::Debian).join("runc"));
    let cni_bin = text(ground.cni_plugins(lane));
    let cni_conf = text(directory.join("cni"));
    let certs = text(directory.join("certs.d"));
    match lane {
        Lane::Main => format!(
            r#"version = 3
{top}
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".containerd]
default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
BinaryName = {runc}
SystemdCgroup = false
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.second]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.second.options]
BinaryName = {runc}
SystemdCgroup = false
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.old]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.old.options]
BinaryName = {old_runc}
SystemdCgroup = false
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dirs = [{cni_bin}]
conf_dir = {cni_conf}
[plugins."io.containerd.cri.v1.images"]
snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.images".registry]
config_path = {certs}
"#
        ),
        Lane::Debian => format!(
            r#"version = 2
{top}
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
default_runtime_name = "runc"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = {runc}
SystemdCgroup = false
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = {cni_bin}
conf_dir = {cni_conf}
[plugins."io.containerd.grpc.v1.cri".registry]
config_path = {certs}
"#
        ),
    }
}

/// A path as a TOML string. Paths of a run hold no quotes or backslashes.
fn text(path: impl AsRef<Path>) -> String {
    format!("\"{}\"", path.as_ref().display())
}
