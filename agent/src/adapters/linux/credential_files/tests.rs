use std::os::unix::fs::PermissionsExt;

use super::*;

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

#[test]
fn pending_key_outlives_a_restart_until_it_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let files = CredentialFiles::new(dir.path().join("deep/pki"), "kubelet-client");
    assert_eq!(files.pending_key().unwrap(), None);
    files.forget_pending_key().unwrap();
    files.keep_pending_key(&Secret::new("one")).unwrap();
    files.keep_pending_key(&Secret::new("two")).unwrap();
    let again = CredentialFiles::new(dir.path().join("deep/pki"), "kubelet-client");
    assert_eq!(again.pending_key().unwrap(), Some(Secret::new("two")));
    assert_eq!(mode(&dir.path().join("deep/pki/kubelet-client.key.tmp")), 0o600);
    again.forget_pending_key().unwrap();
    assert_eq!(files.pending_key().unwrap(), None);
}

#[test]
fn link_names_the_newest_credential() {
    let dir = tempfile::tempdir().unwrap();
    let files = CredentialFiles::new(dir.path(), "kubelet-client");
    files.store(b"cert1", &Secret::new("key1"), at("2026-01-02T03:04:05Z")).unwrap();
    let link = files.store(b"cert2\n", &Secret::new("key2"), at("2026-01-02T03:04:06Z")).unwrap();
    assert_eq!(link, dir.path().join("kubelet-client-current.pem"));
    assert_eq!(fs::read(&link).unwrap(), b"cert2\nkey2");
    let first = dir.path().join("kubelet-client-2026-01-02-03-04-05.pem");
    assert_eq!(fs::read(&first).unwrap(), b"cert1\nkey1");
    assert_eq!((mode(&first), mode(&link)), (0o600, 0o600));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 3, "nothing else is left");
    assert_eq!(files.read_current().unwrap().unwrap(), b"cert2\nkey2");
    let serving = CredentialFiles::new(dir.path(), "kubelet-server");
    assert_eq!(serving.read_current().unwrap(), None);
    let link = serving.store(b"c", &Secret::new("k"), at("2026-01-02T03:04:05Z")).unwrap();
    assert_eq!(link, dir.path().join("kubelet-server-current.pem"));
    assert!(dir.path().join("kubelet-server-2026-01-02-03-04-05.pem").exists());
}

#[test]
fn leftover_of_an_interrupted_write_is_replaced_and_not_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, elsewhere) = (dir.path().join("kubelet.conf"), dir.path().join("elsewhere"));
    fs::write(&elsewhere, "kept").unwrap();
    symlink(&elsewhere, dir.path().join("kubelet.conf.new")).unwrap();
    write_private(&path, &[b"text"]).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"text");
    assert_eq!(fs::read(&elsewhere).unwrap(), b"kept");
}

#[test]
fn failure_names_the_file() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let error = write_private(&dir.path().join("file/x"), &[b""]).unwrap_err();
    assert!(error.to_string().ends_with("file/x"), "{error}");
}
