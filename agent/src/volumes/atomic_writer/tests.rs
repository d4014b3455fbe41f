use super::*;
use crate::volumes::payload::{PayloadFile, file};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;
use std::time::Duration;

fn payload(files: &[(&str, &str)]) -> Payload {
    let entry = |&(path, text): &(&str, &str)| (path.to_owned(), file(text.into(), 0o644));
    files.iter().map(entry).collect()
}

fn none() -> BTreeSet<String> {
    BTreeSet::new()
}

fn at(second: u64) -> Timestamp {
    "2026-11-21T04:05:06.7Z".parse::<Timestamp>().unwrap() + Duration::from_secs(second)
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn data(dir: &Path) -> PathBuf {
    fs::read_link(dir.join("..data")).unwrap()
}

#[test]
fn files_show_through_links() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let files = payload(&[("a", "1"), ("d/b", "2"), ("d/e/c", "3")]);
    assert_eq!(publish(dir, &files, &none(), None, at(0)).unwrap(), Written::Replaced);
    assert_eq!(names(dir), ["..2026_11_21_04_05_06.700000000", "..data", "a", "d"]);
    assert_eq!(data(dir), Path::new("..2026_11_21_04_05_06.700000000"));
    assert_eq!(fs::read_link(dir.join("a")).unwrap(), Path::new("..data/a"));
    assert_eq!(fs::read_to_string(dir.join("d/e/c")).unwrap(), "3");
    assert_eq!(fs::metadata(dir.join("d/e")).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn unchanged_content_is_not_rewritten() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let files = payload(&[("a", "1"), ("d/b", "2")]);
    publish(dir, &files, &none(), None, at(0)).unwrap();
    let before = data(dir);
    assert_eq!(publish(dir, &files, &none(), None, at(1)).unwrap(), Written::Unchanged);
    assert_eq!(data(dir), before);
}

#[test]
fn change_replaces_everything_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    publish(dir, &payload(&[("a", "1"), ("gone", "x"), ("d/b", "2")]), &none(), None, at(0))
        .unwrap();
    for (second, change) in [
        (1, payload(&[("a", "2"), ("d/b", "2")])),
        (2, payload(&[("a", "2"), ("d/b", "2"), ("new", "n")])),
        (3, payload(&[("a", "2")])),
        (4, payload(&[])),
    ] {
        assert_eq!(
            publish(dir, &change, &none(), None, at(second)).unwrap(),
            Written::Replaced,
            "{second}"
        );
        let mut expected: Vec<String> =
            change.keys().map(|path| path.split('/').next().unwrap().to_owned()).collect();
        expected.extend([data(dir).to_str().unwrap().to_owned(), "..data".to_owned()]);
        expected.sort();
        assert_eq!(names(dir), expected, "{second}");
        for (path, file) in &change {
            assert_eq!(fs::read(dir.join(path)).unwrap(), file.bytes);
        }
    }
}

#[test]
fn leftovers_of_a_crash_are_cleared() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    publish(dir, &payload(&[("a", "1")]), &none(), None, at(0)).unwrap();
    fs::create_dir_all(dir.join("..2026_11_21_04_05_07.700000000/half")).unwrap();
    std::os::unix::fs::symlink("..nowhere", dir.join("..data_tmp")).unwrap();
    publish(dir, &payload(&[("a", "2")]), &none(), None, at(1)).unwrap();
    assert_eq!(data(dir), Path::new("..2026_11_21_04_05_07.700000001"));
    assert_eq!(names(dir), ["..2026_11_21_04_05_07.700000001", "..data", "a"]);
}

#[test]
fn group_may_read_and_owner_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let private = PayloadFile { owner: Some(5), ..file(b"t".to_vec(), 0o600) };
    let files = Payload::from([("d/token".to_owned(), private)]);
    publish(dir, &files, &none(), Some(9), at(0)).unwrap();
    let token = fs::metadata(dir.join("d/token")).unwrap();
    assert_eq!((token.uid(), token.gid(), token.mode() & 0o7777), (5, 9, 0o640));
    let parent = fs::metadata(dir.join("d")).unwrap();
    assert_eq!((parent.gid(), parent.mode() & 0o7777), (9, 0o2755));
}

#[test]
fn paths_that_lead_out_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let long = "n".repeat(256);
    let long_path = "n/".repeat(2049);
    for (path, message) in [
        ("", "must not be empty"),
        ("./", "must not be empty"),
        ("/a", "must be relative path"),
        ("../a", "must not contain '..'"),
        ("a/../b", "must not contain '..'"),
        ("..data", "must not start with '..'"),
        ("./..data", "must not start with '..'"),
        (long.as_str(), "filenames must be less than or equal to 255 characters"),
        (long_path.as_str(), "must be less than or equal to 4096 characters"),
    ] {
        let written = publish(dir.path(), &payload(&[(path, "x")]), &none(), None, at(0));
        let error = written.unwrap_err().to_string();
        assert_eq!(error, format!("invalid path: {message}: {path:?}"));
    }
    assert_eq!(names(dir.path()), Vec::<String>::new());
}

#[test]
fn spelling_of_a_path_does_not_matter() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let files = payload(&[("./a", "1"), ("d//b/./c", "2")]);
    assert_eq!(publish(dir, &files, &none(), None, at(0)).unwrap(), Written::Replaced);
    assert_eq!(publish(dir, &files, &none(), None, at(1)).unwrap(), Written::Unchanged);
    assert_eq!(fs::read_to_string(dir.join("d/b/c")).unwrap(), "2");
    assert_eq!(names(dir), [data(dir).to_str().unwrap(), "..data", "a", "d"]);
}

#[test]
fn what_a_crash_after_the_swap_left_is_cleared_although_nothing_changed() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let files = payload(&[("a", "1")]);
    publish(dir, &files, &none(), None, at(0)).unwrap();
    fs::create_dir(dir.join("..2026_11_21_04_05_05.1")).unwrap();
    std::os::unix::fs::symlink("..data/gone", dir.join("gone")).unwrap();
    fs::remove_file(dir.join("a")).unwrap();
    assert_eq!(publish(dir, &files, &none(), None, at(1)).unwrap(), Written::Unchanged);
    assert_eq!(names(dir), ["..2026_11_21_04_05_06.700000000", "..data", "a"]);
}

#[test]
fn file_that_cannot_be_written_leaves_the_old_ones_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    publish(dir, &payload(&[("a", "1")]), &none(), None, at(0)).unwrap();
    let before = names(dir);
    // A file cannot be a directory as well.
    publish(dir, &payload(&[("a", "2"), ("a/b", "3")]), &none(), None, at(1)).unwrap_err();
    assert_eq!(names(dir), before);
    assert_eq!(fs::read_to_string(dir.join("a")).unwrap(), "1");
}

#[test]
fn other_volumes_find_their_mount_points_and_keep_them() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    let points = BTreeSet::from(["cache/deep".to_owned(), "d".to_owned()]);
    for (second, text) in [(0, "1"), (1, "2"), (2, "2")] {
        publish(dir, &payload(&[("a", text)]), &points, None, at(second)).unwrap();
        assert_eq!(names(dir), [data(dir).to_str().unwrap(), "..data", "a", "cache", "d"]);
        assert!(dir.join("cache/deep").is_dir());
    }
    assert_eq!(fs::metadata(dir.join("d")).unwrap().permissions().mode() & 0o7777, 0o755);
}

#[test]
fn published_file_can_be_read_back() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    assert_eq!(published(dir, "d/b"), None);
    publish(dir, &payload(&[("d/b", "2")]), &none(), None, at(0)).unwrap();
    assert_eq!(published(dir, "d/b"), Some(b"2".to_vec()));
    assert_eq!(published(dir, "a"), None);
}
