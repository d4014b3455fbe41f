use serde_json::{Value, json};

use super::*;

const KIND: ProbeKind = ProbeKind::Readiness;

fn container(probe: Value) -> api::Container {
    serde_json::from_value(json!({
        "name": "main",
        "ports": [{"name": "web", "containerPort": 8080}],
        "env": [
            {"name": "FILE", "value": "/tmp/healthy"},
            {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        ],
        "readinessProbe": probe,
    }))
    .unwrap()
}

fn plan(probe: Value) -> Result<Action, String> {
    let address = Some(IpAddr::from([10, 0, 0, 7]));
    action(&container(probe), KIND, address).map_err(|error| error.to_string())
}

fn http(get: Value) -> HttpCall {
    match plan(json!({"httpGet": get})).unwrap() {
        Action::Http(call) => call,
        other => panic!("{other:?}"),
    }
}

#[test]
fn http_probe_has_the_usual_headers_and_asks_the_pod() {
    let expected = HttpCall {
        scheme: HttpScheme::Http,
        host: "10.0.0.7".to_owned(),
        port: 80,
        path: "/".to_owned(),
        headers: vec![
            ("User-Agent".to_owned(), "kube-probe/1.36".to_owned()),
            ("Accept".to_owned(), "*/*".to_owned()),
        ],
    };
    assert_eq!(http(json!({"port": 80})), expected);
}

#[test]
fn own_host_scheme_and_headers_win() {
    let call = http(json!({
        "host": "example.org", "port": 443, "scheme": "HTTPS", "path": "/x?y=1",
        "httpHeaders": [
            {"name": "Host", "value": "shop"},
            {"name": "user-agent", "value": "mine"},
            {"name": "Accept", "value": ""},
        ],
    }));
    assert_eq!((call.scheme, call.host.as_str()), (HttpScheme::Https, "example.org"));
    let header = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(call.headers, [header("Host", "shop"), header("user-agent", "mine")]);
    assert_eq!(call.path, "/x?y=1");
}

#[test]
fn path_is_fit_for_a_request_line() {
    for (path, expected) in [
        ("", "/"),
        ("healthz", "/healthz"),
        ("/a b", "/a%20b"),
        ("/a%20b", "/a%20b"),
        ("/100%", "/100%25"),
        ("/\u{e4}?q={1}", "/%C3%A4?q=%7B1%7D"),
        ("/a#part", "/a"),
        ("/a\r\nX: y", "/a%0D%0AX:%20y"),
    ] {
        assert_eq!(request_path(path), expected, "{path:?}");
    }
}

#[test]
fn ports_go_by_number_or_by_name() {
    for (port, expected) in [(json!(81), 81), (json!("web"), 8080), (json!("82"), 82)] {
        assert_eq!(http(json!({"port": port})).port, expected);
        let tcp = plan(json!({"tcpSocket": {"port": port}})).unwrap();
        assert_eq!(tcp, Action::Tcp { host: "10.0.0.7".to_owned(), port: expected });
    }
}

#[test]
fn spec_that_cannot_be_followed_is_told_by_its_field() {
    for (probe, expected) in [
        (
            json!({"httpGet": {"port": "wbe"}}),
            "readinessProbe.httpGet.port: container \"main\" has no port named \"wbe\"",
        ),
        (
            json!({"tcpSocket": {"port": 70000}}),
            "readinessProbe.tcpSocket.port: 70000 is not a port number",
        ),
        (json!({"grpc": {"port": 0}}), "readinessProbe.grpc.port: 0 is not a port number"),
        (
            json!({"httpGet": {"port": 1, "scheme": "ftp"}}),
            "readinessProbe.httpGet.scheme: scheme \"FTP\" is neither HTTP nor HTTPS",
        ),
        (json!({}), "readinessProbe: none of exec, httpGet, tcpSocket and grpc is set"),
    ] {
        assert_eq!(plan(probe), Err(expected.to_owned()));
    }
}

#[test]
fn grpc_probe_asks_the_pod_for_its_service() {
    let expected =
        |service: &str| Action::Grpc { host: "10.0.0.7".into(), port: 9, service: service.into() };
    assert_eq!(plan(json!({"grpc": {"port": 9}})), Ok(expected("")));
    assert_eq!(plan(json!({"grpc": {"port": 9, "service": "s"}})), Ok(expected("s")));
}

#[test]
fn command_is_expanded_with_what_the_spec_declares() {
    let command = json!(["cat", "$(FILE)", "$$(FILE)", "$(NODE)", "$(OTHER)"]);
    let expected = ["cat", "/tmp/healthy", "$(FILE)", "", "$(OTHER)"].map(str::to_owned);
    assert_eq!(plan(json!({"exec": {"command": command}})), Ok(Action::Exec(expected.to_vec())));
}

#[test]
fn address_is_needed_unless_the_probe_runs_inside_or_names_a_host() {
    for (probe, expected) in [
        (json!({"exec": {"command": ["true"]}}), false),
        (json!({"httpGet": {"port": 1}}), true),
        (json!({"httpGet": {"port": 1, "host": "h"}}), false),
        (json!({"tcpSocket": {"port": 1, "host": ""}}), true),
        (json!({"tcpSocket": {"port": 1, "host": "h"}}), false),
        (json!({"grpc": {"port": 1}}), true),
    ] {
        assert_eq!(needs_address(&container(probe.clone()), KIND), expected, "{probe}");
    }
}
