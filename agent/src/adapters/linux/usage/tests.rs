use std::fs;

use super::*;

/// A machine of plain directories with a cgroup v2 tree.
fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, LinuxUsage) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let hierarchies = Hierarchies::V2(dir.path().join("cgroup"));
    let usage = LinuxUsage { hierarchies, prefix: dir.path().to_owned() };
    (dir, usage)
}

#[test]
fn a_cgroup_of_version_2_is_read_from_its_directory() {
    let (_dir, machine) = machine(&[
        ("cgroup/kubepods/pod1/cpu.stat", "usage_usec 7\n"),
        ("cgroup/kubepods/pod1/memory.current", "4096\n"),
        ("cgroup/kubepods/pod1/io.stat", "8:0 rbytes=1 wbytes=2 rios=3 wios=4\n"),
        ("cgroup/kubepods/pod1/cgroup.procs", "12\n0\n13\n"),
        ("sys/dev/block/8:0/uevent", "MAJOR=8\nMINOR=0\nDEVNAME=sda\n"),
    ]);
    let path = Path::new("/kubepods/pod1");
    let usage = machine.cgroup(path, Detail::Full).unwrap();
    assert_eq!(usage.cpu.unwrap().total_ns, 7000);
    assert_eq!(usage.memory.unwrap().usage, 4096);
    assert_eq!(usage.more.unwrap().io[0].device, "/dev/sda");
    assert!(usage.at.is_some());
    assert_eq!(machine.own_pids(path), [12, 13]);
    assert_eq!(machine.cgroup(Path::new("/kubepods/pod2"), Detail::Full), None);
    assert_eq!(machine.own_pids(Path::new("/kubepods/pod2")), Vec::<i32>::new());
}

#[test]
fn the_topmost_cgroup_is_limited_by_the_machine() {
    let (_dir, machine) = machine(&[
        ("cgroup/cpu.stat", "usage_usec 7\n"),
        ("cgroup/memory.stat", "anon 1024\nfile 1024\ninactive_file 512\n"),
        ("proc/meminfo", "MemTotal: 8 kB\nSwapTotal: 4 kB\nSwapFree: 1 kB\n"),
        ("proc/pressure/io", "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n"),
    ]);
    let usage = machine.cgroup(Path::new("/"), Detail::Full).unwrap();
    assert_eq!(usage.memory.unwrap().limit, Some(8192));
    assert_eq!(usage.swap, Some(SwapUsage { usage: 3072, limit: Some(4096) }));
    let pressure = usage.more.unwrap().pressure;
    assert_eq!(pressure.io.unwrap().some.total_us, 5);
    assert_eq!(pressure.cpu, None);
}

#[test]
fn interfaces_are_those_of_the_process() {
    let (_dir, machine) = machine(&[
        ("proc/self/net/dev", "  ens3: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"),
        ("proc/self/net/route", "ens3\t00000000\t1\t3\t0\t0\t0\t00000000\t0\t0\t0\n"),
        ("proc/12/net/dev", "  eth0: 2 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n"),
    ]);
    let host = machine.network(0).unwrap();
    assert_eq!(host.default.as_deref(), Some("ens3"));
    let pod = machine.network(12).unwrap();
    assert_eq!((pod.default, pod.interfaces[0].rx.bytes), (None, 2));
    assert!(machine.network(13).is_err());
}

#[test]
fn descriptors_of_processes_are_counted() {
    let (dir, machine) =
        machine(&[("proc/12/limits", "Max open files  1024  4096  files\n"), ("proc/12/fd/0", "")]);
    std::os::unix::fs::symlink("socket:[1]", dir.path().join("proc/12/fd/1")).unwrap();
    let usage = machine.processes(&[12, 99]);
    assert_eq!(
        usage,
        ProcessUsage {
            processes: 2,
            descriptors: 2,
            sockets: 1,
            soft_limits: vec![("max_open_files", 1024)],
        }
    );
    assert_eq!(machine.processes(&[]), ProcessUsage::default());
}

#[test]
fn cores_of_one_socket_are_told_apart_by_their_number() {
    let cpu = |n: u32, file: &str| format!("sys/devices/system/cpu/cpu{n}/topology/{file}");
    let (_dir, machine) = machine(&[
        (&cpu(0, "core_id"), "0\n"),
        (&cpu(0, "physical_package_id"), "0\n"),
        (&cpu(1, "core_id"), "0\n"),
        (&cpu(1, "physical_package_id"), "0\n"),
        (&cpu(2, "core_id"), "0\n"),
        (&cpu(2, "physical_package_id"), "1\n"),
        ("sys/devices/system/cpu/online", "0-2\n"),
    ]);
    assert_eq!(machine.cpu_topology(), CpuTopology { physical_cores: 2, sockets: 2 });
}

#[test]
fn this_machine_can_be_read() {
    let (dir, _) = machine(&[]);
    let machine =
        LinuxUsage { hierarchies: Hierarchies::V2(dir.path().into()), prefix: "/".into() };
    let fs = machine.file_system(dir.path()).unwrap();
    assert!(fs.capacity >= fs.used && fs.capacity >= fs.available, "{fs:?}");
    assert!(!fs.device.is_empty());
    assert!(machine.boot_time().unwrap() > Timestamp::UNIX_EPOCH);
    assert!(machine.processes(&[i32::try_from(std::process::id()).unwrap()]).descriptors > 0);
}
