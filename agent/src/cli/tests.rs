use super::*;

fn parse_line(line: &str) -> Result<Invocation, String> {
    let mut words = line.split_whitespace().map(str::to_owned);
    let program = words.next().unwrap();
    parse(&program, &words.collect::<Vec<_>>())
}

fn run(line: &str) -> RunArguments {
    match parse_line(line) {
        Ok(Invocation::Run(run)) => *run,
        other => panic!("{line}: {other:?}"),
    }
}

#[test]
fn flag_with_a_field_is_laid_over_the_file() {
    let run = run("noded run --max-pods=5 --fail-swap-on=false --cluster-dns=10.0.0.1,10.0.0.2");
    assert_eq!(
        Value::Object(run.overlay),
        json!({ "maxPods": 5, "failSwapOn": false, "clusterDNS": ["10.0.0.1", "10.0.0.2"] })
    );
}

#[test]
fn go_habits_are_understood() {
    let run =
        run("noded run --max_pods 5 --max-pods 6 -v=4 --fail-swap-on --node-ip=10.0.0.1,fd00::1");
    assert_eq!(Value::Object(run.overlay), json!({ "maxPods": 6, "failSwapOn": true }));
    assert_eq!(run.verbosity, 4);
    assert_eq!(run.node_ips, ["10.0.0.1", "fd00::1"]);
}

#[test]
fn version_under_the_name_of_the_kubelet_is_in_its_words() {
    let Ok(Invocation::Print(text)) = parse_line("kubelet --version") else { panic!("no text") };
    assert_eq!(text.trim(), "Kubernetes v1.36.3");
    let Ok(Invocation::Print(text)) = parse_line("noded --version") else { panic!("no text") };
    assert!(text.starts_with("noded "), "{text}");
}

#[test]
fn kubelet_by_name_needs_no_subcommand() {
    let run = run("/usr/bin/kubelet --config=/c --kubeconfig=/k --cert-dir=/p --v=2");
    assert_eq!(run.cert_dir, Some("/p".into()));
    assert_eq!(run.config, Some("/c".into()));
    assert_eq!(run.kubeconfig, Some("/k".into()));
    assert_eq!(run.verbosity, 2);
}

#[test]
fn taints_and_labels_are_read() {
    let run = run("noded run --register-with-taints=a=b:NoSchedule,c:NoExecute --node-labels=x=y");
    assert_eq!(
        run.overlay["registerWithTaints"],
        json!([
            { "key": "a", "value": "b", "effect": "NoSchedule" },
            { "key": "c", "value": "", "effect": "NoExecute" },
        ])
    );
    assert_eq!(run.node_labels["x"], "y");
}

#[test]
fn mistakes_name_the_flag() {
    let cases = [
        ("noded run --max-pods=many", "--max-pods"),
        ("noded run --no-such-flag", "--no-such-flag"),
        ("noded run --fail-swap-on=perhaps", "--fail-swap-on"),
        ("noded run --register-with-taints=a", "--register-with-taints"),
        ("noded run --no-proxy --no-kubelet", "--no-proxy"),
        ("noded dance", "dance"),
    ];
    for (line, expected) in cases {
        let error = parse_line(line).unwrap_err();
        assert!(error.contains(expected), "{line}: {error}");
    }
}

#[test]
fn parts_can_be_left_out() {
    assert_eq!(run("noded run").parts, Parts::Both);
    assert_eq!(run("noded run --no-proxy").parts, Parts::KubeletOnly);
    assert_eq!(run("noded run --no-kubelet").parts, Parts::ProxyOnly);
}

#[test]
fn help_is_printed_and_not_an_error() {
    assert!(matches!(parse_line("noded --help"), Ok(Invocation::Print(_))));
    assert!(matches!(parse_line("noded run --help"), Ok(Invocation::Print(_))));
    assert!(matches!(parse_line("noded"), Ok(Invocation::Print(_))));
}

#[test]
fn headers_of_the_manifest_url_add_up() {
    let run = run("noded run --manifest-url=http://a/ --manifest-url-header=x:1,y:a:b \
                   --manifest-url-header x:2 --http-check-frequency=5s --file-check-frequency 3s");
    assert_eq!(
        Value::Object(run.overlay),
        json!({"staticPodURL": "http://a/", "staticPodURLHeader": {"x": ["1", "2"], "y": ["a:b"]},
            "httpCheckFrequency": "5s", "fileCheckFrequency": "3s"})
    );
    assert!(
        parse_line("noded run --manifest-url-header=secret").unwrap_err().contains("key:value")
    );
}

#[test]
fn flags_of_the_kubelet_server_set_fields_inside_fields() {
    let arguments = run(
        "kubelet --anonymous-auth=false --authentication-token-webhook --authorization-mode=Webhook \
         --client-ca-file=/ca.crt --read-only-port=0 --tls-cipher-suites=a,b",
    );
    let wanted = json!({
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": "/ca.crt"},
        },
        "authorization": {"mode": "Webhook"},
        "readOnlyPort": 0,
        "tlsCipherSuites": ["a", "b"],
    });
    assert_eq!(Value::Object(arguments.overlay), wanted);
}
