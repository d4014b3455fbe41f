use super::*;
use crate::adapters::linux::beneath::Beneath;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::fcntl::{AT_FDCWD, openat};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, mkdirat};

#[test]
fn names_of_any_bytes_go() {
    let top = tempfile::tempdir().unwrap();
    let tree = top.path().join("tree");
    fs::create_dir(&tree).unwrap();
    for name in
        [&b"\xff\xfe"[..], b"new\nline", b"-rf", b" ", b"*", b"\\", b"...", b".noded-removal-1"]
    {
        let path = tree.join(OsStr::from_bytes(name));
        fs::create_dir(&path).unwrap();
        fs::write(path.join(OsStr::from_bytes(name)), "x").unwrap();
    }
    fs::write(tree.join("n".repeat(255)), "x").unwrap();
    Beneath::open(top.path()).unwrap().remove("tree").unwrap();
    assert!(!tree.exists());
}

#[test]
fn tree_of_any_depth_goes() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir(top.path().join("tree")).unwrap();
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut here = openat(AT_FDCWD, &top.path().join("tree"), flags, Mode::empty()).unwrap();
    // Deeper than the stack, the open files and the kernel's longest path would carry.
    let name = "d".repeat(100);
    for _ in 0..3000 {
        mkdirat(&here, name.as_str(), Mode::S_IRWXU).unwrap();
        here = openat(&here, name.as_str(), flags, Mode::empty()).unwrap();
    }
    drop(here);
    Beneath::open(top.path()).unwrap().remove("tree").unwrap();
    assert!(!top.path().join("tree").exists());
}

#[test]
fn directory_of_many_files_goes() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir(top.path().join("tree")).unwrap();
    for number in 0..3 * BATCH {
        fs::write(top.path().join(format!("tree/{number}")), "").unwrap();
    }
    Beneath::open(top.path()).unwrap().remove("tree").unwrap();
    assert!(!top.path().join("tree").exists());
}

#[test]
fn links_are_removed_and_not_followed() {
    let top = tempfile::tempdir().unwrap();
    fs::create_dir_all(top.path().join("kept/deep")).unwrap();
    fs::create_dir(top.path().join("tree")).unwrap();
    symlink("../kept", top.path().join("tree/relative")).unwrap();
    symlink(top.path().join("kept"), top.path().join("tree/absolute")).unwrap();
    Beneath::open(top.path()).unwrap().remove("tree").unwrap();
    assert!(top.path().join("kept/deep").exists() && !top.path().join("tree").exists());
}

/// A mount namespace of this test's thread alone; false without the right to make one.
fn own_namespace() -> bool {
    let none: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    unshare(CloneFlags::CLONE_NEWNS).is_ok() && mount(none, "/", none, private, none).is_ok()
}

fn bind(source: &Path, target: &Path) {
    let none: Option<&str> = None;
    mount(Some(source), target, none, MsFlags::MS_BIND, none).unwrap();
}

#[test]
fn mount_in_the_way_is_an_error_and_keeps_what_it_shows() {
    if !own_namespace() {
        return;
    }
    let top = tempfile::tempdir().unwrap();
    fs::create_dir_all(top.path().join("kept/deep")).unwrap();
    fs::write(top.path().join("kept/deep/f"), "x").unwrap();
    // Below each other, so that one is met after the way up of what lies deep.
    let mut deep = top.path().join("tree");
    for _ in 0..40 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir(deep.join("mount")).unwrap();
    // The same file system, which a comparison of devices would not tell apart.
    bind(&top.path().join("kept"), &deep.join("mount"));
    fs::write(deep.join("file"), "").unwrap();
    bind(&top.path().join("kept/deep/f"), &deep.join("file"));
    let dir = Beneath::open(top.path()).unwrap();
    for _ in 0..3 {
        assert!(dir.remove("tree").is_err());
        assert_eq!(fs::read_to_string(top.path().join("kept/deep/f")).unwrap(), "x");
    }
}
