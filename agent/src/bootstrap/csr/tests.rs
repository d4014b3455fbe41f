use serde_json::json;

use super::*;

fn with_status(status: serde_json::Value) -> CertificateSigningRequest {
    serde_json::from_value(json!({
        "metadata": {"name": "node-csr-1"},
        "spec": {"request": "", "signerName": SIGNER},
        "status": status,
    }))
    .unwrap()
}

#[test]
fn request_is_what_the_automatic_approver_expects_of_a_node() {
    let csr = build_request("node-csr-1".to_owned(), "pem".to_owned());
    assert_eq!(
        serde_json::to_value(csr).unwrap(),
        json!({
            "apiVersion": "certificates.k8s.io/v1",
            "kind": "CertificateSigningRequest",
            "metadata": {"name": "node-csr-1"},
            "spec": {
                "request": "cGVt",
                "signerName": "kubernetes.io/kube-apiserver-client-kubelet",
                "usages": ["digital signature", "client auth"],
            },
        })
    );
}

#[test]
fn name_follows_from_node_and_key() {
    let name = request_name("a", b"key");
    assert_eq!(name, request_name("a", b"key"));
    assert_ne!(name, request_name("b", b"key"));
    assert_ne!(name, request_name("a", b"other"));
    assert_ne!(request_name("ab", b"c"), request_name("a", b"bc"));
    assert!(name.starts_with("node-csr-"), "{name}");
    assert_eq!(name.len(), "node-csr-".len() + 2 * NAME_BYTES);
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
