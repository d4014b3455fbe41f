use super::*;

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pairs = pairs.iter().map(|(name, value)| {
        (HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap())
    });
    pairs.collect()
}

fn websocket(protocols: &str) -> HeaderMap {
    headers(&[
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-protocol", protocols),
    ])
}

#[test]
fn the_newest_remote_command_protocol_is_translated_and_older_ones_pass() {
    for (protocols, translated) in [
        ("v5.channel.k8s.io", true),
        ("v4.channel.k8s.io, v5.channel.k8s.io", true),
        ("v4.channel.k8s.io", false),
        ("base64.channel.k8s.io", false),
        ("v5.channel.k8s.io2", false),
        ("", false),
    ] {
        assert_eq!(is_translated(&websocket(protocols)), translated, "{protocols}");
    }
    let spdy = headers(&[("connection", "Upgrade"), ("upgrade", "SPDY/3.1")]);
    assert!(is_upgrade(&spdy) && !is_websocket(&spdy) && !is_translated(&spdy));
    assert!(!is_upgrade(&headers(&[("connection", "close"), ("upgrade", "websocket")])));
}

#[test]
fn tunnelled_protocols_lose_their_prefix() {
    for (protocols, wanted) in [
        ("SPDY/3.1+portforward.k8s.io", vec!["portforward.k8s.io"]),
        (
            "x, SPDY/3.1+v2.portforward.k8s.io,SPDY/3.1+portforward.k8s.io",
            vec!["v2.portforward.k8s.io", "portforward.k8s.io"],
        ),
        ("SPDY/3.1+portforward.example.com", vec![]),
        ("portforward.k8s.io", vec![]),
    ] {
        assert_eq!(tunnelled_protocols(&websocket(protocols)), wanted, "{protocols}");
    }
}

#[test]
fn only_the_negotiation_goes_on_to_the_runtime() {
    let all = headers(&[
        ("authorization", "Bearer secret"),
        ("connection", "Upgrade"),
        ("cookie", "secret"),
        ("host", "node:10250"),
        ("origin", "http://example.com"),
        ("sec-websocket-key", "k"),
        ("upgrade", "SPDY/3.1"),
        ("x-forwarded-for", "10.0.0.1"),
        ("x-stream-protocol-version", "v4.channel.k8s.io"),
        ("x-stream-protocol-version", "v3.channel.k8s.io"),
    ]);
    let mut kept: Vec<String> =
        passed_on(&all).iter().map(|(name, value)| format!("{name}: {value:?}")).collect();
    kept.sort();
    assert_eq!(
        kept,
        [
            "connection: \"Upgrade\"",
            "sec-websocket-key: \"k\"",
            "upgrade: \"SPDY/3.1\"",
            "x-stream-protocol-version: \"v3.channel.k8s.io\"",
            "x-stream-protocol-version: \"v4.channel.k8s.io\"",
        ]
    );
}

#[test]
fn the_answer_proves_that_the_key_was_read() {
    // The example of RFC 6455, 1.2.
    let mut asked = websocket("v5.channel.k8s.io");
    asked.extend(headers(&[
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ]));
    let answer = websocket_answer(&asked, REMOTE_COMMAND_V5).unwrap();
    assert_eq!(answer["sec-websocket-accept"], "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(answer["sec-websocket-protocol"], "v5.channel.k8s.io");
    assert!(!websocket_answer(&asked, "").unwrap().contains_key("sec-websocket-protocol"));
    for (name, value) in [("sec-websocket-key", "short"), ("sec-websocket-version", "8")] {
        let mut broken = asked.clone();
        broken.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        assert!(websocket_answer(&broken, "").is_err(), "{name}");
    }
}
