use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use data_encoding::BASE64;
use rcgen::{CertificateParams, KeyPair};
use serde_json::{Value, json};

use super::*;
use crate::adapters::kube::Kubeconfig;
use crate::testing::fake_csrs::FakeCsrs;

fn now() -> Timestamp {
    "2026-11-21T05:06:07Z".parse().unwrap()
}

fn bootstrap_in(dir: &Path) -> Bootstrap {
    Bootstrap {
        node_name: "worker-1".to_owned(),
        cert_dir: dir.join("pki"),
        kubeconfig: dir.join("kubelet.conf"),
    }
}

fn bootstrap_kubeconfig() -> Kubeconfig {
    let text = "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n\
         clusters: [{name: c, cluster: {server: 'https://a:6443'}}]\n\
         users: [{name: u, user: {token: t}}]\n";
    Kubeconfig::parse(text, Path::new("bootstrap-kubelet.conf")).unwrap()
}

async fn run(dir: &Path, api: &FakeCsrs) -> Result<(), BootstrapError> {
    let own = bootstrap_kubeconfig();
    execute(&bootstrap_in(dir), api, |pem| own.text_with_certificate(pem), now).await
}

/// Status of a request that was signed, for the key in that file.
fn issued_for(key_file: &Path) -> Value {
    let key = KeyPair::from_pem(&fs::read_to_string(key_file).unwrap()).unwrap();
    let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
    json!({
        "conditions": [{"type": "Approved", "status": "True"}],
        "certificate": BASE64.encode(certificate.as_bytes()),
    })
}

fn signer(dir: &Path) -> FakeCsrs {
    let key_file = dir.join("pki/kubelet-client.key.tmp");
    FakeCsrs::new(move |_, _| Some(issued_for(&key_file)))
}

#[tokio::test(start_paused = true)]
async fn node_without_a_credential_gets_one_it_can_use() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &signer(dir.path())).await.unwrap();

    let own = Kubeconfig::load(&dir.path().join("kubelet.conf")).unwrap();
    assert_eq!(own.server(), "https://a:6443");
    assert!(own.certificate().is_some());
    let mut names: Vec<String> = fs::read_dir(dir.path().join("pki"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["kubelet-client-2026-11-21-05-06-07.pem", "kubelet-client-current.pem"]);
    for file in ["pki/kubelet-client-current.pem", "kubelet.conf"] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
}

#[tokio::test(start_paused = true)]
async fn interrupted_attempts_ask_once_in_all() {
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("pki/kubelet-client.key.tmp");
    let api = FakeCsrs::new(move |_, looks| (looks > 3).then(|| issued_for(&key_file)));
    for _ in 0..2 {
        let short = std::time::Duration::from_millis(300);
        tokio::time::timeout(short, run(dir.path(), &api)).await.unwrap_err();
    }
    assert!(!dir.path().join("kubelet.conf").exists());
    run(dir.path(), &api).await.unwrap();
    assert_eq!(api.names().len(), 1, "{:?}", api.names());
}

#[tokio::test(start_paused = true)]
async fn broken_key_of_an_earlier_attempt_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("pki")).unwrap();
    fs::write(dir.path().join("pki/kubelet-client.key.tmp"), "-----BEGIN PRIV").unwrap();
    run(dir.path(), &signer(dir.path())).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn certificate_for_another_key_is_not_written() {
    let dir = tempfile::tempdir().unwrap();
    let other = dir.path().join("other.key");
    fs::write(&other, KeyPair::generate().unwrap().serialize_pem()).unwrap();
    let api = FakeCsrs::new(move |_, _| Some(issued_for(&other)));
    let error = run(dir.path(), &api).await.unwrap_err();
    assert!(matches!(error, BootstrapError::Foreign { .. }), "{error}");
    assert!(!dir.path().join("kubelet.conf").exists());
    assert!(!dir.path().join("pki/kubelet-client-current.pem").exists());
}

#[tokio::test(start_paused = true)]
async fn directory_that_cannot_be_made_is_named() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("pki"), "").unwrap();
    let error = run(dir.path(), &signer(dir.path())).await.unwrap_err();
    assert!(error.to_string().contains("--cert-dir"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn refusals_say_what_mends_them() {
    let condition = |kind: &str| json!({"conditions": [{"type": kind, "status": "True", "message": "not known"}]});
    let table = [
        (
            condition("Denied"),
            "was denied: not known; to ask again, run `kubectl delete csr node-csr-",
        ),
        (condition("Failed"), "could not be signed: not known; mend the signer, then run"),
    ];
    for (status, expected) in table {
        let dir = tempfile::tempdir().unwrap();
        let api = FakeCsrs::new(move |_, _| Some(status.clone()));
        let text = run(dir.path(), &api).await.unwrap_err().to_string();
        assert!(text.contains(expected) && !text.contains('\n'), "{text}");
    }
    let dir = tempfile::tempdir().unwrap();
    let api = signer(dir.path());
    api.fail_next(crate::boundary::ApiError::Forbidden("Unauthorized".to_owned()));
    let text = run(dir.path(), &api).await.unwrap_err().to_string();
    assert!(text.contains("refuses: Unauthorized; the bootstrap token may have ended"), "{text}");
}
