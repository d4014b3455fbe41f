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
    auths.into_iter().map(|auth| auth.username).collect()
}

#[test]
fn credentials_fit_by_host_port_and_path() {
    let cases: [(&[&str], &str, &[&str]); 7] = [
        (&["example.test"], "example.test/a", &["example.test"]),
        (&["example.test"], "example.test:5000/a", &[]),
        (&["*.example.test"], "x.example.test/a", &["*.example.test"]),
        (&["*.example.test"], "x.y.example.test/a", &[]),
        (
            &["example.test", "example.test/team"],
            "example.test/team/a",
            &["example.test/team", "example.test"],
        ),
        (&["https://index.docker.io/v1/"], "busybox", &["https://index.docker.io/v1/"]),
        (&["other.test"], "example.test/a", &[]),
    ];
    for (keys, image, expected) in cases {
        assert_eq!(users(keys, image), expected, "{keys:?} {image}");
    }
}

#[test]
fn user_and_password_are_read_from_auth() {
    let mut keyring = Keyring::default();
    let text = r#"{"example.test": {"auth": "dTpwOnE="}}"#;
    keyring.add_secret(&secret("kubernetes.io/dockercfg", ".dockercfg", text)).unwrap();
    let auth = &keyring.for_image(&ImageReference::parse("example.test/a").unwrap())[0];
    assert_eq!((auth.username.as_str(), auth.password.as_str()), ("u", "p:q"));
    assert!(!format!("{auth:?}").contains("p:q"));
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
