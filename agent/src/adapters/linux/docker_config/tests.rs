use std::fs;

use super::*;

#[tokio::test]
async fn first_file_that_is_there_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (root, home, top) = (dir.path().join("r"), dir.path().join("h"), dir.path().join("t"));
    for dir in [&root, &home.join(".docker"), &top.join(".docker")] {
        fs::create_dir_all(dir).unwrap();
    }
    let files = DockerConfigFiles::below(&root, Some(&home), &top);
    assert!(files.read().await.is_none());
    // From the last to be looked at to the first.
    let (json, legacy) = ("config.json", ".dockercfg");
    for path in [
        top.join(legacy),
        home.join(legacy),
        root.join(legacy),
        top.join(".docker").join(json),
        home.join(".docker").join(json),
        root.join(json),
    ] {
        fs::write(&path, path.as_os_str().as_encoded_bytes()).unwrap();
        let found = match files.read().await.unwrap() {
            DockerConfigText::Json(found, bytes) => {
                assert!(found.ends_with(json));
                assert_eq!(bytes, found.as_os_str().as_encoded_bytes());
                found
            }
            DockerConfigText::Legacy(found, _) => found,
        };
        assert_eq!(found, path);
    }
}
