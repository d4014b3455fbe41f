use super::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicBool, Ordering};

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
}

#[test]
fn refusals_are_worded_as_the_kubelet_words_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("dir")).unwrap();
    fs::write(path("file"), "").unwrap();
    for (check, name, wanted) in [
        (HostPathCheck::Directory, "file", "a directory"),
        (HostPathCheck::Directory, "none", "a directory"),
        (HostPathCheck::DirectoryOrCreate, "file", "a directory"),
        (HostPathCheck::File, "dir", "a file"),
        (HostPathCheck::File, "none", "a file"),
        (HostPathCheck::FileOrCreate, "dir", "a file"),
        (HostPathCheck::Socket, "file", "a socket file"),
        (HostPathCheck::Socket, "none", "a socket file"),
        (HostPathCheck::CharDevice, "file", "a character device"),
        (HostPathCheck::CharDevice, "none", "a character device"),
        (HostPathCheck::BlockDevice, "file", "a block device"),
        (HostPathCheck::BlockDevice, "none", "a block device"),
    ] {
        let error = prepare(&path(name), check).unwrap_err();
        let expected = format!("hostPath type check failed: {} is not {wanted}", path(name));
        assert_eq!(error.to_string(), expected, "{check:?}");
    }
    for check in [HostPathCheck::None, HostPathCheck::DirectoryOrCreate] {
        let error = prepare("/a/../b", check).unwrap_err();
        assert_eq!(error.to_string(), "invalid HostPath `/a/../b`: must not contain '..'");
    }
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

#[test]
fn steps_back_are_refused() {
    for check in [HostPathCheck::None, HostPathCheck::Directory] {
        let error = prepare("/tmp/../etc", check).unwrap_err().to_string();
        assert_eq!(error, "invalid HostPath `/tmp/../etc`: must not contain '..'");
    }
    assert!(prepare("/tmp/..x", HostPathCheck::None).is_ok());
}

#[test]
fn link_raced_into_a_missing_file_is_not_written_through() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("kept"), "kept").unwrap();
    fs::set_permissions(path("kept"), fs::Permissions::from_mode(0o600)).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                for target in ["made", "kept"] {
                    let _ = fs::remove_file(path("raced"));
                    let _ = std::os::unix::fs::symlink(target, path("raced"));
                }
                let _ = fs::remove_file(path("raced"));
            }
        });
        let raced = path("raced").to_str().unwrap().to_owned();
        for _ in 0..20_000 {
            let _ = prepare(&raced, HostPathCheck::FileOrCreate);
            // A directory in the place of a link would show, too.
            let _ = prepare(&raced, HostPathCheck::DirectoryOrCreate);
            let _ = fs::remove_dir(path("raced"));
        }
        stop.store(true, Ordering::Relaxed);
        swapper.join().unwrap();
    });
    assert!(!path("made").exists());
    assert_eq!(fs::read_to_string(path("kept")).unwrap(), "kept");
    assert_eq!(fs::metadata(path("kept")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn what_comes_in_between_is_judged_by_what_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let raced = dir.path().join("raced");
    std::os::unix::fs::symlink("nowhere", &raced).unwrap();
    let error = prepare(raced.to_str().unwrap(), HostPathCheck::FileOrCreate).unwrap_err();
    assert!(matches!(error, HostPathError::WrongKind { .. }), "{error}");
}
