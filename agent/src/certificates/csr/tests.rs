use serde_json::json;

use super::*;

fn with_status(status: serde_json::Value) -> CertificateSigningRequest {
    serde_json::from_value(json!({
        "metadata": {"name": "node-csr-1"},
        "spec": {"request": "", "signerName": Purpose::Client.signer()},
        "status": status,
    }))
    .unwrap()
}

#[test]
fn request_is_what_the_automatic_approver_and_the_signer_expect_of_a_node() {
    let table = [
        (Purpose::Client, "kubernetes.io/kube-apiserver-client-kubelet", "client auth"),
        (Purpose::Serving, "kubernetes.io/kubelet-serving", "server auth"),
    ];
    for (purpose, signer, usage) in table {
        let csr = build_request(purpose, "csr-1".to_owned(), "pem".to_owned());
        assert_eq!(
            serde_json::to_value(csr).unwrap(),
            json!({
                "apiVersion": "certificates.k8s.io/v1",
                "kind": "CertificateSigningRequest",
                "metadata": {"name": "csr-1"},
                "spec": {
                    "request": "cGVt",
                    "signerName": signer,
                    "usages": ["digital signature", usage],
                },
            })
        );
    }
}

#[test]
fn name_follows_from_purpose_node_and_key() {
    let name = |node: &str, key| request_name(Purpose::Client, &Wanted::client(node), key);
    assert_eq!(name("a", b"key"), name("a", b"key"));
    assert_ne!(name("b", b"key"), name("a", b"key"));
    assert_ne!(name("a", b"other"), name("a", b"key"));
    let serving = request_name(Purpose::Serving, &Wanted::client("a"), b"key");
    assert_ne!(name("a", b"key"), serving);
    let first = first_request_name(&Wanted::client("a"), b"key");
    assert_eq!(first, format!("node-{}", name("a", b"key")));
    assert!(first.starts_with("node-csr-"), "{first}");
    assert_eq!(first.len(), "node-csr-".len() + 2 * NAME_BYTES);
}

#[test]
fn state_of_a_request_is_judged() {
    let denied = json!({"type": "Denied", "status": "True", "reason": "R", "message": "m"});
    let failed = json!({"type": "Failed", "status": "True", "message": "m"});
    let approved = json!({"type": "Approved", "status": "True"});
    let silent = json!({"type": "Denied", "status": "True"});
    let table = [
        (json!({}), Verdict::Pending),
        // A certificate without approval is nobody's word.
        (json!({"certificate": "Y2VydA=="}), Verdict::Pending),
        (json!({"conditions": [approved]}), Verdict::Approved),
        (json!({"conditions": [approved], "certificate": ""}), Verdict::Approved),
        (
            json!({"conditions": [approved], "certificate": "Y2VydA=="}),
            Verdict::Issued(b"cert".to_vec()),
        ),
        (json!({"conditions": [denied]}), Verdict::Denied("R: m".to_owned())),
        (json!({"conditions": [silent]}), Verdict::Denied("no reason is given".to_owned())),
        (json!({"conditions": [approved, failed]}), Verdict::Failed("m".to_owned())),
        (json!({"conditions": [approved, failed, denied]}), Verdict::Denied("R: m".to_owned())),
    ];
    for (status, expected) in table {
        assert_eq!(judge(&with_status(status.clone())), expected, "{status}");
    }
}
