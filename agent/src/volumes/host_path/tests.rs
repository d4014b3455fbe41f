use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

#[test]
fn types_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("dir")).unwrap();
    fs::write(path("file"), "").unwrap();
    let _listener = UnixListener::bind(path("socket")).unwrap();
    std::os::unix::fs::symlink("dir", path("link")).unwrap();
    let kinds = ["dir", "file", "socket", "link", "none"];
    // one letter for each of the above: y passes, n is refused
    for (check, expected) in [
        (HostPathCheck::None, "yyyyy"),
        (HostPathCheck::Directory, "ynnyn"),
        (HostPathCheck::File, "nynnn"),
        (HostPathCheck::Socket, "nnynn"),
        (HostPathCheck::CharDevice, "nnnnn"),
        (HostPathCheck::BlockDevice, "nnnnn"),
    ] {
        let letter = |name: &&str| if prepare(&path(name), check).is_ok() { 'y' } else { 'n' };
        assert_eq!(kinds.iter().map(letter).collect::<String>(), expected, "{check:?}");
    }
    assert!(prepare("/dev/null", HostPathCheck::CharDevice).is_ok());
    let error = prepare(&path("file"), HostPathCheck::Directory).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("hostPath type check failed: {} is not a directory", path("file"))
    );
}

#[test]
fn missing_paths_are_made_where_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let mode = |name: &str| fs::metadata(path(name)).unwrap().permissions().mode() & 0o777;
    prepare(&path("a/b"), HostPathCheck::DirectoryOrCreate).unwrap();
    assert!(fs::metadata(path("a/b")).unwrap().is_dir());
    assert_eq!(mode("a/b"), 0o755);
    prepare(&path("f"), HostPathCheck::FileOrCreate).unwrap();
    assert_eq!(mode("f"), 0o644);
    assert!(prepare(&path("no/f"), HostPathCheck::FileOrCreate).is_err());
    assert!(prepare(&path("f"), HostPathCheck::DirectoryOrCreate).is_err());
}
