//! The kernel: /proc, /sys, mounts, cgroups and the interfaces.
//!
//! **What**: the real `Machine`, `Mounter` and `Cgroups`, and the settings of the kernel and of
//! noded's own process that pods rely on.
//! **Invariants**: every root (`/proc`, `/sys`, the cgroup mount) is a field, so that tests run on
//! directories of their own.

pub mod allocator;
pub mod beneath;
mod cgroup_tree;
mod cgroup_v1;
mod cgroup_v2;
mod cgroups;
pub mod credential_files;
mod kernel;
pub mod log_files;
mod machine;
mod mounter;
mod mountinfo;
mod netlink;
pub mod pod_files;
mod proc_parse;
pub mod root_dir;

pub use cgroup_v1::CgroupV1;
pub use cgroup_v2::CgroupV2;
pub use cgroups::{CgroupMode, detect_cgroups, open_cgroups};
pub use kernel::{Kernel, KernelError, OomScore};
pub use machine::LinuxMachine;
pub use mounter::LinuxMounter;
