use std::fs;

use super::*;

fn write(prefix: &Path, path: &str, text: &str) {
    let full = prefix.join(path);
    fs::create_dir_all(full.parent().unwrap()).unwrap();
    fs::write(full, text).unwrap();
}

fn machine() -> (tempfile::TempDir, LinuxMachine) {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in [
        ("etc/machine-id", "0123\n"),
        ("etc/os-release", "PRETTY_NAME=\"Test OS 1\"\n"),
        ("proc/sys/kernel/random/boot_id", "b-o-o-t\n"),
        ("proc/sys/kernel/osrelease", "6.1.0\n"),
        ("proc/sys/kernel/hostname", "Node-1\n"),
        ("proc/sys/kernel/pid_max", "4194304\n"),
        ("proc/sys/kernel/threads-max", "1000\n"),
        (
            "proc/meminfo",
            "MemTotal: 1000 kB\nMemFree: 100 kB\nInactive(file): 50 kB\nSwapTotal: 8 kB\n",
        ),
        ("proc/loadavg", "0 0 0 1/77 5\n"),
        ("sys/devices/system/cpu/online", "0-3\n"),
        ("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "3\n"),
        ("sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n"),
    ] {
        write(dir.path(), path, text);
    }
    let machine = LinuxMachine::with_prefix(dir.path(), dir.path().join("not/yet/made"));
    (dir, machine)
}

#[test]
fn identity_falls_back_to_the_machine_id() {
    let (dir, machine) = machine();
    let identity = machine.identity().unwrap();
    assert_eq!(identity.machine_id, "0123");
    assert_eq!(identity.system_uuid, "0123");
    assert_eq!(identity.boot_id, "b-o-o-t");
    assert_eq!(identity.kernel_version, "6.1.0");
    assert_eq!(identity.os_image, "Test OS 1");
    assert_eq!(identity.hostname, "Node-1");
    write(dir.path(), "sys/class/dmi/id/product_uuid", "UUID-1\n");
    assert_eq!(machine.identity().unwrap().system_uuid, "UUID-1");
}

#[test]
fn capacity_is_read_from_proc_and_sys() {
    let (_dir, machine) = machine();
    let capacity = machine.capacity().unwrap();
    assert_eq!(capacity.cpus, 4);
    assert_eq!(capacity.memory_bytes, 1000 << 10);
    assert_eq!(capacity.memory_available_bytes, 150 << 10);
    assert_eq!(capacity.swap_bytes, 8 << 10);
    assert_eq!(capacity.pid_max, 1000);
    assert_eq!(capacity.processes, 77);
    assert_eq!(capacity.huge_pages, [(2 << 20, 6 << 20), (1 << 30, 0)]);
    assert!(capacity.root_fs_bytes > 0);
}

#[test]
fn missing_file_is_named() {
    let (dir, machine) = machine();
    fs::remove_file(dir.path().join("proc/loadavg")).unwrap();
    assert!(machine.capacity().unwrap_err().to_string().contains("proc/loadavg"));
}

#[tokio::test]
async fn real_machine_answers() {
    let machine = LinuxMachine::new("/");
    assert!(machine.capacity().unwrap().cpus > 0);
    assert!(!machine.identity().unwrap().boot_id.is_empty());
    for address in machine.addresses().await.unwrap() {
        assert!(!address.is_loopback());
    }
    assert!(machine.resolve("localhost").await.unwrap().iter().all(IpAddr::is_loopback));
}
