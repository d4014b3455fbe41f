use super::*;

/// A kubeconfig with the given lines in its cluster and its user.
fn config(cluster: &str, user: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: ctx\n\
         contexts:\n- name: ctx\n  context: {{cluster: c, user: u}}\n\
         clusters:\n- name: c\n  cluster:\n    server: https://api.example:6443\n{cluster}\
         users:\n- name: u\n  user:\n{user}"
    )
}

fn problem(text: &str) -> String {
    Kubeconfig::parse(text, Path::new("/etc/node/kubelet.conf")).unwrap_err().to_string()
}

fn pem_pair() -> (String, String) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

#[test]
fn every_problem_names_file_field_and_fix() {
    let token = "    token: t\n";
    let table = [
        (
            "current-context: ''\n".to_owned(),
            "current-context is missing: name the entry of contexts that is to be used",
        ),
        (
            "current-context: ctx\n".to_owned(),
            "contexts[name=ctx] is missing: add the context that current-context names",
        ),
        (
            "current-context: x\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n"
                .to_owned(),
            "clusters[name=c] is missing: add the cluster the context names",
        ),
        (
            config("    insecure-skip-tls-verify: true\n", token),
            "clusters[name=c].cluster.insecure-skip-tls-verify is not accepted: remove it and set \
             certificate-authority or certificate-authority-data",
        ),
        (
            config("", token).replace("https://api", "http://api"),
            "clusters[name=c].cluster.server is not accepted: write it as https://host:port",
        ),
        (
            config("    certificate-authority-data: '%'\n", token),
            "clusters[name=c].cluster.certificate-authority-data does not hold base64 text: encode \
             the PEM file anew",
        ),
        (
            config("    certificate-authority-data: aGVsbG8=\n", token),
            "clusters[name=c].cluster.certificate-authority-data does not hold certificates in PEM \
             form: renew the credential",
        ),
        (
            config("", "    exec: {command: x}\n"),
            "users[name=u].user.exec is not accepted: a node uses client-certificate with \
             client-key, or token, or tokenFile",
        ),
        (
            config("", "    token: ''\n"),
            "users[name=u].user is missing: set client-certificate and client-key, or token, or \
             tokenFile",
        ),
        (
            config("", "    client-certificate-data: aGVsbG8=\n"),
            "users[name=u].user.client-key is missing: a client certificate needs its key beside it",
        ),
        (
            config("", "    client-key-data: aGVsbG8=\n"),
            "users[name=u].user.client-certificate is missing: a client key needs its certificate \
             beside it",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(problem(&text), format!("kubeconfig /etc/node/kubelet.conf: {expected}"));
    }
}

#[test]
fn unreadable_file_is_named_with_its_field() {
    let text = config("    certificate-authority: pki/ca.crt\n", "    token: t\n");
    assert_eq!(
        problem(&text),
        "kubeconfig /etc/node/kubelet.conf: cannot read /etc/node/pki/ca.crt, named by \
         clusters[name=c].cluster.certificate-authority"
    );
}

#[test]
fn syntax_error_does_not_quote_the_file() {
    let text = "users:\n- name: u\n  user: {token: [hunter2}\n";
    let problem = problem(text);
    assert!(problem.contains("not valid YAML"), "{problem}");
    assert!(!problem.contains("hunter2"), "{problem}");
}

#[test]
fn credentials_cannot_be_printed() {
    let (certificate, key) = pem_pair();
    let user = format!(
        "    token: hunter2\n    client-certificate-data: {}\n    client-key-data: {}\n",
        BASE64.encode(certificate.as_bytes()),
        BASE64.encode(key.as_bytes())
    );
    let config = Kubeconfig::parse(&config("", &user), Path::new("kubelet.conf")).unwrap();
    let printed = format!("{config:?}");
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(!printed.contains("PRIVATE"), "{printed}");
    assert!(printed.contains("ClientIdentity(1 certificates)"), "{printed}");
}

#[test]
fn files_are_relative_to_the_kubeconfig() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = pem_pair();
    std::fs::create_dir(folder.path().join("pki")).unwrap();
    std::fs::write(folder.path().join("pki/ca.crt"), &certificate).unwrap();
    // One file may hold both, as kubelet-client-current.pem does.
    std::fs::write(folder.path().join("pki/client.pem"), certificate + &key).unwrap();
    let path = folder.path().join("kubelet.conf");
    let text = config(
        "    certificate-authority: pki/ca.crt\n    tls-server-name: kubernetes\n",
        "    client-certificate: pki/client.pem\n    client-key: pki/client.pem\n    \
         tokenFile: token\n",
    );
    std::fs::write(&path, text).unwrap();
    let config = Kubeconfig::load(&path).unwrap();
    assert_eq!(config.server(), "https://api.example:6443");
    assert_eq!(config.authorities.len(), 1);
    assert_eq!(config.identity.as_ref().unwrap().chain.len(), 1);
    assert_eq!(config.tls_server_name.as_deref(), Some("kubernetes"));
    assert_eq!(config.bearer, Some(Bearer::File(folder.path().join("token"))));
}

#[test]
fn inline_value_wins_over_the_file() {
    let (certificate, _) = pem_pair();
    let cluster = format!(
        "    certificate-authority: absent.crt\n    certificate-authority-data: {}\n",
        BASE64.encode(certificate.as_bytes())
    );
    let text = config(&cluster, "    token: t\n");
    let config = Kubeconfig::parse(&text, Path::new("kubelet.conf")).unwrap();
    assert_eq!(config.authorities.len(), 1);
}

#[test]
fn missing_kubeconfig_is_an_error_with_its_path() {
    let error = Kubeconfig::load(Path::new("/nonexistent/kubelet.conf")).unwrap_err();
    assert_eq!(error.to_string(), "cannot read kubeconfig /nonexistent/kubelet.conf");
}
