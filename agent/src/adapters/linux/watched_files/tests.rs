use std::os::unix::fs::symlink;

use super::*;

#[tokio::test]
async fn a_file_that_is_replaced_or_written_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tls.crt");
    fs::write(&path, "one").unwrap();
    let mut files = WatchedFiles::new(vec![path.clone()]);
    assert_eq!(files.read().unwrap(), [b"one"]);
    fs::write(&path, "two").unwrap();
    files.changed().await;
    assert_eq!(files.read().unwrap(), [b"two"]);
    fs::write(dir.path().join("new"), "three").unwrap();
    fs::rename(dir.path().join("new"), &path).unwrap();
    files.changed().await;
    assert_eq!(files.read().unwrap(), [b"three"]);
}

#[tokio::test]
async fn a_link_that_is_turned_is_seen_as_is_a_change_of_what_it_leads_to() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [("a", "one"), ("b", "two")] {
        fs::create_dir(dir.path().join(name)).unwrap();
        fs::write(dir.path().join(name).join("tls.crt"), text).unwrap();
    }
    let links = dir.path().join("links");
    fs::create_dir(&links).unwrap();
    symlink("../a", links.join("..data")).unwrap();
    symlink("..data/tls.crt", links.join("tls.crt")).unwrap();
    let mut files = WatchedFiles::new(vec![links.join("tls.crt")]);
    assert_eq!(files.read().unwrap(), [b"one"]);
    fs::write(dir.path().join("a/tls.crt"), "three").unwrap();
    files.changed().await;
    assert_eq!(files.read().unwrap(), [b"three"]);
    symlink("../b", links.join("..new")).unwrap();
    fs::rename(links.join("..new"), links.join("..data")).unwrap();
    files.changed().await;
    assert_eq!(files.read().unwrap(), [b"two"]);
}

#[tokio::test]
async fn a_missing_file_is_an_error_that_names_it_until_it_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("later/tls.crt");
    let mut files = WatchedFiles::new(vec![path.clone()]);
    let error = files.read().unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read {}", path.display()));
    fs::create_dir(dir.path().join("later")).unwrap();
    files.changed().await;
    let _ = files.read().unwrap_err();
    fs::write(&path, "one").unwrap();
    files.changed().await;
    assert_eq!(files.read().unwrap(), [b"one"]);
}
