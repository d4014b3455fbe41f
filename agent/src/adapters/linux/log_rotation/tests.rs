use std::io::Read;

use super::*;

fn ground() -> (tempfile::TempDir, LogDir) {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("0.log"), "text").unwrap();
    let dir = LogDir::open(root.path(), &root.path().join("0.log")).unwrap().0;
    (root, dir)
}

#[test]
fn compressed_file_takes_the_place_of_the_plain_one_with_its_permissions() {
    let (root, dir) = ground();
    let path = root.path().join("0.log");
    std::fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
    dir.compress("0.log", "0.log.tmp", "0.log.gz").unwrap();
    assert_eq!(dir.names().unwrap(), ["0.log.gz"]);
    let file = std::fs::File::open(root.path().join("0.log.gz")).unwrap();
    assert_eq!(file.metadata().unwrap().mode() & 0o7777, 0o640);
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    assert_eq!(text, "text");
}

#[test]
fn file_that_cannot_be_compressed_stays_alone() {
    let (root, dir) = ground();
    std::fs::create_dir_all(root.path().join("0.log.gz/x")).unwrap();
    assert!(dir.compress("0.log", "0.log.tmp", "0.log.gz").is_err());
    assert!(dir.size("0.log.tmp").unwrap().is_none());
    assert_eq!(dir.size("0.log").unwrap(), Some(4));
}

#[test]
fn names_that_are_taken_are_not_replaced() {
    let (root, dir) = ground();
    std::fs::write(root.path().join("0.log.1"), "older").unwrap();
    assert!(dir.rename("0.log", "0.log.1").is_err());
    assert_eq!(dir.size("0.log.1").unwrap(), Some(5));
    dir.rename("0.log", "0.log.2").unwrap();
    assert_eq!(dir.size("0.log").unwrap(), None);
    dir.remove("0.log").unwrap();
}
