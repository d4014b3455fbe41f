use super::*;
use crate::testing::signer::{Signer, Words};

fn now() -> Timestamp {
    "2026-11-29T12:00:00Z".parse().unwrap()
}

/// A credential of that node, signed so many seconds ago, with so many left.
fn credential(node: &str, validity: (i64, i64)) -> Credential {
    let (certificate, key) = Signer::default().pair(&Words::around(node, now(), validity));
    Credential::from_pem(format!("{certificate}{key}").as_bytes(), Path::new("a.pem")).unwrap()
}

fn seen(credentials: &[&Credential]) -> BTreeSet<Vec<u8>> {
    credentials.iter().map(|credential| fingerprint(credential)).collect()
}

#[test]
fn best_certificate_names_the_node_has_not_ended_and_is_the_newest() {
    let good = credential("a", (100, 100));
    let worse = [
        credential("b", (10, 100)),
        credential("a", (99, -1)),
        credential("a", (200, 900)),
        credential("b", (10, -1)),
    ];
    let wanted = Wanted::client("a");
    for other in &worse {
        for both in [[&good, other], [other, &good]] {
            let best = choose(both, Some(&wanted), now()).unwrap();
            assert!(best.is(&good), "{:?}", other.facts);
        }
    }
    assert!(choose([], Some(&wanted), now()).is_none());
}

#[test]
fn certificate_put_there_is_taken_if_it_serves_as_well() {
    let current = credential("a", (100, 100));
    let wanted = Wanted::client("a");
    let older = credential("a", (500, 100));
    let table = [
        (credential("a", (10, 100)), true),
        // Whoever put it there wants it used, also when it was signed earlier.
        (older.clone(), true),
        (credential("a", (10, -1)), false),
        (credential("b", (10, 100)), false),
    ];
    for (put, taken) in table {
        let found = [current.clone(), put.clone()];
        let next = successor(Some(&current), &seen(&[&current]), &found, Some(&wanted), now());
        assert_eq!(next.is_some_and(|next| next.is(&put)), taken, "{:?}", put.facts);
        // In place of the one in use, too.
        let found = [put];
        let next = successor(Some(&current), &seen(&[&current]), &found, Some(&wanted), now());
        assert_eq!(next.is_some(), taken);
    }
}

#[test]
fn certificate_that_was_passed_over_is_not_taken_later() {
    let (current, older) = (credential("a", (100, 100)), credential("a", (500, 100)));
    let found = [older.clone(), current.clone()];
    let seen = seen(&[&current, &older]);
    assert!(successor(Some(&current), &seen, &found, None, now()).is_none());
    // Unless the newer one is gone.
    let next = successor(Some(&current), &seen, &found[..1], None, now()).unwrap();
    assert!(next.is(&older));
}

#[test]
fn file_without_a_usable_pair_is_named_and_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = Signer::default().pair(&Words::around("a", now(), (1, 1)));
    let (_, other_key) = Signer::default().pair(&Words::around("a", now(), (1, 1)));
    let table = [
        (String::new(), "no certificate in PEM form"),
        (certificate.clone(), "no private key in PEM form"),
        (key.clone(), "no certificate in PEM form"),
        (certificate.replace("END", "") + &key, "no certificate in PEM form"),
        (
            format!("{certificate}{other_key}"),
            "a certificate and a key that do not belong together",
        ),
    ];
    let files = CredentialFiles::new(dir.path(), "kubelet-client");
    let sources = Sources { files: Some(files.clone()), kubeconfig: None };
    assert!(sources.read().troubles.is_empty(), "a file that is not there yet");
    for (text, what) in table {
        std::fs::write(files.current(), &text).unwrap();
        let found = sources.read();
        assert!(found.credentials.is_empty());
        let expected = format!("{} holds {what}", files.current().display());
        assert_eq!(found.troubles, [expected]);
    }
    std::fs::write(files.current(), format!("{certificate}{key}")).unwrap();
    assert_eq!(sources.read().credentials.len(), 1);
}

#[test]
fn kubeconfig_and_the_file_it_names_are_one_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let (certificate, key) = Signer::default().pair(&Words::around("a", now(), (1, 1)));
    let files = CredentialFiles::new(dir.path(), "kubelet-client");
    std::fs::write(files.current(), format!("{certificate}{key}")).unwrap();
    let pem = files.current();
    let kubeconfig = dir.path().join("kubelet.conf");
    let text = format!(
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         clusters: [{{name: c, cluster: {{server: 'https://a:6443'}}}}]\n\
         users: [{{name: u, user: {{client-certificate: {0}, client-key: {0}}}}}]\n",
        pem.display()
    );
    std::fs::write(&kubeconfig, text).unwrap();
    let sources = Sources { files: Some(files), kubeconfig: Some(kubeconfig.clone()) };
    let found = sources.read();
    assert!(found.credentials[0].is(&found.credentials[1]));
    // Without the file, the kubeconfig says which one is missing.
    std::fs::remove_file(&pem).unwrap();
    let found = sources.read();
    assert!(found.credentials.is_empty());
    let text = found.troubles.concat();
    assert!(text.contains(&kubeconfig.display().to_string()), "{text}");
    assert!(text.contains("kubelet-client-current.pem"), "{text}");
}
