use std::fs::File;
use std::os::fd::AsFd;

use nix::sched::{CloneFlags, unshare};

use super::*;

/// Gives this test's thread a mount namespace of its own, which takes all mounts made in it along
/// when it ends. False when that needs a privilege we do not have.
fn own_namespace() -> bool {
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    unshare(CloneFlags::CLONE_NEWNS).is_ok() && mount(NONE, "/", NONE, private, NONE).is_ok()
}

#[test]
fn tmpfs_is_mounted_listed_and_taken_away() {
    if !own_namespace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().canonicalize().unwrap().join("with blank");
    std::fs::create_dir(&target).unwrap();
    LinuxMounter.mount_tmpfs(&target, Some(1 << 20)).unwrap();
    let found = LinuxMounter.list(dir.path()).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].target.as_path(), found[0].fs_type.as_str()), (target.as_path(), "tmpfs"));
    let size = nix::sys::statvfs::statvfs(&target).unwrap();
    assert_eq!(size.blocks() * size.fragment_size(), 1 << 20);
    LinuxMounter.unmount(&target).unwrap();
    assert!(LinuxMounter.list(dir.path()).unwrap().is_empty());
}

/// The line of mountinfo about this target.
fn line(target: &Path) -> String {
    let text = std::fs::read_to_string(MOUNTINFO).unwrap();
    let place = target.to_str().unwrap();
    text.lines().find(|line| line.split(' ').nth(4) == Some(place)).unwrap_or_default().to_owned()
}

#[test]
fn tmpfs_stays_out_of_swap_where_the_kernel_can() {
    if !own_namespace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().canonicalize().unwrap();
    LinuxMounter.mount_tmpfs(&target, None).unwrap();
    let refused = NO_SWAP_REFUSED.load(Ordering::Relaxed);
    assert_eq!(line(&target).contains("noswap"), !refused, "{}", line(&target));
    LinuxMounter.unmount(&target).unwrap();
}

#[test]
fn huge_pages_are_mounted_with_their_size() {
    let no_pages = !Path::new("/sys/kernel/mm/hugepages/hugepages-2048kB").exists();
    if no_pages || !own_namespace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().canonicalize().unwrap();
    LinuxMounter.mount_huge_pages(&target, 2 << 20, Some(4 << 20)).unwrap();
    let shown = line(&target);
    assert!(shown.contains("hugetlbfs") && shown.contains("pagesize=2M"), "{shown}");
    assert!(shown.contains("size=4194304"), "{shown}");
    LinuxMounter.unmount(&target).unwrap();
    assert!(LinuxMounter.mount_huge_pages(&target, 12345, None).is_err());
}

#[test]
fn directory_is_shown_a_second_time_and_restricted_there_alone() {
    if !own_namespace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().canonicalize().unwrap();
    let at = |name: &str| dir.join(name);
    for name in ["source", "target", "other"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    std::os::unix::fs::symlink("source", at("link")).unwrap();
    std::fs::write(at("file"), "").unwrap();
    std::fs::write(at("source/kept"), "x").unwrap();
    LinuxMounter.bind_directory(&at("link"), &at("target")).unwrap();
    LinuxMounter.bind_directory(&at("source"), &at("other")).unwrap();
    let options = [MountOption::ReadOnly, MountOption::NoExec];
    LinuxMounter.restrict(&at("target"), &options).unwrap();
    LinuxMounter.restrict(&at("target"), &options).unwrap();
    assert!(std::fs::write(at("target/new"), "x").is_err());
    std::fs::write(at("other/new"), "x").unwrap();
    assert!(at("target/new").exists() && at("source/new").exists());
    assert!(line(&at("target")).contains(" ro,") && line(&at("target")).contains("noexec"));
    assert!(LinuxMounter.bind_directory(&at("file"), &at("target")).is_err());
    assert!(LinuxMounter.bind_directory(&at("none"), &at("target")).is_err());
    LinuxMounter.unmount(&at("target")).unwrap();
    LinuxMounter.unmount(&at("other")).unwrap();
    assert!(at("source/kept").exists());
}

#[test]
fn unmounting_what_is_not_mounted_succeeds() {
    if !own_namespace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    LinuxMounter.unmount(dir.path()).unwrap();
    LinuxMounter.unmount(&dir.path().join("absent")).unwrap();
}

#[test]
fn open_file_is_bound_wherever_its_name_goes() {
    if !own_namespace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().canonicalize().unwrap().join(name);
    for name in ["part", "other", "target"] {
        std::fs::create_dir(path(name)).unwrap();
    }
    std::fs::write(path("part/f"), "x").unwrap();
    let (part, other) = (File::open(path("part")).unwrap(), File::open(path("other")).unwrap());
    std::fs::rename(path("part"), path("moved")).unwrap();
    std::os::unix::fs::symlink("other", path("part")).unwrap();
    assert!(!LinuxMounter.shows(&path("target"), part.as_fd()));
    LinuxMounter.bind_open(part.as_fd(), &path("target")).unwrap();
    assert!(path("target/f").exists());
    assert!(LinuxMounter.shows(&path("target"), part.as_fd()));
    assert!(!LinuxMounter.shows(&path("target"), other.as_fd()));
    let file = File::open(path("moved/f")).unwrap();
    std::fs::write(path("file"), "").unwrap();
    LinuxMounter.bind_open(file.as_fd(), &path("file")).unwrap();
    assert_eq!(std::fs::read_to_string(path("file")).unwrap(), "x");
    assert!(!LinuxMounter.shows(&path("none"), part.as_fd()));
}

#[test]
fn directory_becomes_a_shared_mount_once() {
    if !own_namespace() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().canonicalize().unwrap();
    LinuxMounter.make_shared(&target).unwrap();
    LinuxMounter.make_shared(&target).unwrap();
    let mounts = LinuxMounter.list(Path::new("/")).unwrap();
    assert!(innermost(&mounts, &target).unwrap().shared);
    assert!(mounts.iter().filter(|mount| mount.target == target).count() <= 1);
    LinuxMounter.unmount(&target).unwrap();
}

#[test]
fn innermost_mount_wins() {
    let mount = |target: &str| MountEntry {
        target: target.into(),
        fs_type: "ext4".into(),
        source: "none".into(),
        shared: false,
    };
    let mounts = [mount("/"), mount("/var/lib"), mount("/var/library")];
    assert_eq!(innermost(&mounts, Path::new("/var/lib/x")).unwrap().target, Path::new("/var/lib"));
}
