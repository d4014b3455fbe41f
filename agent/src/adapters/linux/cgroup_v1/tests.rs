use std::process::{Child, Command};

use super::*;
use crate::adapters::linux::cgroup_tree::tests::test_cgroup;

/// All v1 hierarchies as plain directories; cgroup files do not appear by themselves there.
fn on_directories() -> (tempfile::TempDir, CgroupV1) {
    let dir = tempfile::tempdir().unwrap();
    let mounts = ["cpu", "cpuacct", "cpuset", "memory", "pids", "hugetlb", "freezer"];
    let mounts = mounts.map(|name| {
        // Co-mounted, as many systems have them.
        let place = if name == "cpuacct" { "cpu" } else { name };
        (name.to_owned(), dir.path().join(place))
    });
    for (_, mount) in &mounts {
        std::fs::create_dir_all(mount).unwrap();
    }
    std::fs::write(dir.path().join("cpuset/cpuset.cpus"), "0-1").unwrap();
    std::fs::write(dir.path().join("cpuset/cpuset.mems"), "0").unwrap();
    let cgroups = CgroupV1::at(mounts).unwrap();
    (dir, cgroups)
}

#[test]
fn missing_controller_is_named() {
    let error = CgroupV1::at([("cpu".to_owned(), PathBuf::from("/x"))]).unwrap_err();
    assert!(error.to_string().contains("cpuset, memory, pids"), "{error}");
}

#[test]
fn limits_are_written_to_each_hierarchy() {
    let (dir, cgroups) = on_directories();
    let path = Path::new("/kubepods/podx");
    cgroups.ensure(path, &CgroupLimits::default()).unwrap();
    // The kernel would have made these.
    for (file, value) in [
        ("cpu/kubepods/podx/cpu.shares", "1024"),
        ("cpu/kubepods/podx/cpu.cfs_quota_us", "-1"),
        ("cpu/kubepods/podx/cpu.cfs_period_us", "100000"),
        ("hugetlb/kubepods/podx/hugetlb.2MB.limit_in_bytes", "9223372036854771712"),
    ] {
        std::fs::write(dir.path().join(file), value).unwrap();
    }
    let limits = CgroupLimits {
        cpu_shares: Some(512),
        cpu_quota_us: Some(50_000),
        cpu_period_us: Some(100_000),
        memory_bytes: Some(1 << 20),
        pids: Some(100),
        huge_pages: vec![("2MB".to_owned(), 0)],
    };
    cgroups.ensure(path, &limits).unwrap();
    for (file, value) in [
        ("cpu/kubepods/podx/cpu.shares", "512"),
        ("cpu/kubepods/podx/cpu.cfs_quota_us", "50000"),
        ("memory/kubepods/podx/memory.limit_in_bytes", "1048576"),
        ("pids/kubepods/podx/pids.max", "100"),
        ("hugetlb/kubepods/podx/hugetlb.2MB.limit_in_bytes", "0"),
    ] {
        assert_eq!(std::fs::read_to_string(dir.path().join(file)).unwrap(), value, "{file}");
    }
    assert_eq!(cgroups.children(Path::new("/kubepods")).unwrap(), ["podx"]);
}

/// A cgroup in the real hierarchies and a process in it, both gone when the test ends.
struct RealCgroup {
    cgroups: CgroupV1,
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

/// `None` where this machine has no writable cgroup v1.
fn real(name: &str) -> Option<RealCgroup> {
    let cgroups = CgroupV1::open().ok()?;
    let path = test_cgroup(&cgroups, name);
    let usable = cgroups.ensure(&path, &CgroupLimits::default()).is_ok();
    usable.then_some(RealCgroup { cgroups, path, child: None })
}

#[test]
fn kernel_takes_the_limits_and_repeating_changes_nothing() {
    let Some(real) = real("limits") else { return };
    let pod = real.path.join("burstable/pod1");
    let limits = CgroupLimits {
        cpu_shares: Some(256),
        cpu_quota_us: Some(20_000),
        cpu_period_us: Some(50_000),
        memory_bytes: Some((64 << 20) + 1),
        pids: Some(64),
        huge_pages: vec![("2MB".to_owned(), 0)],
    };
    real.cgroups.ensure(&pod, &limits).unwrap();
    real.cgroups.ensure(&pod, &limits).unwrap();
    let show = |controller: &str, file: &str| {
        read_value(&real.cgroups.directory_of(controller, &pod).unwrap(), file).unwrap()
    };
    assert_eq!(show("cpu", "cpu.shares"), "256");
    assert_eq!(show("cpu", "cpu.cfs_quota_us"), "20000");
    assert_eq!(show("cpu", "cpu.cfs_period_us"), "50000");
    assert_eq!(show("memory", "memory.limit_in_bytes"), (64 << 20).to_string());
    assert_eq!(show("pids", "pids.max"), "64");
    assert!(!show("cpuset", "cpuset.cpus").is_empty());

    let free = CgroupLimits {
        cpu_quota_us: Some(-1),
        memory_bytes: Some(-1),
        pids: Some(-1),
        ..CgroupLimits::default()
    };
    real.cgroups.ensure(&pod, &free).unwrap();
    assert_eq!(show("cpu", "cpu.cfs_quota_us"), "-1");
    assert_eq!(show("pids", "pids.max"), "max");

    real.cgroups.remove(&real.path).unwrap();
    assert!(real.cgroups.directories(&real.path).iter().all(|dir| !dir.exists()));
}

#[test]
fn killed_cgroup_can_be_removed() {
    let Some(mut real) = real("kill") else { return };
    let inner = real.path.join("inner");
    real.cgroups.ensure(&inner, &CgroupLimits::default()).unwrap();
    let child = Command::new("sleep").arg("600").spawn().unwrap();
    let pid = i32::try_from(child.id()).unwrap();
    real.child = Some(child);
    for controller in ["memory", "pids"] {
        let dir = real.cgroups.directory_of(controller, &inner).unwrap();
        std::fs::write(dir.join("cgroup.procs"), pid.to_string()).unwrap();
    }
    assert_eq!(real.cgroups.pids(&real.path).unwrap(), [pid]);
    assert!(real.cgroups.remove(&real.path).is_err());
    real.cgroups.kill(&real.path).unwrap();
    let status = real.child.take().unwrap().wait().unwrap();
    assert!(!status.success());
    real.cgroups.remove(&real.path).unwrap();
    assert!(real.cgroups.pids(&real.path).unwrap().is_empty());
}
