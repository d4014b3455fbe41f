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

fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).map(str::trim).collect();
    data_encoding::BASE64.decode(body.as_bytes()).unwrap()
}

#[test]
fn request_names_group_and_user_of_the_node() {
    let pem = NodeKey::generate().unwrap().sign_request(&Wanted::client("worker-1")).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{pem}");
    let der = der(&pem);
    let position =
        |text: &str| der.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    assert!(position("system:nodes") < position("system:node:worker-1"));
}

#[test]
fn request_for_a_server_names_its_addresses() {
    let addresses = [("InternalIP", "10.11.12.13"), ("Hostname", "worker-1.example")];
    let addresses = addresses.map(|(kind, text)| k8s_openapi::api::core::v1::NodeAddress {
        type_: kind.to_owned(),
        address: text.to_owned(),
    });
    let wanted = Wanted::serving("worker-1", &addresses).unwrap();
    let der = der(&NodeKey::generate().unwrap().sign_request(&wanted).unwrap());
    let holds = |bytes: &[u8]| der.windows(bytes.len()).any(|window| window == bytes);
    assert!(holds(b"worker-1.example"));
    assert!(holds(&[10, 11, 12, 13]));
}
