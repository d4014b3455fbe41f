use std::fs;

use super::*;
use crate::boundary::RegistryAuth;
use crate::images::credentials::{CredentialSource, Origin};

const IMAGE: &str = "r.test/a:1";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn secret() -> TrackedAuth {
    let auth = RegistryAuth { password: "hidden".to_owned(), ..RegistryAuth::default() };
    TrackedAuth { auth, source: CredentialSource::Secret(Origin::default()) }
}

fn open(dir: &Path) -> PullRecords {
    PullRecords::open(dir, VerificationPolicy::default())
}

fn local(id: &str, tag: &str) -> LocalImage {
    LocalImage { id: id.to_owned(), tags: vec![tag.to_owned()], ..LocalImage::default() }
}

#[tokio::test]
async fn records_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let records = open(dir.path());
    assert_eq!(records.access(IMAGE, "id").await, Access::Free);
    records.begun(IMAGE).await;
    assert_eq!(records.access(IMAGE, "id").await, Access::Denied, "being pulled by somebody");
    assert_eq!(fs::read_dir(dir.path().join("pulling")).unwrap().count(), 1);
    records.ended(IMAGE, Some(("id", Some(&secret()))), at(1)).await;
    assert_eq!(fs::read_dir(dir.path().join("pulling")).unwrap().count(), 0);

    let again = open(dir.path());
    let Access::With(known) = again.access(IMAGE, "id").await else { panic!("forgotten") };
    assert!(known.accepted(&[secret()]).is_some());
    let files = fs::read_dir(dir.path().join("pulled")).unwrap();
    for file in files {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains("hidden"));
    }
}

#[tokio::test]
async fn failed_pull_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let records = open(dir.path());
    records.begun(IMAGE).await;
    records.begun(IMAGE).await;
    records.ended(IMAGE, None, at(1)).await;
    assert_eq!(records.access(IMAGE, "id").await, Access::Denied, "the other pull goes on");
    records.ended(IMAGE, None, at(1)).await;
    assert_eq!(records.access(IMAGE, "id").await, Access::Free);
    assert!(!open(dir.path()).is_unsettled().await);
}

#[tokio::test]
async fn what_an_interrupted_pull_brought_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).begun(IMAGE).await;
    let records = open(dir.path());
    assert_eq!(records.access(IMAGE, "id").await, Access::Denied);
    records.settle(&[local("id", IMAGE)], at(5)).await;
    assert_eq!(records.access(IMAGE, "id").await, Access::Denied);
    let again = open(dir.path());
    assert_eq!(again.access(IMAGE, "id").await, Access::Denied);
    // The image is removed: what comes back under its name was not pulled.
    again.settle(&[], at(6)).await;
    assert_eq!(again.access(IMAGE, "id").await, Access::Free);
    assert!(!open(dir.path()).is_unsettled().await);
}

#[tokio::test]
async fn damaged_record_counts_as_absent() {
    let dir = tempfile::tempdir().unwrap();
    let records = open(dir.path());
    records.note(IMAGE, "id", Some(&secret()), at(1)).await;
    let file = fs::read_dir(dir.path().join("pulled")).unwrap().next().unwrap().unwrap();
    fs::write(file.path(), "{\"kind\": \"Imag").unwrap();
    fs::write(dir.path().join("pulled/left.tmp"), "half").unwrap();
    assert_eq!(open(dir.path()).access(IMAGE, "id").await, Access::Free);
}
