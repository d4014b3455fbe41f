use super::*;

#[tokio::test]
async fn directories_files_and_broken_links_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_owned();
    std::fs::create_dir(path.join("dir")).unwrap();
    std::fs::write(path.join("file"), "").unwrap();
    for (target, name) in [("dir", "to-dir"), ("file", "to-file"), ("gone", "to-nothing")] {
        std::os::unix::fs::symlink(path.join(target), path.join(name)).unwrap();
    }
    assert_eq!(directories(path.clone()).await.unwrap(), ["dir"]);
    assert_eq!(files(path.clone()).await.unwrap(), ["file"]);
    assert_eq!(broken_links(path.clone()).await.unwrap(), ["to-nothing"]);
    assert!(directories(path.join("none")).await.unwrap().is_empty());
    assert!(broken_links(path.join("none")).await.unwrap().is_empty());
}

#[tokio::test]
async fn tree_goes_without_what_its_links_lead_to() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().to_owned();
    std::fs::create_dir_all(path.join("logs/pod/app")).unwrap();
    std::fs::write(path.join("kept"), "").unwrap();
    std::os::unix::fs::symlink(path.join("kept"), path.join("logs/pod/app/0.log")).unwrap();
    for _ in 0..2 {
        remove_tree(path.join("logs"), "pod".to_owned()).await.unwrap();
    }
    assert!(!path.join("logs/pod").exists());
    assert!(path.join("kept").exists());
}
