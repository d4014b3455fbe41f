use std::fs;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::symlink;

use super::*;

fn logs() -> (tempfile::TempDir, SystemLogs) {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("log");
    fs::create_dir_all(root.join("pods/a")).unwrap();
    fs::create_dir_all(root.join("containers")).unwrap();
    fs::write(root.join("pods/a/0.log"), "line\n").unwrap();
    fs::write(dir.path().join("secret"), "secret").unwrap();
    symlink(root.join("pods/a/0.log"), root.join("containers/a.log")).unwrap();
    symlink("../../secret", root.join("containers/out.log")).unwrap();
    symlink(dir.path(), root.join("away")).unwrap();
    (dir, SystemLogs::new(root))
}

fn text(logs: &SystemLogs, path: &str) -> Result<String, ErrorKind> {
    match logs.open(Path::new(path)).map_err(|error| error.kind())? {
        Found::Directory(names) => Ok(format!("{names:?}")),
        Found::File(mut found) => {
            let mut text = String::new();
            found.file.read_to_string(&mut text).unwrap();
            assert_eq!(found.size, text.len() as u64);
            Ok(text)
        }
    }
}

#[test]
fn files_and_directories_below_are_opened_also_through_links() {
    let (_dir, logs) = logs();
    assert_eq!(text(&logs, "pods/a/0.log"), Ok("line\n".to_owned()));
    assert_eq!(text(&logs, "containers/a.log"), Ok("line\n".to_owned()));
    assert_eq!(text(&logs, "pods"), Ok(r#"[("a", true)]"#.to_owned()));
    let root = r#"[("away", false), ("containers", true), ("pods", true)]"#;
    assert_eq!(text(&logs, ""), Ok(root.to_owned()));
}

#[test]
fn nothing_leads_out() {
    let (_dir, logs) = logs();
    for path in [
        "../secret",
        "containers/out.log",
        "away",
        "away/secret",
        "/etc/passwd",
        "pods/../../secret",
    ] {
        assert_eq!(text(&logs, path), Err(ErrorKind::NotFound), "{path}");
    }
    assert_eq!(text(&logs, "none"), Err(ErrorKind::NotFound));
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let (_dir, logs) = logs();
    let pipe = logs.root.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(text(&logs, "pipe"), Err(ErrorKind::PermissionDenied));
}
