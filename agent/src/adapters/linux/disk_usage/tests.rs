use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};

use super::*;

/// What the same names take according to stat.
fn expected(paths: &[&Path]) -> DiskUsage {
    let usage = |path: &&Path| {
        let blocks = fs::symlink_metadata(path).unwrap().blocks();
        DiskUsage { bytes: blocks * BLOCK, inodes: 1 }
    };
    paths.iter().map(usage).fold(DiskUsage::default(), |sum, usage| sum + usage)
}

#[test]
fn a_tree_is_the_sum_of_its_parts() {
    let top = tempfile::tempdir().unwrap();
    let (dir, file) = (top.path().join("a/b"), top.path().join("a/b/file"));
    fs::create_dir_all(&dir).unwrap();
    fs::write(&file, vec![1; 100_000]).unwrap();
    let all = [top.path(), &top.path().join("a"), &dir, &file];
    assert_eq!(tree(top.path()).unwrap(), expected(&all));
    assert_eq!(tree(&file).unwrap(), expected(&[&file]));
}

#[test]
fn a_file_with_two_names_counts_once() {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("one");
    fs::write(&file, vec![1; 50_000]).unwrap();
    fs::hard_link(&file, top.path().join("two")).unwrap();
    assert_eq!(tree(top.path()).unwrap(), expected(&[top.path(), &file]));
}

#[test]
fn a_link_counts_as_itself_and_leads_nowhere() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("large"), vec![1; 500_000]).unwrap();
    let top = tempfile::tempdir().unwrap();
    let link = top.path().join("link");
    symlink(outside.path(), &link).unwrap();
    assert_eq!(tree(top.path()).unwrap(), expected(&[top.path(), &link]));
    assert_eq!(tree(&link).unwrap(), expected(&[&link]));
}

#[test]
fn files_are_those_of_the_directory_itself() {
    let top = tempfile::tempdir().unwrap();
    let file = top.path().join("0.log");
    fs::write(&file, vec![1; 10_000]).unwrap();
    fs::create_dir(top.path().join("below")).unwrap();
    fs::write(top.path().join("below/1.log"), vec![1; 10_000]).unwrap();
    assert_eq!(files(top.path()).unwrap(), expected(&[&file]));
}

#[test]
fn what_is_missing_is_an_error() {
    let top = tempfile::tempdir().unwrap();
    assert_eq!(tree(&top.path().join("no")).unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(files(&top.path().join("no")).unwrap_err().kind(), io::ErrorKind::NotFound);
}
