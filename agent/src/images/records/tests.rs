use super::*;
use crate::boundary::RegistryAuth;

fn origin(name: &str) -> Origin {
    Origin { uid: format!("uid-{name}"), namespace: "ns".to_owned(), name: name.to_owned() }
}

fn credential(password: &str, source: CredentialSource) -> TrackedAuth {
    let auth = RegistryAuth { password: password.to_owned(), ..RegistryAuth::default() };
    TrackedAuth { auth, source }
}

fn secret(name: &str, password: &str) -> TrackedAuth {
    credential(password, CredentialSource::Secret(origin(name)))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn pulled_by(credential: Option<&TrackedAuth>) -> PulledRecord {
    let mut record = PulledRecord::new("sha256:x", at(0));
    record.note("r.test/a", credential, at(1));
    record
}

#[test]
fn policy_and_record_decide_about_access() {
    use VerificationPolicy::{
        AlwaysVerify, NeverVerify, NeverVerifyAllowlistedImages, NeverVerifyPreloadedImages,
    };
    let list = |item: &str| NeverVerifyAllowlistedImages(vec![item.to_owned()]);
    let (open, closed) = (pulled_by(None), pulled_by(Some(&secret("s", "p"))));
    let other_name = {
        let mut record = PulledRecord::new("sha256:x", at(0));
        record.note("r.test/b", None, at(1));
        record
    };
    let with = Access::With(closed.credential_mapping["r.test/a"].clone());
    for (policy, record, intended, expected) in [
        (NeverVerify, Some(&closed), true, Access::Free),
        (NeverVerifyPreloadedImages, None, false, Access::Free),
        (NeverVerifyPreloadedImages, None, true, Access::Denied),
        (NeverVerifyPreloadedImages, Some(&open), false, Access::Free),
        (NeverVerifyPreloadedImages, Some(&closed), false, with.clone()),
        (NeverVerifyPreloadedImages, Some(&other_name), false, Access::Denied),
        (list("r.test/a"), Some(&closed), false, Access::Free),
        (list("r.test/*"), Some(&closed), false, Access::Free),
        (list("r.test/a/*"), Some(&closed), false, with.clone()),
        (list("r.test/b"), None, false, Access::Denied),
        (AlwaysVerify, None, false, Access::Denied),
        (AlwaysVerify, Some(&open), false, Access::Free),
    ] {
        let found = access(&policy, "r.test/a", record, intended);
        assert_eq!(found, expected, "{policy:?} {record:?} {intended}");
    }
}

#[test]
fn same_secret_or_same_content_is_accepted() {
    let record = pulled_by(Some(&secret("s", "p")));
    let known = &record.credential_mapping["r.test/a"];
    for (offered, accepted) in [
        (secret("s", "p"), true),
        (secret("s", "changed"), true),
        (secret("other", "p"), true),
        (secret("other", "q"), false),
        (credential("p", CredentialSource::Node), false),
        (credential("p", CredentialSource::ServiceAccount(origin("s"))), false),
    ] {
        let list = [offered];
        assert_eq!(known.accepted(&list).is_some(), accepted, "{list:?}");
    }
    let account = credential("t", CredentialSource::ServiceAccount(origin("robot")));
    let record = pulled_by(Some(&account));
    assert!(record.credential_mapping["r.test/a"].accepted(&[account]).is_some());
}

#[test]
fn pull_for_everybody_replaces_what_single_pods_may() {
    let mut record = pulled_by(Some(&secret("s", "p")));
    assert!(!record.note("r.test/a", Some(&secret("s", "p")), at(2)), "nothing new");
    assert_eq!(record.last_updated_time, at(1));
    assert!(record.note("r.test/a", Some(&credential("n", CredentialSource::Node)), at(3)));
    assert!(!record.note("r.test/a", Some(&secret("t", "q")), at(4)));
    let known = &record.credential_mapping["r.test/a"];
    assert!(known.node_pods_accessible && known.kubernetes_secrets.is_empty());
    let pod = pulled_by(Some(&credential("t", CredentialSource::Pod)));
    let found = access(&VerificationPolicy::default(), "r.test/a", Some(&pod), false);
    assert_eq!(found, Access::Denied);
}

#[test]
fn files_are_the_kubelets() {
    let record = pulled_by(Some(&secret("s", "p")));
    let text = serde_json::to_value(&record).unwrap();
    let hash = secret("s", "p").hash();
    assert_eq!(
        text,
        serde_json::json!({
            "kind": "ImagePulledRecord",
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "lastUpdatedTime": "1970-01-01T00:00:01Z",
            "imageRef": "sha256:x",
            "credentialMapping": {"r.test/a": {"kubernetesSecrets":
                [{"uid": "uid-s", "namespace": "ns", "name": "s", "credentialHash": hash}]}},
        })
    );
    assert_eq!(PulledRecord::parse(text.to_string().as_bytes()), Some(record));
    let intent = serde_json::to_vec(&PullIntent::new("r.test/a:1")).unwrap();
    assert_eq!(PullIntent::parse(&intent).unwrap().image, "r.test/a:1");
    for damaged in [&b""[..], b"{}", b"[1]", &intent[..10]] {
        assert_eq!(PulledRecord::parse(damaged), None);
        assert_eq!(PullIntent::parse(damaged), None);
    }
    // The digest of "a".
    let digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
    assert_eq!(file_name("a"), format!("sha256-{digest}"));
}
