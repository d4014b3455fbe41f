use k8s_openapi::ByteString;

use super::*;

fn secret(kind: &str, key: &str, text: &str) -> api::Secret {
    api::Secret {
        type_: Some(kind.to_owned()),
        data: Some([(key.to_owned(), ByteString(text.as_bytes().to_vec()))].into()),
        ..api::Secret::default()
    }
}

fn users(keys: &[&str], image: &str) -> Vec<String> {
    let mut keyring = Keyring::default();
    for key in keys {
        let text = format!(r#"{{"auths": {{"{key}": {{"username": "{key}", "password": "p"}}}}}}"#);
        keyring
            .add_secret(&secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", &text))
            .unwrap();
    }
    let auths = keyring.for_image(&ImageReference::parse(image).unwrap());
    auths.into_iter().map(|found| found.auth.username).collect()
}

#[test]
fn credentials_fit_by_host_port_and_path() {
    let cases: [(&[&str], &str, &[&str]); 14] = [
        (&["example.test"], "example.test/a", &["example.test"]),
        (&["example.test"], "example.test:5000/a", &[]),
        (&["example.test:5000"], "example.test:5000/a", &["example.test:5000"]),
        (&["*.example.test"], "x.example.test/a", &["*.example.test"]),
        (&["*.example.test"], "x.y.example.test/a", &[]),
        (&["ex*le.t?st"], "example.test/a", &["ex*le.t?st"]),
        (
            &["example.test", "example.test/team"],
            "example.test/team/a",
            &["example.test/team", "example.test"],
        ),
        (&["example.test/team"], "example.test/other/a", &[]),
        (
            &["https://example.test/v2/team"],
            "example.test/team/a",
            &["https://example.test/v2/team"],
        ),
        (&["https://index.docker.io/v1/"], "busybox", &["https://index.docker.io/v1/"]),
        (&["https://index.docker.io/v1/"], "docker.io/a/b", &["https://index.docker.io/v1/"]),
        (&["docker.io/library", "index.docker.io"], "busybox", &["docker.io/library"]),
        (&["[fd00::1]:5000"], "[fd00::1]:5000/a", &["[fd00::1]:5000"]),
        (&["other.test"], "example.test/a", &[]),
    ];
    for (keys, image, expected) in cases {
        assert_eq!(users(keys, image), expected, "{keys:?} {image}");
    }
}

#[test]
fn user_and_password_are_read_from_auth() {
    // With and without padding, and winning over plain fields.
    for text in [
        r#"{"example.test": {"auth": "dTpwOnE="}}"#,
        r#"{"example.test": {"auth": "dTpwOnE", "username": "x", "password": "y"}}"#,
        r#"{"example.test": {"username": "u", "password": "p:q"}}"#,
    ] {
        let mut keyring = Keyring::default();
        keyring.add_secret(&secret("kubernetes.io/dockercfg", ".dockercfg", text)).unwrap();
        let found = &keyring.for_image(&ImageReference::parse("example.test/a").unwrap())[0];
        assert_eq!((found.auth.username.as_str(), found.auth.password.as_str()), ("u", "p:q"));
        assert!(!format!("{found:?}").contains("p:q"));
    }
}

#[test]
fn equal_credentials_have_equal_hashes() {
    let tracked = |password: &str, source| {
        let auth = RegistryAuth { password: password.to_owned(), ..RegistryAuth::default() };
        TrackedAuth { auth, source }
    };
    let node = tracked("p", CredentialSource::Node);
    assert_eq!(node.hash(), tracked("p", CredentialSource::Pod).hash());
    assert_ne!(node.hash(), tracked("q", CredentialSource::Node).hash());
}

#[test]
fn wrong_secret_names_what_is_missing() {
    let mut keyring = Keyring::default();
    let error = keyring.add_secret(&secret("Opaque", "x", "{}")).unwrap_err();
    assert!(matches!(error, KeyringError::Type(_)));
    let error = keyring
        .add_secret(&secret("kubernetes.io/dockercfg", ".dockercfg", "not json"))
        .unwrap_err();
    assert!(error.to_string().contains(".dockercfg"));
}
