use serde_json::json;

use super::*;

fn resolve(object: serde_json::Value, dir: Option<&str>) -> CertificateConfig {
    let wire = serde_json::from_value(object).unwrap();
    CertificateConfig::resolve(&wire, dir.map(PathBuf::from), Path::new("/var/lib/kubelet"))
}

#[test]
fn nothing_is_asked_for_by_default() {
    let expected = CertificateConfig {
        rotate_client: false,
        server_bootstrap: false,
        dir: "/var/lib/kubelet/pki".into(),
    };
    assert_eq!(resolve(json!({}), None), expected);
}

#[test]
fn fields_are_kubeadms() {
    let object = json!({"rotateCertificates": true, "serverTLSBootstrap": true});
    let config = resolve(object, Some("/etc/pki"));
    assert!(config.rotate_client && config.server_bootstrap);
    assert_eq!(config.dir, Path::new("/etc/pki"));
}
