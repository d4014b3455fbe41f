use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

const GROUP: u32 = 4321;

fn seen(path: &Path) -> (u32, u32) {
    let meta = fs::symlink_metadata(path).unwrap();
    (meta.gid(), meta.mode() & 0o7777)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn bits_are_added_and_none_is_taken() {
    let (file, dir, link) = (SFlag::S_IFREG.bits(), SFlag::S_IFDIR.bits(), SFlag::S_IFLNK.bits());
    let fifo = SFlag::S_IFIFO.bits();
    for (before, after) in [
        (file | 0o600, Some(0o660)),
        (file | 0o400, Some(0o660)),
        (file | 0o755, Some(0o775)),
        (file | 0o4711, Some(0o4771)),
        (fifo, Some(0o660)),
        (dir | 0o700, Some(0o2770)),
        (dir | 0o1777, Some(0o3777)),
        (dir, Some(0o2770)),
        (link | 0o777, None),
    ] {
        assert_eq!(mode_for_group(before), after, "{before:o}");
    }
}

#[test]
fn whole_tree_is_handed_over_and_links_lead_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    let secret = outside.path().join("secret");
    fs::write(&secret, "x").unwrap();
    set_mode(&secret, 0o600);
    let top = tempfile::tempdir().unwrap();
    let at = |name: &str| top.path().join(name);
    fs::create_dir_all(at("a/b")).unwrap();
    fs::write(at("a/b/file"), "x").unwrap();
    fs::write(at("program"), "x").unwrap();
    set_mode(top.path(), 0o700);
    set_mode(&at("a"), 0o700);
    set_mode(&at("a/b/file"), 0o600);
    set_mode(&at("program"), 0o6711);
    symlink(&secret, at("link")).unwrap();
    symlink(outside.path(), at("a/out")).unwrap();
    assert!(!belongs_to_group(top.path(), GROUP));

    let progress = Progress::default();
    let handed = hand_to_group(top.path(), GROUP, &progress).unwrap();
    assert!(handed.refused.is_none(), "{handed:?}");
    assert_eq!(progress.files.load(Ordering::Relaxed), 7);
    assert_eq!(seen(&at("a")), (GROUP, 0o2770));
    assert_eq!(seen(&at("a/b/file")), (GROUP, 0o660));
    assert_eq!(seen(&at("program")), (GROUP, 0o6771));
    assert_eq!(seen(&at("link")).0, GROUP);
    assert_eq!(seen(top.path()), (GROUP, 0o2770));
    assert_ne!(seen(&secret).0, GROUP);
    assert_eq!(seen(&secret).1, 0o600);
    assert_ne!(seen(outside.path()).0, GROUP);
    assert!(belongs_to_group(top.path(), GROUP));
    assert_eq!(group_of(top.path()).unwrap(), GROUP);
    set_mode(top.path(), 0o750);
    assert!(!belongs_to_group(top.path(), GROUP));
}

#[test]
fn walk_that_is_stopped_leaves_the_top_alone() {
    let top = tempfile::tempdir().unwrap();
    fs::write(top.path().join("file"), "x").unwrap();
    let progress = Progress { stop: AtomicBool::new(true), ..Progress::default() };
    let error = hand_to_group(top.path(), GROUP, &progress).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Interrupted);
    assert!(!belongs_to_group(top.path(), GROUP));
}

#[test]
fn paths_longer_than_the_kernel_takes_are_reached() {
    let top = tempfile::tempdir().unwrap();
    let name = "d".repeat(200);
    let mut here = openat(AT_FDCWD, top.path(), OPEN_DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..40 {
        nix::sys::stat::mkdirat(&here, name.as_str(), Mode::S_IRWXU).unwrap();
        here = openat(&here, name.as_str(), OPEN_DIRECTORY, Mode::empty()).unwrap();
    }
    hand_to_group(top.path(), GROUP, &Progress::default()).unwrap();
    assert_eq!(fstat(&here).unwrap().st_gid, GROUP);
}

#[test]
fn what_is_no_directory_is_not_handed_over() {
    let top = tempfile::tempdir().unwrap();
    symlink("/", top.path().join("link")).unwrap();
    assert!(hand_to_group(&top.path().join("link"), GROUP, &Progress::default()).is_err());
    assert!(hand_to_group(&top.path().join("none"), GROUP, &Progress::default()).is_err());
}
