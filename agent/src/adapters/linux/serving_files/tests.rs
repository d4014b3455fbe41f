use super::*;

#[test]
fn the_key_is_readable_by_its_owner_only_and_the_certificate_by_everybody() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(&dir.path().join("pki"));
    assert!(!exist(&paths).unwrap());
    store(&paths, "certificate", &Secret::new("key")).unwrap();
    assert!(exist(&paths).unwrap());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&paths.certificate), mode(&paths.key)), (0o644, 0o600));
}

#[test]
fn a_key_without_its_certificate_is_an_error_that_names_both() {
    let dir = tempfile::tempdir().unwrap();
    let paths = paths(dir.path());
    store(&paths, "certificate", &Secret::new("key")).unwrap();
    fs::remove_file(&paths.certificate).unwrap();
    let error = exist(&paths).unwrap_err().to_string();
    assert!(error.contains("kubelet.crt is missing beside") && error.ends_with("kubelet.key"));
}
