//! The kernel: /proc, /sys, mounts, cgroups, the interfaces and connections to pods.
//!
//! **What**: the real `Machine`, `Mounter`, `Cgroups` and `Dialer`, and the settings of the kernel
//! and of noded's own process that pods rely on.
//! **Invariants**: every root (`/proc`, `/sys`, the cgroup mount) is a field, so that tests run on
//! directories of their own.

pub mod allocator;
pub mod beneath;
mod cgroup_tree;
mod cgroup_usage;
mod cgroup_v1;
mod cgroup_v2;
mod cgroups;
pub mod credential_files;
mod credential_plugin;
mod dialer;
mod disk_usage;
pub mod docker_config;
mod journal;
mod kernel;
pub mod log_files;
pub mod log_reader;
pub mod log_rotation;
pub mod log_watch;
mod machine;
mod manifest_files;
mod mounter;
mod mountinfo;
mod netlink;
pub mod ownership;
pub mod pod_files;
mod proc_parse;
pub mod record_dir;
pub mod root_dir;
pub mod serving_files;
mod streaming_server;
pub mod sub_path;
mod system_logs;
mod systemd;
mod threads;
mod usage;
mod usage_parse;
pub mod user_ids;
mod watched_files;

pub use cgroup_v1::CgroupV1;
pub use cgroup_v2::CgroupV2;
pub use cgroups::{CgroupMode, detect_cgroups, open_cgroups};
pub use credential_plugin::ExecPlugins;
pub use dialer::LinuxDialer;
pub use journal::Journal;
pub use kernel::{Kernel, KernelError, OomScore};
pub use machine::LinuxMachine;
pub use manifest_files::LinuxManifestFiles;
pub use mounter::LinuxMounter;
pub use streaming_server::LocalStreamingServer;
pub use system_logs::{Found, FoundFile, SystemLogs};
pub use systemd::Systemd;
pub use threads::{Thread, Threads};
pub use usage::LinuxUsage;
pub use watched_files::{FileWatch, WatchedFileError, WatchedFiles};
