use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

const DIRS: Access = Access { mode: 0o755, user: None, group: None };

fn mode(mode: u32) -> Access {
    Access { mode, user: None, group: None }
}

#[test]
fn files_are_written_with_their_parents_and_modes() {
    let root = tempfile::tempdir().unwrap();
    let dir = Beneath::open(root.path()).unwrap();
    let access = Access { mode: 0o640, user: Some(7), group: Some(8) };
    dir.write_new(Path::new("a/b/c"), b"x", access, DIRS).unwrap();
    let meta = root.path().join("a/b/c").metadata().unwrap();
    assert_eq!(meta.permissions().mode() & 0o7777, 0o640);
    assert_eq!((meta.uid(), meta.gid()), (7, 8));
    assert_eq!(dir.read(Path::new("a/b/c")).unwrap(), b"x");
    assert_eq!(dir.files().unwrap().into_iter().collect::<Vec<_>>(), ["a/b/c"]);
    assert!(dir.write_new(Path::new("a/b/c"), b"y", mode(0o644), DIRS).is_err());
}

#[test]
fn links_and_parents_do_not_lead_out() {
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), "x").unwrap();
    let root = tempfile::tempdir().unwrap();
    symlink(outside.path(), root.path().join("out")).unwrap();
    let dir = Beneath::open(root.path()).unwrap();
    for path in ["out/secret", "../x", "/etc/hostname", "out/new"] {
        assert!(dir.read(Path::new(path)).is_err(), "{path}");
        assert!(dir.write_new(Path::new(path), b"", mode(0o644), DIRS).is_err(), "{path}");
    }
    assert!(Beneath::open(&root.path().join("out")).is_err());
    dir.remove("out").unwrap();
    assert!(outside.path().join("secret").exists());
}

#[test]
fn removal_takes_trees_and_forgives_absence() {
    let root = tempfile::tempdir().unwrap();
    let dir = Beneath::open(root.path()).unwrap();
    dir.write_new(Path::new("t/u/v"), b"", mode(0o600), DIRS).unwrap();
    dir.write_new(Path::new("t/w"), b"", mode(0o600), DIRS).unwrap();
    dir.remove("t").unwrap();
    dir.remove("t").unwrap();
    assert_eq!(dir.names().unwrap(), Vec::<String>::new());
}
