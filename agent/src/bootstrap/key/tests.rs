use super::*;

fn certificate_of(key: &NodeKey) -> String {
    CertificateParams::default().self_signed(&*key.0).unwrap().pem()
}

#[test]
fn key_comes_back_from_its_text_as_the_same_key() {
    let key = NodeKey::generate().unwrap();
    let again = NodeKey::parse(&key.pem()).unwrap();
    assert_eq!(again.public_key(), key.public_key());
    assert_eq!(format!("{key:?} {:?}", key.pem()), "NodeKey(..) Secret(..)");
}

#[test]
fn unusable_key_text_is_no_key() {
    let other_kind = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap().serialize_pem();
    for text in ["", "-----BEGIN PRIVATE KEY-----\n", &other_kind] {
        assert!(NodeKey::parse(&Secret::new(text)).is_none(), "{text}");
    }
}

#[test]
fn only_the_own_certificate_belongs_to_a_key() {
    let (key, other) = (NodeKey::generate().unwrap(), NodeKey::generate().unwrap());
    assert!(key.belongs_to(certificate_of(&key).as_bytes()));
    assert!(!key.belongs_to(certificate_of(&other).as_bytes()));
    assert!(!key.belongs_to(b""));
    assert!(!key.belongs_to(b"-----BEGIN CERTIFICATE-----\n"));
}

#[test]
fn request_names_group_and_user_of_the_node() {
    let pem = NodeKey::generate().unwrap().sign_request("worker-1").unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{pem}");
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).map(str::trim).collect();
    let der = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    let position =
        |text: &str| der.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    assert!(position("system:nodes") < position("system:node:worker-1"));
}
