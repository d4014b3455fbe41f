use std::process::{Child, Command};

use super::*;
use crate::adapters::linux::cgroup_tree::tests::test_cgroup;

#[test]
fn weight_is_linear_in_the_shares() {
    for (shares, weight) in
        [(0, 1), (2, 1), (102, 4), (1024, 39), (2048, 79), (262_144, 10_000), (1 << 30, 10_000)]
    {
        assert_eq!(cpu_weight(shares), weight, "{shares} shares");
    }
}

fn on_directory(controllers: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("cgroup.controllers"), controllers).unwrap();
    dir
}

#[test]
fn missing_controllers_are_named() {
    let dir = on_directory("cpu io\n");
    let error = CgroupV2::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("cpuset, memory, pids"), "{error}");
}

#[test]
fn limits_are_written_in_the_units_of_v2() {
    let dir = on_directory("cpuset cpu memory pids hugetlb\n");
    let cgroups = CgroupV2::open(dir.path()).unwrap();
    let limits = CgroupLimits {
        cpu_shares: Some(1024),
        cpu_quota_us: Some(50_000),
        cpu_period_us: None,
        memory_bytes: Some(4096),
        pids: Some(-1),
        huge_pages: vec![("2MB".to_owned(), 0)],
    };
    cgroups.ensure(Path::new("/kubepods/podx"), &limits).unwrap();
    let show = |file: &str| read_value(&dir.path().join("kubepods/podx"), file).unwrap();
    assert_eq!(show("cpu.weight"), "39");
    assert_eq!(show("cpu.max"), "50000 100000");
    assert_eq!(show("memory.max"), "4096");
    assert_eq!(show("pids.max"), "max");
    assert_eq!(show("hugetlb.2MB.max"), "0");
    // Parents hand the controllers down, the leaf does not.
    assert!(dir.path().join("cgroup.subtree_control").exists());
    assert!(dir.path().join("kubepods/cgroup.subtree_control").exists());
    assert!(!dir.path().join("kubepods/podx/cgroup.subtree_control").exists());
}

#[test]
fn handed_down_controllers_are_not_written_again() {
    let dir = on_directory("cpuset cpu memory pids\n");
    let control = dir.path().join("cgroup.subtree_control");
    std::fs::write(&control, "pids cpu memory cpuset").unwrap();
    let cgroups = CgroupV2::open(dir.path()).unwrap();
    cgroups.ensure(Path::new("/a"), &CgroupLimits::default()).unwrap();
    assert_eq!(std::fs::read_to_string(control).unwrap(), "pids cpu memory cpuset");
}

#[test]
fn quota_without_limit_is_max() {
    let dir = on_directory("cpuset cpu memory pids\n");
    let cgroups = CgroupV2::open(dir.path()).unwrap();
    let limits = CgroupLimits { cpu_quota_us: Some(-1), ..CgroupLimits::default() };
    cgroups.ensure(Path::new("/a"), &limits).unwrap();
    assert_eq!(read_value(&dir.path().join("a"), "cpu.max").unwrap(), "max 100000");
}

/// A cgroup in a real v2 tree and a process in it, both gone when the test ends.
struct RealCgroup {
    cgroups: CgroupV2,
    path: PathBuf,
    child: Option<Child>,
}

impl Drop for RealCgroup {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = self.cgroups.remove(&self.path);
    }
}

#[test]
fn kernel_kills_and_removes_a_real_cgroup() {
    let mounts = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let Some(cgroups) = mounts.iter().find_map(|mount| CgroupV2::with_what_there_is(*mount).ok())
    else {
        return;
    };
    let path = test_cgroup(&cgroups, "v2");
    let mut real = RealCgroup { cgroups, path, child: None };
    let inner = real.path.join("inner");
    if real.cgroups.ensure(&inner, &CgroupLimits::default()).is_err() {
        return;
    }
    let child = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    real.child = Some(child);
    let procs = directory(&real.cgroups.mount, &inner).join("cgroup.procs");
    std::fs::write(procs, pid.to_string()).unwrap();
    assert_eq!(real.cgroups.pids(&real.path).unwrap(), [pid]);
    assert_eq!(real.cgroups.children(&real.path).unwrap(), ["inner"]);
    real.cgroups.kill(&real.path).unwrap();
    assert!(!real.child.take().unwrap().wait().unwrap().success());
    real.cgroups.remove(&real.path).unwrap();
    assert!(!directory(&real.cgroups.mount, &real.path).exists());
}
