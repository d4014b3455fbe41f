use std::path::Path;

use super::*;
use crate::adapters::kube::Kubeconfig;

fn pem_pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn written_kubeconfig_names_the_same_cluster_and_the_new_certificate() {
    let (certificate, key) = pem_pair();
    let two = BASE64.encode(format!("{certificate}{certificate}").as_bytes());
    let bootstrap = format!(
        "current-context: x\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n\
         clusters:\n- name: c\n  cluster: {{server: 'https://[fd00::1]:6443', \
         certificate-authority-data: {two}, tls-server-name: 'api \"1\"', \
         proxy-url: 'http://10.0.0.1:3128'}}\nusers: [{{name: u, user: {{token: t}}}}]\n"
    );
    let bootstrap = Kubeconfig::parse(&bootstrap, Path::new("bootstrap.conf")).unwrap();
    assert_eq!(bootstrap.certificate(), None);
    let dir = tempfile::tempdir().unwrap();
    let current = dir.path().join("kubelet-client-current.pem");
    std::fs::write(&current, format!("{certificate}{key}")).unwrap();

    let text = bootstrap.text_with_certificate(&current);
    let own = Kubeconfig::parse(&text, Path::new("kubelet.conf")).unwrap();

    assert_eq!(own.server, bootstrap.server);
    assert_eq!(own.authorities, bootstrap.authorities);
    assert_eq!(own.authorities.len(), 2);
    assert_eq!(own.tls_server_name, bootstrap.tls_server_name);
    assert_eq!(own.proxy_url, bootstrap.proxy_url);
    assert_eq!(own.bearer, None);
    assert_eq!(own.certificate(), own.authorities.first());
    assert_eq!(text.matches(&*current.to_string_lossy()).count(), 2);
}

#[test]
fn system_authorities_stay_those_of_the_system() {
    let text = "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n\
         clusters: [{name: c, cluster: {server: 'https://a:1'}}]\n\
         users: [{name: u, user: {token: t}}]\n";
    let bootstrap = Kubeconfig::parse(text, Path::new("bootstrap.conf")).unwrap();
    let text = bootstrap.text_with_certificate(Path::new("/p"));
    assert!(!text.contains("certificate-authority"), "{text}");
}
