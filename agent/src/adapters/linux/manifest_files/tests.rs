use std::future::Future;
use std::time::Duration;

use super::*;

/// Far more than the kernel needs.
const SOON: Duration = Duration::from_secs(10);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("nothing was noticed")
}

fn names(files: &[ManifestFile]) -> Vec<String> {
    let name = |file: &ManifestFile| file.path.file_name().unwrap().to_string_lossy().into_owned();
    files.iter().map(name).collect()
}

#[tokio::test]
async fn directory_lists_its_visible_files_in_order() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b.yaml", "a.json", ".hidden"] {
        fs::write(dir.path().join(name), name).unwrap();
    }
    fs::create_dir(dir.path().join("folder")).unwrap();
    nix::unistd::mkfifo(&dir.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink(dir.path().join("b.yaml"), dir.path().join("c.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", dir.path().join("d.yaml")).unwrap();
    let files = LinuxManifestFiles::new(dir.path()).list().await.unwrap().unwrap();
    assert_eq!(names(&files), ["a.json", "b.yaml", "c.yaml"]);
    assert_eq!(files[2].content, Ok(b"b.yaml".to_vec()));
}

#[tokio::test]
async fn single_file_is_its_own_list() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pod.yaml");
    let files = LinuxManifestFiles::new(&path);
    assert_eq!(files.list().await.unwrap(), None);
    fs::write(&path, "x").unwrap();
    assert_eq!(names(&files.list().await.unwrap().unwrap()), ["pod.yaml"]);
    fs::write(&path, "y").unwrap();
    soon(files.changed()).await;
}

#[tokio::test]
async fn every_way_to_change_a_file_is_noticed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let files = LinuxManifestFiles::new(dir.path());
    files.list().await.unwrap();
    fs::write(path("a"), "1").unwrap();
    soon(files.changed()).await;
    fs::rename(path("a"), path("b")).unwrap();
    soon(files.changed()).await;
    std::os::unix::fs::symlink(path("b"), path("link")).unwrap();
    soon(files.changed()).await;
    fs::remove_file(path("b")).unwrap();
    soon(files.changed()).await;
}

#[tokio::test]
async fn directory_that_comes_back_is_watched_again() {
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("manifests");
    fs::create_dir(&dir).unwrap();
    let files = LinuxManifestFiles::new(&dir);
    files.list().await.unwrap();
    fs::remove_dir(&dir).unwrap();
    soon(files.changed()).await;
    assert_eq!(files.list().await.unwrap(), None);
    fs::create_dir(&dir).unwrap();
    assert_eq!(files.list().await.unwrap(), Some(Vec::new()));
    fs::write(dir.join("a"), "1").unwrap();
    soon(files.changed()).await;
}
